"""Optical flow between frames, by the method of Lucas and Kanade."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import pad_to_multiple

# image sizes: full, half, quarter and eighth
_LEVELS = 4
_STEPS = 3
# two means over 5x5 pixels weigh pixels like a Gaussian with sigma = 2
_WINDOW = 5
# added to the squared gradients: the square of 1.4/255 a pixel, so that faint
# noise is no texture
_REGULARISATION = 3e-5


def warp(x: Tensor, flow: Tensor, mode: str = 'bilinear') -> Tensor:
    """Sample a map at shifted positions; beyond the border, the nearest pixel
    counts.

    Args:
        x (Tensor): (N, C, H, W).
        flow (Tensor): Shifts (x, y) in pixels, (N, 2, H, W). Positions are
            computed in its dtype: bfloat16, which ``x`` may have, has too few
            numbers for them.
        mode (str): 'bilinear' or 'bicubic'. Default: 'bilinear'.

    Returns:
        Tensor: (N, C, H, W), in the dtype of ``x``.
    """
    height, width = x.shape[2:]
    columns, rows = _positions(flow)
    grid = torch.stack(((2 * (columns + flow[:, 0]) + 1) / width - 1,
                        (2 * (rows + flow[:, 1]) + 1) / height - 1), 1)
    return F.grid_sample(
        x.to(flow.dtype),
        grid.permute(0, 2, 3, 1),
        mode=mode,
        padding_mode='border',
        align_corners=False).to(x.dtype)


@torch.no_grad()
def estimate_flow(reference: Tensor, neighbour: Tensor) -> Tensor:
    """Estimate where the pixels of a frame are in another frame.

    Lucas and Kanade, "An Iterative Image Registration Technique with an
    Application to Stereo Vision", IJCAI 1981: four sizes of the frames, from
    the smallest on, and at each three steps that make the frames equal in a
    window around each pixel. It has no weights, and no gradients flow through
    it. Where there is no texture, it stays near zero. It never leads out of
    the neighbour.

    Args:
        reference (Tensor): (N, C, H, W), with values in [0, 1].
        neighbour (Tensor): (N, C, H, W).

    Returns:
        Tensor: Flow (x, y) in pixels, (N, 2, H, W), at least float32: what is
        at ``p`` in the reference is at ``p + flow`` in the neighbour.
    """
    height, width = reference.shape[2:]
    dtype = torch.promote_types(reference.dtype, torch.float32)
    pairs = [
        tuple(
            pad_to_multiple(x.to(dtype), 2**(_LEVELS - 1))
            for x in (reference, neighbour))
    ]
    for _ in range(_LEVELS - 1):
        pairs.append(tuple(F.avg_pool2d(x, 2) for x in pairs[-1]))
    smallest = pairs[-1][0]
    flow = torch.zeros_like(smallest[:, :1]).repeat(1, 2, 1, 1)
    for level, pair in enumerate(reversed(pairs)):
        if level:
            flow = 2 * F.interpolate(flow, scale_factor=2, mode='bilinear')
        flow = _refine(flow, *pair)
    return _inside(flow[..., :height, :width])


def _refine(flow: Tensor, reference: Tensor, neighbour: Tensor) -> Tensor:
    """Return the flow between frames of one size, after some steps."""
    dx, dy = _gradients(reference)
    xx, xy, yy = _window_means(
        torch.stack([(a * b).sum(1)
                     for a, b in ((dx, dx), (dx, dy), (dy, dy))], 1)).unbind(1)
    # rounding must not make it negative
    determinant = (xx * yy - xy * xy).clamp(min=0) + _REGULARISATION * (
        xx + yy + _REGULARISATION)
    xx, yy = xx + _REGULARISATION, yy + _REGULARISATION
    for _ in range(_STEPS):
        difference = reference - warp(neighbour, flow, 'bicubic')
        x, y = _window_means(
            torch.stack([(a * difference).sum(1) for a in (dx, dy)],
                        1)).unbind(1)
        step = torch.stack((yy * x - xy * y, xx * y - xy * x), 1)
        step = step / determinant[:, None]
        flow = _means(flow + step.clamp(-1, 1), 3)
    return _inside(flow)


def _inside(flow: Tensor) -> Tensor:
    """Return the flow, shortened where it leads out of the frame."""
    columns, rows = _positions(flow)
    height, width = flow.shape[2:]
    return torch.stack(((flow[:, 0] + columns).clamp(0, width - 1) - columns,
                        (flow[:, 1] + rows).clamp(0, height - 1) - rows), 1)


def _positions(flow: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the numbers of the columns, (W,), and of the rows, (H, 1)."""
    columns, rows = (
        torch.arange(size, dtype=flow.dtype, device=flow.device)
        for size in (flow.shape[3], flow.shape[2]))
    return columns, rows[:, None]


def _gradients(image: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the differences by pixel along x and along y."""
    padded = F.pad(image, (1, 1, 1, 1), mode='replicate')
    rows, columns = padded[..., 1:-1, :], padded[..., 1:-1]
    return ((rows[..., 2:] - rows[..., :-2]) / 2,
            (columns[..., 2:, :] - columns[..., :-2, :]) / 2)


def _window_means(x: Tensor) -> Tensor:
    """Return weighted means over the window around each pixel."""
    return _means(_means(x, _WINDOW), _WINDOW)


def _means(x: Tensor, size: int) -> Tensor:
    """Return means over ``size`` x ``size`` pixels around each pixel, without
    what is out of the image."""
    half = size // 2
    if x.device.type != 'cpu' or torch.compiler.is_exporting():
        return F.avg_pool2d(x, size, 1, half, count_include_pad=False)
    # on CPUs avg_pool2d is many times slower than sums of shifted maps
    for dim, padding in ((2, (0, 0, half, half)), (3, (half, half))):
        length = x.shape[dim]
        padded = F.pad(x, padding)
        total = padded.narrow(dim, 0, length)
        for shift in range(1, size):
            total = total + padded.narrow(dim, shift, length)
        position = torch.arange(length, dtype=x.dtype, device=x.device)
        number = (
            position.clamp(max=half) + position.flip(0).clamp(max=half) + 1)
        x = total * (1 / number[:, None] if dim == 2 else 1 / number)
    return x
