"""Reduces restored frames to a requested size."""
from dataclasses import replace
from fractions import Fraction
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F

from dksan_mm.video.source import SourceInfo


class Resizing:
    """Reduces restored frames by an antialiased bicubic filter.

    Args:
        info (SourceInfo): The source.
        scale (int): Size of restored frames over the size of source frames.
        height (int, optional): Height of the output as shown, in pixels, at
            most the height of the restored frames.
        width (int, optional): Likewise for the width. If one of the two is
            left out, it follows from the aspect ratio, rounded to an even
            number. If both are given and change the aspect ratio, that of
            the pixels makes up for it, so that it is shown as before.

    Raises:
        ValueError: A side is below 1, or larger than the restored frames.
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
        self._stretched = None not in (
            width, height) and abs(width - whole[0] * height / whole[1]) > 1
        if width is None:
            width = _even(whole[0] * height / whole[1], whole[0])
        if height is None:
            height = _even(whole[1] * width / whole[0], whole[1])
        self._size = (height, width) if info.rotation % 180 else (width,
                                                                  height)
        self._source = info

    def describe(self, info: SourceInfo) -> SourceInfo:
        """Return a source that, restored at scale 1, would have the new size.

        Args:
            info (SourceInfo): The source, or the description of a comparison:
                turned upright, or twice as wide.
        """
        turned = (self._source.rotation - info.rotation) % 180
        width, height = reversed(self._size) if turned else self._size
        base = self._source.height if turned else self._source.width
        aspect = info.sample_aspect_ratio
        if self._stretched:
            aspect *= Fraction(height * base, width * info.height)
        return replace(
            info,
            width=width * (info.width // base),
            height=height,
            sample_aspect_ratio=aspect)

    def draw(self, frame: np.ndarray, info: SourceInfo) -> np.ndarray:
        """Return a frame reduced to the new size.

        Args:
            frame (np.ndarray): (H, W, 3), uint8, or uint16 with 0 to 1023.
            info (SourceInfo): The description from :meth:`describe`.
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
    """Return the even number nearest to a side, from 2 to ``most``; an odd
    ``most`` itself may also be returned."""
    return min(max(2 * round(side / 2), 2), most)
