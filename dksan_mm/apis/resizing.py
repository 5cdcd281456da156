"""Restored frames made smaller, to the size that is asked for."""
from dataclasses import replace
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F

from dksan_mm.video.source import SourceInfo


class Resizing:
    """Reduces restored frames by an antialiased bicubic filter.

    Args:
        info (SourceInfo): The source.
        scale (int): Size of restored frames over that of the source's.
        height (int, optional): Of the output as it is shown, in pixels, at
            most that of the restored frames.
        width (int, optional): The same. Of two, one may be left out: the
            shape is kept then, to an even number.

    Raises:
        ValueError: A side is not above 0, or larger than restored.
    """

    def __init__(self, info: SourceInfo, scale: int, height: Optional[int],
                 width: Optional[int]) -> None:
        whole = [scale * info.width, scale * info.height]
        if info.rotation % 180:
            whole.reverse()  # as shown
        for name, side, most in (('width', width, whole[0]), ('height', height,
                                                              whole[1])):
            if side is not None and not 0 < side <= most:
                raise ValueError(
                    f'{name} (--{name}) must be from 1 to {most}, that of '
                    f'the result, got {side}')
        if width is None:
            width = _even(whole[0] * height / whole[1], whole[0])
        if height is None:
            height = _even(whole[1] * width / whole[0], whole[1])
        self._size = (height, width) if info.rotation % 180 else (width,
                                                                  height)
        self._source = info

    def describe(self, info: SourceInfo) -> SourceInfo:
        """Return what an output of the new size, divided by 1, would be
        restored from.

        Args:
            info (SourceInfo): The source, or what describes a comparison of
                it: turned upright, or twice as wide.
        """
        turned = (self._source.rotation - info.rotation) % 180
        width, height = reversed(self._size) if turned else self._size
        base = self._source.height if turned else self._source.width
        return replace(info, width=width * (info.width // base), height=height)

    def draw(self, frame: np.ndarray, info: SourceInfo) -> np.ndarray:
        """Return a frame of the size of ``describe(info)``.

        Args:
            frame (np.ndarray): (H, W, 3), uint8, or uint16 of 10 bits.
            info (SourceInfo): Of :meth:`describe`.
        """
        if frame.shape[:2] == (info.height, info.width):
            return frame
        x = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
        x = F.interpolate(
            x,
            size=(info.height, info.width),
            mode='bicubic',
            align_corners=False,
            antialias=True)
        most = 255 if frame.dtype == np.uint8 else 1023
        x = x[0].permute(1, 2, 0).round_().clamp_(0, most)
        return np.ascontiguousarray(x.numpy().astype(frame.dtype))


def _even(side: float, most: int) -> int:
    """Return the even number nearest to a side, from 2 to ``most``, or all of
    it where that is odd."""
    return min(max(2 * round(side / 2), 2), most)
