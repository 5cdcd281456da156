"""Portable deformable-kernel convolution: plain PyTorch on any device.

Forward and backward pass are written out, tap by tap, over blocks of output
pixels, so that neither inference nor training keeps more than one block of
intermediate values. Every other backend is compared with this implementation.

Inside, pixels are rows: ``(pixels, C)``. One row of zeros follows the last
pixel; positions outside the image read it, and gradients sent to it are
dropped. So no masks are needed, and a NaN in the image reaches only the
outputs that read it.
"""
from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ._library import compute_dtype, empty_like, memory_format
from ._validation import Geometry

# A block's rows should fit the cache of a CPU core; on an accelerator, fewer
# and larger blocks keep the number of kernel launches low. On either, a block
# is at most a quarter of the output, so that its intermediate values stay
# small in comparison, but at least _BLOCK_BYTES_LEAST.
_BLOCK_BYTES_CPU = 1 << 21
_BLOCK_BYTES_ACCELERATOR = 1 << 26
_BLOCK_BYTES_LEAST = 1 << 18


class _ImageTaps(NamedTuple):
    """Bilinear reads of one tap: four corners per pixel, row-major."""
    rows: Tensor  # (P, 4) int64, row of each corner
    weights: Tensor  # (P, 4)
    frac_y: Tensor  # (P,)
    frac_x: Tensor  # (P,)


class _ScopeTaps(NamedTuple):
    """Bilinear reads of the scope at one tap, as dense weights."""
    weights: Tensor  # (G, P, S_h * S_w)
    grad_y: Tensor  # (G, P, S_h * S_w), derivative by the vertical offset
    grad_x: Tensor  # likewise, horizontal
    read: Tensor  # (G, P, S_h * S_w) bool, whether a cell is read at all


def _cell(position: Tensor, other: Tensor, size: int,
          other_size: int) -> Tuple[Tensor, Tensor]:
    """Split positions into the index of their cell and the fraction in it.

    A position is moved to -2, where nothing is read, if it lies outside ``(-1,
    size)`` on either axis or is not a number.
    """
    inside = ((position > -1) & (position < size) & (other > -1) &
              (other < other_size))
    position = torch.where(inside, position, -2.)
    index = position.floor()
    return index.long(), position - index


def _hats(index: Tensor, frac: Tensor, size: int) -> Tuple[Tensor, Tensor]:
    """Return bilinear weights over ``size`` cells and their derivatives.

    At whole positions the derivative is the one towards larger positions.
    """
    cells = torch.arange(size, device=index.device)
    low = (cells == index[..., None]).to(frac.dtype)
    high = (cells == index[..., None] + 1).to(frac.dtype)
    frac = frac[..., None]
    return low * (1 - frac) + high * frac, high - low


