"""Bicubic and restored frames in one video, labelled."""
from dataclasses import replace
from typing import Dict, Tuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dksan_mm.models.bicubic import BicubicUpsampler
from dksan_mm.video.source import SourceInfo, turn_upright

MODES = ('split', 'side')
INK, PAPER, LINE = 255, 0, 255  # of 8 bits


class Comparison:
    """Draws frames that compare a restored frame with bicubic interpolation.

    - ``split``: one picture, its left half bicubic, its right half restored,
      with a white line between them.
    - ``side``: both pictures beside each other, twice as wide.

    A source that is shown turned is turned here, so that left means left and
    the labels are upright.

    Args:
        mode (str): ``'split'`` or ``'side'``.
        info (SourceInfo): The source.
        scale (int): Size of restored frames over the size of source frames.
        name (str): Label of the restored side.
        device (torch.device, optional): Device that computes bicubic
            interpolation.

    Attributes:
        info (SourceInfo): A source that, restored, would have the size and
            orientation of the comparison.
    """

    def __init__(
        self,
        mode: str,
        info: SourceInfo,
        scale: int,
        name: str = 'restored',
        device: torch.device = torch.device('cpu')
    ) -> None:
        if mode not in MODES:
            raise ValueError(f'compare (--compare) must be one of {MODES}, '
                             f'got {mode!r}')
        self._mode = mode
        self._labels = ('bicubic', name)
        self._device = device
        self._source = info
        self._most = 2**info.bit_depth - 1
        self._bicubic = BicubicUpsampler(scale)
        self._drawn: Dict[Tuple[str, int, int], np.ndarray] = {}
        self.info = self._describe(info)

    def _describe(self, info: SourceInfo) -> SourceInfo:
        """Return a source that, restored, would give frames like these."""
        width, height = info.width, info.height
        ratio = info.sample_aspect_ratio
        if info.rotation % 180:
            width, height, ratio = height, width, 1 / ratio
        return replace(
            info,
            width=width * (1 + (self._mode == 'side')),
            height=height,
            sample_aspect_ratio=ratio,
            rotation=0,
            mirrored=False)

    def draw(self, source: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """Return a frame of the comparison.

        Args:
            source (ndarray): (H, W, 3), RGB, as coded.
            restored (ndarray): (scale * H, scale * W, 3), in the same range.

        Returns:
            ndarray: (H', W', 3), in the same range, upright.
        """
        left = turn_upright(self._enlarge(source), self._source)
        right = turn_upright(restored, self._source)
        if self._mode == 'side':
            frame = np.concatenate([left, right], 1)
        else:
            middle = left.shape[1] // 2
            frame = np.concatenate([left[:, :middle], right[:, middle:]], 1)
            frame[:, max(middle - 1, 0):middle + 1] = LINE * self._most // 255
        middle = frame.shape[1] // 2
        for x, text in zip((0, middle), self._labels):
            label = self._label(text, frame.shape[0], middle)
            frame[:label.shape[0], x:x + label.shape[1]] = label
        return frame

    @torch.inference_mode()
    def _enlarge(self, source: np.ndarray) -> np.ndarray:
        # float32 holds all values of either depth
        x = torch.from_numpy(source.astype(np.float32)).to(self._device)
        x = self._bicubic(x.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        x = x.round_().clamp_(0, self._most)
        return x.cpu().numpy().astype(source.dtype)

    def _label(self, text: str, height: int, room: int) -> np.ndarray:
        """Return a label, (h, w, 3) of the frames' type; it is drawn once."""
        key = (text, height, room)
        if key not in self._drawn:
            font = ImageFont.load_default(max(height // 30, 10))
            box = font.getbbox(text)
            margin = int(font.size) // 3
            size = (box[2] + 2 * margin, box[3] + 2 * margin)
            image = Image.new('L', size, PAPER)
            ImageDraw.Draw(image).text((margin, margin),
                                       text,
                                       fill=INK,
                                       font=font)
            grey = np.asarray(image)[:height, :room].astype(np.uint32)
            grey = (grey * self._most //
                    255).astype(np.uint8 if self._most == 255 else np.uint16)
            self._drawn[key] = np.repeat(grey[..., None], 3, 2)
        return self._drawn[key]
