"""Crops HR frames, and reduces them to LR frames."""
from functools import lru_cache

import numpy as np

# minimum LR side
MIN_LR_SIZE = 16
CROPS = ('bottom-right', 'centre')


def reduce_frame(hr: np.ndarray, scale: int) -> np.ndarray:
    """Reduce a frame like MATLAB's ``im2uint8(imresize(im2double(hr), 1 /
    scale, 'bicubic'))``: antialiased, mirrored at the borders, computed in
    float64 and rounded once.

    Args:
        hr (np.ndarray): (H, W, 3) uint8, sides multiples of ``scale``.
        scale (int): Factor to reduce by, at least 1.

    Returns:
        np.ndarray: (H / scale, W / scale, 3) uint8.

    Raises:
        ValueError: A side is not a multiple of ``scale``.
    """
    height, width = hr.shape[:2]
    if height % scale or width % scale:
        raise ValueError(
            f'hr must have sides that are multiples of scale = {scale}, got '
            f'{width}x{height}; crop it first (crop_frame)')
    if scale == 1:
        return hr.copy()
    # (H', H) x (H, W, 3), then (H', W, 3) x (W, W')
    lr = np.tensordot(_matrix(height, scale), hr.astype(np.float64), 1)
    lr = np.tensordot(lr, _matrix(width, scale), (1, 1)).transpose(0, 2, 1)
    # MATLAB rounds halves up. Sums that should be exact halves are slightly
    # off in floating point: 1e-9 is far above this error
    lr = np.floor(lr + (0.5 + 1e-9))
    return np.clip(lr, 0, 255).astype(np.uint8, order='C')


@lru_cache(maxsize=16)
def _matrix(size: int, scale: int) -> np.ndarray:
    """Return the weights of a row's pixels in the reduced row, (size / scale,
    size): Keys' cubic kernel (a = -0.5), stretched by the scale, over mirrored
    pixels."""
    count = size // scale
    centres = (np.arange(count) + 0.5) * scale - 0.5
    taps = np.floor(centres)[:, None] + np.arange(-2 * scale, 2 * scale + 2)
    distance = np.abs(taps - centres[:, None]) / scale
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0))
    weights /= weights.sum(1, keepdims=True)
    # ..., 1, 0, 0, 1, ..., size - 1, size - 1, size - 2, ...
    mirrored = taps.astype(np.int64) % (2 * size)
    mirrored = np.minimum(mirrored, 2 * size - 1 - mirrored)
    matrix = np.zeros((count, size))
    np.add.at(matrix, (np.arange(count)[:, None], mirrored), weights)
    return matrix


def crop_frame(frame: np.ndarray, scale: int, crop: str) -> np.ndarray:
    """Return a frame with sides cropped to multiples of ``scale``, at the
    bottom and right or equally on all sides."""
    height, width = (side - side % scale for side in frame.shape[:2])
    top, left = ((side % scale) // 2 if crop == 'centre' else 0
                 for side in frame.shape[:2])
    return np.ascontiguousarray(frame[top:top + height, left:left + width])