class _Sampler:
    """Gives the positions that a tap reads for a block of output pixels."""

    def __init__(self, x: Tensor, weight: Tensor, kernel_offset: Tensor,
                 offset: Optional[Tensor], geometry: Geometry,
                 dtype: torch.dtype) -> None:
        self.geometry = geometry
        self.batch, self.channels, self.height, self.width = x.shape
        self.scope = tuple(weight.shape[-2:])
        self.out_size = geometry.output_size(self.height, self.width)
        self.taps = geometry.kernel_size[0] * geometry.kernel_size[1]
        self.groups = kernel_offset.shape[1] // (2 * self.taps)
        self.num_pixels = self.batch * self.out_size[0] * self.out_size[1]

        self.outside = self.batch * self.height * self.width
        self.image = x.new_empty((self.outside + 1, self.channels),
                                 dtype=dtype)
        self.image[:-1].view(self.batch, self.height, self.width,
                             self.channels).copy_(x.permute(0, 2, 3, 1))
        self.image[-1] = 0
        # channel c = i * G + g: (G, S_h * S_w, C / G)
        self.weight = weight.detach().to(dtype).reshape(
            -1, self.groups,
            self.scope[0] * self.scope[1]).permute(1, 2, 0).contiguous()
        self.finite_scope = bool(self.weight.isfinite().all())
        # (taps, groups, 2, P) and (taps, 2, P)
        self.kernel_offset = kernel_offset.detach().to(dtype).unflatten(
            1, (self.groups, self.taps, 2)).permute(2, 1, 3, 0, 4,
                                                    5).flatten(3)
        self.offset = None
        if offset is not None:
            self.offset = offset.detach().to(dtype).unflatten(
                1, (self.taps, 2)).permute(1, 2, 0, 3, 4).flatten(2)

    def blocks(self) -> Iterator[slice]:
        """Yield slices of the flattened output pixels."""
        on_cpu = self.image.device.type == 'cpu'
        limit = _BLOCK_BYTES_CPU if on_cpu else _BLOCK_BYTES_ACCELERATOR
        pixel = self.channels * self.image.element_size()
        quarter = max(self.num_pixels * pixel // 4, _BLOCK_BYTES_LEAST)
        step = max(min(limit, quarter) // pixel, 1)
        for start in range(0, self.num_pixels, step):
            yield slice(start, min(start + step, self.num_pixels))

    def image_taps(self, block: slice, tap: int) -> _ImageTaps:
        pixel = torch.arange(block.start, block.stop, device=self.image.device)
        width_out = self.out_size[1]
        sample = pixel // (self.out_size[0] * width_out)
        places = pixel // width_out % self.out_size[0], pixel % width_out
        position = []
        for axis, place in enumerate(places):
            step = divmod(tap, self.geometry.kernel_size[1])[axis]
            place = (place * self.geometry.stride[axis] -
                     self.geometry.padding[axis] +
                     step * self.geometry.dilation[axis]).to(self.image.dtype)
            if self.offset is not None:
                place = place + self.offset[tap, axis, block]
            position.append(place)
        y, frac_y = _cell(*position, self.height, self.width)
        x, frac_x = _cell(*position[::-1], self.width, self.height)

        ys, xs = torch.stack((y, y, y + 1, y + 1), 1), torch.stack(
            (x, x + 1, x, x + 1), 1)
        rows = (sample[:, None] * self.height + ys) * self.width + xs
        rows = torch.where(
            (ys >= 0) & (ys < self.height) & (xs >= 0) & (xs < self.width),
            rows, self.outside)
        weights = torch.stack(
            ((1 - frac_y) * (1 - frac_x),
             (1 - frac_y) * frac_x, frac_y * (1 - frac_x), frac_y * frac_x), 1)
        return _ImageTaps(rows, weights, frac_y, frac_x)

    def scope_taps(self, block: slice, tap: int) -> _ScopeTaps:
        # the offset is added last, as in every backend: near a kink, rounding
        # decides on which side of it a position lies
        position = [
            divmod(tap, self.geometry.kernel_size[1])[axis] +
            (self.scope[axis] - self.geometry.kernel_size[axis]) / 2 +
            self.kernel_offset[tap, :, axis, block] for axis in range(2)
        ]
        hat_y, slope_y = _hats(*_cell(*position, *self.scope), self.scope[0])
        hat_x, slope_x = _hats(*_cell(*position[::-1], *self.scope[::-1]),
                               self.scope[1])

        def outer(rows: Tensor, columns: Tensor) -> Tensor:
            return (rows[..., :, None] * columns[..., None, :]).flatten(-2)

        return _ScopeTaps(
            outer(hat_y, hat_x), outer(slope_y, hat_x), outer(hat_y, slope_x),
            outer(slope_y != 0, slope_x != 0))

    def read_image(self, taps: _ImageTaps) -> Tensor:
        """Return the image at the taps, (P, C)."""
        return F.embedding_bag(
            taps.rows, self.image, mode='sum', per_sample_weights=taps.weights)

    def read_scope(self, taps: _ScopeTaps) -> Tensor:
        """Return the resampled kernel at the taps, (P, C)."""
        if self.finite_scope:
            return self.join_groups(torch.bmm(taps.weights, self.weight))
        # zero times infinity or NaN is not zero: leave out cells that are not
        # read
        total = taps.weights.new_zeros(
            (*taps.weights.shape[:2], self.weight.shape[2]))
        for cell in range(self.weight.shape[1]):
            product = taps.weights[..., cell, None] * self.weight[:, None,
                                                                  cell]
            total += torch.where(taps.read[..., cell, None], product, 0.)
        return self.join_groups(total)

    def join_groups(self, x: Tensor) -> Tensor:
        """(G, P, C / G) -> (P, C), channel c in group c mod G."""
        return x[0] if self.groups == 1 else x.permute(1, 2, 0).flatten(1)

    def split_groups(self, x: Tensor) -> Tensor:
        """(P, C) -> (G, P, C / G), inverse of :meth:`join_groups`."""
        return x.unflatten(1, (-1, self.groups)).permute(2, 0, 1)


def _rows_of(image: Tensor) -> Tuple[Tensor, bool]:
    """Return rows, (N * H * W, C), for the values of ``image``, and whether
    they share its memory, so that they need not be copied back."""
    rows = image.permute(0, 2, 3, 1)
    if rows.is_contiguous():
        return rows.view(-1, image.shape[1]), True
    return torch.empty_like(
        rows, memory_format=torch.contiguous_format).flatten(0, 2), False


def _copy_rows(rows: Tensor, image: Tensor) -> Tensor:
    """Copy rows to the image that they belong to; return it."""
    channels, height, width = image.shape[1:]
    return image.copy_(
        rows.view(-1, height, width, channels).permute(0, 3, 1, 2))


def forward(x: Tensor, weight: Tensor, kernel_offset: Tensor,
            offset: Optional[Tensor], bias: Optional[Tensor],
            geometry: Geometry) -> Tensor:
    """Return the output, (N, C, H_out, W_out), in ``x``'s dtype and memory
    format. Arguments as in :func:`dksan_mm.ops.deform_kernel_conv2d`."""
    dtype = compute_dtype(x, weight, kernel_offset, offset, bias)
    sampler = _Sampler(x, weight, kernel_offset, offset, geometry, dtype)
    out = torch.empty((*x.shape[:2], *sampler.out_size),
                      dtype=x.dtype,
                      device=x.device,
                      memory_format=memory_format(x))
    rows, shared = _rows_of(out)
    for block in sampler.blocks():
        total = sampler.image.new_zeros((block.stop - block.start, x.shape[1]))
        for tap in range(sampler.taps):
            total.addcmul_(
                sampler.read_image(sampler.image_taps(block, tap)),
                sampler.read_scope(sampler.scope_taps(block, tap)))
        if bias is not None:
            total += bias
        rows[block] = total
    return out if shared else _copy_rows(rows, out)


def backward(grad_out: Tensor, x: Tensor, weight: Tensor,
             kernel_offset: Tensor, offset: Optional[Tensor],
             geometry: Geometry,
             output_mask: Sequence[bool]) -> Tuple[Tensor, ...]:
    """Return the gradients of x, weight, kernel_offset and offset, each with
    the shape, dtype and memory format of its tensor, or of shape (0,) if
    ``output_mask`` leaves it out."""
    dtype = compute_dtype(grad_out, x, weight, kernel_offset, offset)
    sampler = _Sampler(x, weight, kernel_offset, offset, geometry, dtype)
    rows = grad_out.permute(0, 2, 3, 1).flatten(0, 2)
    image, scope, kernel, move = grads = (
        torch.zeros_like(sampler.image), torch.zeros_like(sampler.weight),
        torch.zeros_like(sampler.kernel_offset),
        None if offset is None else torch.zeros_like(sampler.offset))
    for block in sampler.blocks():
        for tap in range(sampler.taps):
            _tap_backward(rows[block].to(dtype), sampler, block, tap, *grads)

    size = (x.shape[0], *sampler.out_size)
    out = [
        empty_like(tensor) if wanted and tensor is not None else x.new_empty(0)
        for tensor, wanted in zip((x, weight, kernel_offset,
                                   offset), output_mask)
    ]
    if output_mask[0]:
        _copy_rows(image[:-1], out[0])
    if output_mask[1]:
        out[1].copy_(scope.permute(2, 0, 1).reshape(weight.shape))
    if output_mask[2]:
        out[2].copy_(
            kernel.unflatten(-1, size).permute(3, 1, 0, 2, 4, 5).flatten(1, 3))
    if output_mask[3] and offset is not None:
        out[3].copy_(
            move.unflatten(-1, size).permute(2, 0, 1, 3, 4).flatten(1, 2))
    return tuple(out)


def _tap_backward(grad: Tensor, sampler: _Sampler, block: slice, tap: int,
                  grad_image: Tensor, grad_weight: Tensor,
                  grad_kernel_offset: Tensor,
                  grad_offset: Optional[Tensor]) -> None:
    """Add the contribution of one tap of one block to the gradients."""
    taps = sampler.image_taps(block, tap)
    scope_taps = sampler.scope_taps(block, tap)

    by_scope = sampler.split_groups(grad * sampler.read_image(taps))
    if by_scope.isfinite().all():
        grad_weight.baddbmm_(scope_taps.weights.transpose(1, 2), by_scope)
    else:  # as in read_scope
        for cell in range(grad_weight.shape[1]):
            product = scope_taps.weights[..., cell, None] * by_scope
            grad_weight[:,
                        cell] += torch.where(scope_taps.read[..., cell, None],
                                             product, 0.).sum(1)
    by_hat = torch.bmm(by_scope, sampler.weight.transpose(1, 2))
    by_hat = torch.where(scope_taps.read, by_hat, 0.)
    grad_kernel_offset[tap, :, 0, block] = (by_hat * scope_taps.grad_y).sum(-1)
    grad_kernel_offset[tap, :, 1, block] = (by_hat * scope_taps.grad_x).sum(-1)

    by_image = grad * sampler.read_scope(scope_taps)
    grad_image.scatter_add_(0,
                            taps.rows.reshape(-1, 1).expand(-1, grad.shape[1]),
                            (taps.weights[..., None] *
                             by_image[:, None]).flatten(0, 1))
    if grad_offset is not None:
        top_left, top_right, bottom_left, bottom_right = (
            (sampler.image.index_select(0, taps.rows[:, corner]) *
             by_image).sum(1) for corner in range(4))
        top, bottom = top_right - top_left, bottom_right - bottom_left
        left, right = bottom_left - top_left, bottom_right - top_right
        grad_offset[tap, 0, block] = left + taps.frac_x * (right - left)
        grad_offset[tap, 1, block] = top + taps.frac_y * (bottom - top)
