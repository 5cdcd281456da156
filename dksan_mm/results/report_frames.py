"""Reads, chooses, crops and embeds frames for the report."""
import base64
import os.path as osp
from glob import escape, glob
from typing import List, NamedTuple, Optional, Sequence

import cv2
import numpy as np

from dksan_mm.utils.quality import psnr
from dksan_mm.video.folders import read_image
from dksan_mm.video.storage import frame_file, memmap_path, read_frame
from .files import Result

#: Frames of at most this many pixels are embedded losslessly.
LOSSLESS_PIXELS = 320 * 240
WEBP_QUALITY = 90


class Box(NamedTuple):
    """A square part of a frame, in pixels."""

    top: int
    left: int
    side: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return the part of an image (H, W, 3), a view."""
        return image[self.top:self.top + self.side,
                     self.left:self.left + self.side]


def frames_folder(result: Result, sequence: str) -> str:
    """Return where tools/test.py --save-frames writes a sequence."""
    return osp.join(result.folder, 'frames', result.dataset.name, sequence)


def saved_frames(result: Result, sequence: str) -> List[str]:
    """Return the frames of a result that have pictures."""
    files = glob(osp.join(escape(frames_folder(result, sequence)), '*.png'))
    stems = {osp.splitext(osp.basename(path))[0] for path in files}
    return [
        row['frame'] for row in result.frames[sequence]
        if row['frame'] in stems
    ]


def read_restored(result: Result, sequence: str, frame: str) -> np.ndarray:
    """Return a restored frame, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: The picture is damaged.
    """
    return read_image(
        osp.join(frames_folder(result, sequence), f'{frame}.png'))


def read_truth(folder: str, sequence: str, frame: str) -> Optional[np.ndarray]:
    """Return a ground-truth frame, (H, W, 3) uint8 RGB, from either storage of
    a data set; None if it has no such sequence or frame.

    Raises:
        ValueError: The frame is damaged, or the memory map is too short.
    """
    try:
        frame_path = frame_file(osp.join(folder, sequence, f'{frame}.png'))
    except FileNotFoundError:
        return None
    if not (osp.isfile(frame_path)
            or osp.isfile(memmap_path(folder, sequence))):
        return None
    return read_frame(folder, sequence, frame)


def choose_frames(available: Sequence[str], frames: Sequence[str],
                  number: int) -> List[str]:
    """Return at most ``number`` of the available frames, spread evenly.

    A single frame is the middle one of the sequence. The choice does not
    depend on the systems' results.

    Args:
        available (Sequence[str]): Frames that have pictures.
        frames (Sequence[str]): All frames of the sequence, in order.
        number (int): Number of frames, at least 0.

    Returns:
        list[str]: Frames in order, without repetition.
    """
    places = {frame: i for i, frame in enumerate(frames)}
    chosen = set()
    for k in range(number if available else 0):
        wanted = (2 * k + 1) * len(frames) // (2 * number)
        chosen.add(min(available, key=lambda f: abs(places[f] - wanted)))
    return sorted(chosen, key=places.__getitem__)


def crop_side(height: int, width: int) -> int:
    """Return the side of a frame's crops in pixels: a sixth of its shorter
    side, rounded down to a multiple of 8, at least 16 if the frame is that
    large."""
    return min(max(min(height, width) // 6 // 8 * 8, 16), height, width)


def find_places(first: np.ndarray, second: np.ndarray, side: int,
                number: int) -> List[Box]:
    """Return squares, without overlap, where two frames differ most.

    Args:
        first (np.ndarray): (H, W, 3) uint8.
        second (np.ndarray): Frame of the same shape.
        side (int): Side of a square, in pixels, at most H and W.
        number (int): Number of squares; fewer are returned if no more fit.

    Returns:
        list[Box]: Squares, sorted by mean absolute difference, the greatest
            first.
    """
    difference = cv2.absdiff(first, second).mean(2)
    height, width = difference.shape
    sums = cv2.integral(difference)
    means = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] +
        sums[:-side, :-side])
    boxes: List[Box] = []
    while len(boxes) < number and np.isfinite(means).any():
        top, left = (
            int(i)
            for i in np.unravel_index(means.argmax(), (height - side + 1,
                                                       width - side + 1)))
        boxes.append(Box(top, left, side))
        means[max(top - side + 1, 0):top + side,
              max(left - side + 1, 0):left + side] = -np.inf
    return boxes


def crop_psnr(crop: np.ndarray, truth: np.ndarray) -> float:
    """Return the PSNR of 8-bit crops (H, W, 3) in dB."""
    return psnr(crop, truth, (0, ))[0]


def data_uri(image: np.ndarray, lossless: bool) -> str:
    """Return an image (H, W, 3) uint8 RGB as a data URI: PNG, or WebP at
    quality 90."""
    kind, options = ('png', []) if lossless else (
        'webp', [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(f'.{kind}', image, options)[1].tobytes()
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
