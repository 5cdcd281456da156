"""Scene cuts between frames, and windows that do not cross them."""
from typing import List

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dksan_mm.video.source import full_scale

# Consecutive frames of the project's six development clips (hand held,
# driving, fast hands) differ by up to 0.23, and by 0.36 at double speed;
# frames of different clips differ by 0.75 or more.
DEFAULT_THRESHOLD = 0.5
# largest height and width of the images that are compared
_SIZE = (36, 64)
# ITU-R BT.601
_LUMA = (0.299, 0.587, 0.114)
# in 8-bit levels; less contrast than this is noise
_NOISE = 4.


def thumbnail(frame: np.ndarray) -> Tensor:
    """Return a small luma image of a frame, for :func:`difference`.

    Args:
        frame (np.ndarray): RGB, (H, W, 3), of a dtype and range of
            :func:`dksan_mm.video.source.full_scale`.

    Returns:
        Tensor: Means over areas, in 8-bit levels, float32, 36x64, or less
            where the frame's height or width is less.
    """
    height, width = frame.shape[:2]
    levels = 255 / full_scale(frame)
    image = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
    size = min(height, _SIZE[0]), min(width, _SIZE[1])
    # channel by channel: a large frame in float is large
    small = [
        F.adaptive_avg_pool2d(channel[None].float(), size)[0] * (part * levels)
        for channel, part in zip(image, _LUMA)
    ]
    return small[0] + small[1] + small[2]


def difference(one: Tensor, other: Tensor) -> float:
    """Return how little two frames have in common.

    Each frame's mean is subtracted first, as brightness alone makes no cut.
    The result is the mean absolute difference divided by the contrast, which
    is the mean absolute deviation, averaged over both frames (plus four
    levels, so that noise in dark frames does not count). It depends only on
    the two frames: cuts are the same however a video is divided.

    Args:
        one (Tensor): A frame's :func:`thumbnail`.
        other (Tensor): The thumbnail of another frame of the same size.

    Returns:
        float: 0 for equal frames; about 0.8 and more for frames of different
        scenes.
    """
    one, other = one - one.mean(), other - other.mean()
    contrast = (one.abs().mean() + other.abs().mean()) / 2
    return float((one - other).abs().mean() / (contrast + _NOISE))


def window_indices(centre: int, context: int, start: int,
                   stop: int) -> List[int]:
    """Return the frames of a window, mirrored at the ends of its scene:
    before frame 0 comes frame 1, as in the benchmark's data.

    A scene that is shorter than the window is mirrored repeatedly; a single
    frame is repeated.

    Args:
        centre (int): The window's middle frame.
        context (int): Frames on either side.
        start (int): First frame of the scene, at most ``centre``; any value at
            least ``context`` before ``centre`` has the same effect.
        stop (int): One past the last frame of the scene; likewise.

    Returns:
        list[int]: 2 * context + 1 indices.
    """
    last = stop - start - 1
    if not last:
        return [centre] * (2 * context + 1)
    offsets = [(index - start) % (2 * last)
               for index in range(centre - context, centre + context + 1)]
    return [start + min(offset, 2 * last - offset) for offset in offsets]
