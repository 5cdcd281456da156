"""Figures in the style of the paper's Figures 5 and 6."""
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .report_data import TRUTH, View
from .report_frames import crop_psnr
from .tables_formats import show_value

PANEL = 540  # total height of the crops, without captions, in pixels
LEAST_SIDE, LEAST_FONT = 132, 13  # so that both values of PSNR fit
GAP = 12
INK, PAPER, FRAME = (24, 24, 24), (255, 255, 255), (226, 60, 40)


def figure(view: View) -> Image.Image:
    """Return a figure: the whole frame at left, crops at right.

    The whole frame is the ground truth, or the last system's if there is none;
    a box marks the crop, the view's first place. Under each crop stand its
    system, the PSNR of the crop and, in brackets, the PSNR of the whole frame;
    the middle of a longer name is left out.

    Args:
        view (View): A view with at least one place.

    Returns:
        Image.Image: RGB.
    """
    box = view.places[0]
    columns = min(-(-len(view.images) // 2), 4)
    lines = -(-len(view.images) // columns)
    size = max((PANEL - (lines - 1) * GAP) // lines, LEAST_SIDE)
    font = ImageFont.load_default(max(size // 15, LEAST_FONT))
    caption = int(font.size * 3)
    height = lines * (size + caption) + (lines + 1) * GAP
    whole = _whole(view, height - 2 * GAP - caption)
    left = GAP + whole.width
    canvas = Image.new('RGB', (left + columns * (size + GAP) + GAP, height),
                       PAPER)
    canvas.paste(whole, (GAP, GAP))
    draw = ImageDraw.Draw(canvas)
    title = f'{view.sequence}_{view.frame}'
    if not writable(title):
        title = view.frame
    _centred(draw, (GAP + whole.width // 2, GAP + whole.height + 6),
             [fit(title, font, whole.width)], font)
    crops = [box.cut(image) for image in view.images]
    for i, (crop, lines_below) in enumerate(zip(crops, captions(view, crops))):
        x = left + GAP + (i % columns) * (size + GAP)
        y = GAP + (i // columns) * (size + caption + GAP)
        picture = Image.fromarray(np.ascontiguousarray(crop))
        canvas.paste(picture.resize((size, size), Image.NEAREST), (x, y))
        _centred(draw, (x + size // 2, y + size + 6),
                 [fit(line, font, size) for line in lines_below], font)
    return canvas


def number_names(names: Sequence[str]) -> Dict[str, str]:
    """Return what figures show, 'System 2', instead of those names that they
    cannot write."""
    return {
        name: f'System {i}'
        for i, name in enumerate(names, 1) if not writable(name)
    }


def writable(text: str) -> bool:
    """Whether the figures' font, Pillow's own, has all letters of a text."""
    font = ImageFont.load_default(LEAST_FONT)

    def drawn(letter: str) -> bytes:
        return bytes(font.getmask(letter))

    box = drawn('\uffff')  # which stands for every letter that it lacks
    return text.isprintable() and all(drawn(x) != box for x in set(text))


def fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return a text without its middle, if it is wider than ``width`` pixels:
    names often begin alike, and end with their folder."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        end = len(text) - kept + kept // 2
        shown = f'{text[:kept // 2]}\u2026{text[end:]}'
    return shown


def captions(view: View, crops: List[np.ndarray]) -> List[List[str]]:
    """Return the lines under each crop: the label, then PSNR in dB."""
    below = []
    for label, crop, value in zip(view.labels, crops, view.psnr):
        lines = [label]
        if value is not None:
            text = f'({_decibel(value)} dB)'
            if view.labels[-1] == TRUTH:
                inside = _decibel(crop_psnr(crop, crops[-1]))
                text = f'{inside} {text}'
            lines.append(text)
        below.append(lines)
    return below


def _decibel(value: float) -> str:
    """Return PSNR as text; the font has no infinity sign."""
    return show_value(value, 'PSNR').replace('\u221e', 'inf')


def _whole(view: View, height: int) -> Image.Image:
    """Return the whole frame at a given height, with a box around the crop."""
    image = Image.fromarray(np.ascontiguousarray(view.images[-1]))
    scale = height / image.height
    image = image.resize((max(round(image.width * scale), 1), height),
                         Image.LANCZOS if scale < 1 else Image.NEAREST)
    top, left, side = (round(value * scale) for value in view.places[0])
    corners: Tuple[int, ...] = (left, top, left + side - 1, top + side - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=FRAME, width=3)
    return image


def _centred(draw: ImageDraw.ImageDraw, position: Tuple[int, int],
             lines: List[str], font: ImageFont.FreeTypeFont) -> None:
    """Write lines, centred below a position (x, y)."""
    x, y = position
    for i, line in enumerate(lines):
        draw.text((x, y + int(i * font.size * 1.25)),
                  line,
                  fill=INK,
                  font=font,
                  anchor='ma')
