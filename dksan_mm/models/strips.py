"""Computes feature maps of large images in strips of rows.

Without autograd, intermediate maps need not be as large as the whole image:
layers run on a few rows at a time, plus the neighbouring rows that these
depend on. Only rounding changes.
"""
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Iterator, NamedTuple, Optional

import torch
from torch import Tensor

# keeps the halo's share small
MIN_STRIP_ROWS = 8
DEFAULT_STRIP_BYTES = 2**26
_strip_bytes = ContextVar('strip_bytes', default=DEFAULT_STRIP_BYTES)


def is_watched() -> bool:
    """Whether gradients are recorded, or a compiler traces, which plans memory
    itself."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


@contextmanager
def strip_bytes(size: int) -> Iterator[None]:
    """Set the size of strips for a while, in this thread.

    Args:
        size (int): Bytes of a strip of features; a strip has at least
            ``MIN_STRIP_ROWS`` rows.
    """
    token = _strip_bytes.set(size)
    try:
        yield
    finally:
        _strip_bytes.reset(token)


class Strip(NamedTuple):
    """Some rows of an image, and the rows to read for them.

    Attributes:
        rows (slice): Its rows of the image.
        around (slice): The rows to read: these and the halo's, as far as the
            image has them.
        core (slice): Its own rows among those that are read.

    None, the default of all three, stands for the whole image: compilers see
    no size then.
    """
    rows: Optional[slice] = None
    around: Optional[slice] = None
    core: Optional[slice] = None

    @property
    def above(self) -> int:
        """Rows of the halo above the strip: fewer where the image begins."""
        return self.core.start if self.core else 0

    @property
    def below(self) -> int:
        """Rows of the halo below the strip: fewer where the image ends."""
        return self.around.stop - self.rows.stop if self.around else 0

    def read(self, x: Tensor, scale: int = 1) -> Tensor:
        """Return the rows to read of the image, (N, C, scale * H, W)."""
        return _rows(x, self.around, scale)

    def trim(self, x: Tensor, scale: int = 1) -> Tensor:
        """Return the strip's own rows of what was computed from those that
        were read, enlarged by ``scale``."""
        return _rows(x, self.core, scale)


def row_strips(x: Tensor,
               halo: int,
               scale: int = 1) -> Optional[Iterator[Strip]]:
    """Return how to divide an image's rows into strips, None if it is not to
    be divided: it is small, or autograd or a compiler watches.

    Args:
        x (Tensor): (N, C, H, W).
        halo (int): Rows on either side that a result depends on, at most
            half of ``MIN_STRIP_ROWS``.
        scale (int): What sides are multiplied by on the way to the largest
            map. Default: 1.
    """
    if is_watched():
        return None
    height = x.shape[-2]
    row = x[..., :1, :].numel() * x.element_size() * scale**2
    rows = max(_strip_bytes.get() // max(row, 1), MIN_STRIP_ROWS)
    if rows >= height:
        return None
    return _strips(height, -(-height // rows), halo)


def _strips(height: int, count: int, halo: int) -> Iterator[Strip]:
    """Divide rows into strips that differ by one in height."""
    for index in range(count):
        start, stop = (height * i // count for i in (index, index + 1))
        low, high = max(start - halo, 0), min(stop + halo, height)
        yield Strip(
            slice(start, stop), slice(low, high),
            slice(start - low, stop - low))


def _rows(x: Tensor, rows: Optional[slice], scale: int) -> Tensor:
    """Return rows of an image that is enlarged by ``scale``."""
    if rows is None:
        return x
    return x[..., rows.start * scale:rows.stop * scale, :]


def in_strips(compute: Callable[[Strip], Tensor],
              x: Tensor,
              halo: int,
              scale: int = 1) -> Tensor:
    """Return a map that is computed in strips of rows if ``x`` is large.

    Args:
        compute (Callable): Returns a strip's own rows of the result,
            (N, C', scale * rows, scale * W). They depend on ``halo`` rows of
            ``x`` on either side, and what is beyond the image counts as
            zeros. A small image is one strip.
        x (Tensor): (N, C, H, W).
        halo (int): At least 0.
        scale (int): The result's size divided by that of ``x``. Default: 1.

    Returns:
        Tensor: (N, C', scale * H, scale * W), channels-last where it was
        computed in several strips.
    """
    strips = row_strips(x, halo, scale)
    if strips is None:
        return compute(Strip())
    out: Optional[Tensor] = None
    for strip in strips:
        part = compute(strip)
        if out is None:
            out = _empty_map(part, scale * x.shape[-2])
        _rows(out, strip.rows, scale).copy_(part)
        del part  # before the next one is there
    return out


def _empty_map(part: Tensor, height: int) -> Tensor:
    """Return memory for a map of which ``part`` has some of the rows,
    channels-last."""
    return torch.empty((*part.shape[:2], height, part.shape[3]),
                       dtype=part.dtype,
                       device=part.device,
                       memory_format=torch.channels_last)
