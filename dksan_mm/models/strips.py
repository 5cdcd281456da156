"""Computes feature maps of large images in strips of rows.

Without autograd, intermediate maps need not be as large as the whole image:
layers run on a few rows at a time, plus the neighbouring rows that these
depend on. Only rounding changes.
"""
from contextlib import contextmanager
from typing import Callable, Iterator, Optional, Tuple

import torch
from torch import Tensor

# keeps the halo's share small
MIN_STRIP_ROWS = 8
DEFAULT_STRIP_BYTES = 2**26
_strip_bytes = DEFAULT_STRIP_BYTES


def is_watched() -> bool:
    """Whether gradients are recorded, or a compiler traces, which plans memory
    itself."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


@contextmanager
def strip_bytes(size: int) -> Iterator[None]:
    """Set the size of strips for a while, in all threads.

    Args:
        size (int): Bytes of a strip of features; a strip has at least
            ``MIN_STRIP_ROWS`` rows.
    """
    global _strip_bytes
    before, _strip_bytes = _strip_bytes, size
    try:
        yield
    finally:
        _strip_bytes = before


def row_strips(
        x: Tensor,
        halo: int,
        scale: int = 1) -> Optional[Iterator[Tuple[slice, slice, slice]]]:
    """Return how to divide an image's rows into strips, None if it is small,
    gradients are recorded or a compiler traces.

    Args:
        x (Tensor): (N, C, H, W).
        halo (int): Rows on either side that a result depends on, at most
            half of ``MIN_STRIP_ROWS``.
        scale (int): Factor from the image's sides to those of the largest map.
            Default: 1.

    Returns:
        iterator, optional: Three slices for each strip: its rows in the image;
            the rows to read, which include the halo within the image; and its
            own rows among the rows read.
    """
    if is_watched():
        return None
    height = x.shape[-2]
    row = x[..., :1, :].numel() * x.element_size() * scale**2
    rows = max(_strip_bytes // max(row, 1), MIN_STRIP_ROWS)
    if rows >= height:
        return None
    return _strips(height, -(-height // rows), halo)


def _strips(height: int, count: int,
            halo: int) -> Iterator[Tuple[slice, slice, slice]]:
    """Divide rows into strips whose heights differ by at most one."""
    for index in range(count):
        start, stop = (height * i // count for i in (index, index + 1))
        low, high = max(start - halo, 0), min(stop + halo, height)
        yield (slice(start, stop), slice(low,
                                         high), slice(start - low, stop - low))


def scaled(rows: slice, scale: int) -> slice:
    """Return the same rows of an enlarged image."""
    return slice(rows.start * scale, rows.stop * scale)


def in_strips(layers: Callable[[Tensor], Tensor], x: Tensor,
              halo: int) -> Tensor:
    """Return ``layers(x)``, computed in strips of rows if ``x`` is large.

    Args:
        layers (Callable): Maps (N, C, H, W) to (N, C', H, W); a row of the
            result depends on ``halo`` rows on either side, and rows beyond the
            image count as zeros.
        x (Tensor): (N, C, H, W).
        halo (int): Rows on either side, at least 0.

    Returns:
        Tensor: (N, C', H, W), channels-last if computed in strips.
    """
    strips = row_strips(x, halo)
    if strips is None:
        return layers(x)
    out: Optional[Tensor] = None
    for rows, around, core in strips:
        part = layers(x[..., around, :])[..., core, :]
        if out is None:
            out = empty_map(part, x.shape[-2])
        out[..., rows, :] = part
        del part  # before the next one is made
    return out


def empty_map(part: Tensor, height: int) -> Tensor:
    """Return an uninitialised channels-last map of the given height, otherwise
    like ``part``."""
    return torch.empty((*part.shape[:2], height, part.shape[3]),
                       dtype=part.dtype,
                       device=part.device,
                       memory_format=torch.channels_last)
