"""Deformable-kernel convolution on GPUs, in Triton.

A program works on a tile: some output pixels (rows) by some channels of one
group (columns), so that positions are computed once per pixel, not per
channel. Triton lays the lanes of a warp along the axis that it knows to be
contiguous in memory (channels, if the image is channels-last), else along the
first axis, pixels; the shape of the tile follows from that.

- ``_forward_kernel``: the output.
- ``_backward_kernel``: the gradients of both offsets, summed over channels in
the program, and the gradient of the image, added up in memory.
- ``_weight_kernel``: the scope's gradient, as one partial sum per program.

Positions outside an image or a scope, or beyond the end of a tensor, are never
loaded or stored. Nothing here waits for the GPU.

For tests, Triton's interpreter runs all this on CPUs: set TRITON_INTERPRET=1
in the environment before anything imports triton.
"""
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._library import compute_dtype, empty_like, memory_format
from ._validation import Geometry

# Element offsets up to this fit 32 bits, with room for the last tile, which
# extends beyond the last pixel.
_MAX_OFFSET_32 = 2**31 - 2**16
# Pixels and channels of a tile, by whether the image is channels-last; the
# values fit the registers. A tile with fewer channels has more pixels. The
# matrix products of _weight_kernel need at least 16 pixels.
_FORWARD_TILES = {True: (16, 128), False: (128, 16)}
_BACKWARD_TILES = {True: (8, 128), False: (32, 32)}
_WEIGHT_TILES = {True: (16, 128), False: (32, 32)}
_MOST_PIXELS = 128
# Most cells of the scope that a program of _weight_kernel sums for
_MOST_CELLS = 64
# Most partial sums of the scope's gradient, and most elements in them
_MOST_PARTS = 512
_MOST_PART_ELEMENTS = 1 << 22

# Positions. In the kernels an image is a tuple (tensor, strides of N, C, H and
# W); pixels are (sample, row, column, mask of those that exist), and cells are
# (top, left, fraction down, fraction right).


@triton.jit
def _pixels(tile, sizes, BLOCK: tl.constexpr, INDEX: tl.constexpr):
    """Return a tile's output pixels. ``sizes``: pixels, H_out, W_out."""
    pixel = tl.cast(tile, INDEX) * BLOCK + tl.arange(0, BLOCK)
    row = pixel // sizes[2]
    return (row // sizes[1], row % sizes[1], pixel % sizes[2], pixel
            < sizes[0])


@triton.jit
def _channels(tile, group, GROUPS: tl.constexpr, BLOCK: tl.constexpr,
              INDEX: tl.constexpr):
    """Return a tile's channels of a group: all c with c mod G = group."""
    channel = tl.cast(tile, INDEX) * BLOCK + tl.arange(0, BLOCK)
    return group + GROUPS * channel


@triton.jit
def _at(image, pixels, channel):
    """Return pointers to the pixels in one channel of an image."""
    sample, row, column, _ = pixels
    return image[0] + (
        sample * image[1] + channel * image[2] + row * image[3] +
        column * image[4])


@triton.jit
def _tile_at(image, pixels, channel):
    """Return pointers to the pixels in several channels of an image."""
    sample, row, column, _ = pixels
    index = sample * image[1] + row * image[3] + column * image[4]
    return image[0] + (index[:, None] + (channel * image[2])[None])


@triton.jit
def _cell(y, x, height, width, exists, INDEX: tl.constexpr):
    """Return the cells that positions lie in. Positions that are outside or
    not a number are moved to -2, where no corner is inside; casting them to
    integers would be undefined."""
    inside = exists & (y > -1) & (y < height) & (x > -1) & (x < width)
    y = tl.where(inside, y, -2.)
    x = tl.where(inside, x, -2.)
    top = tl.floor(y)
    left = tl.floor(x)
    return top.to(INDEX), left.to(INDEX), y - top, x - left


@triton.jit
def _image_cell(tap, offset, pixels, sizes, geometry, TAPS: tl.constexpr,
                DTYPE: tl.constexpr, INDEX: tl.constexpr):
    """Return the cell that a tap reads in the image. ``sizes``: C, H, W;
    ``geometry``: stride, padding and dilation, each (vertical, horizontal)."""
    _, row, column, exists = pixels
    y = (row * geometry[0] - geometry[2] +
         tap // TAPS[1] * geometry[4]).to(DTYPE)
    x = (column * geometry[1] - geometry[3] +
         tap % TAPS[1] * geometry[5]).to(DTYPE)
    if offset is not None:
        at = _at(offset, pixels, 2 * tap)
        y += tl.load(at, mask=exists, other=0).to(DTYPE)
        x += tl.load(at + offset[2], mask=exists, other=0).to(DTYPE)
    return _cell(y, x, sizes[1], sizes[2], exists, INDEX)


@triton.jit
def _scope_cell(tap, group, kernel_offset, pixels, TAPS: tl.constexpr,
                SCOPE: tl.constexpr, DTYPE: tl.constexpr, INDEX: tl.constexpr):
    """Return the cell that a tap reads in the scope."""
    exists = pixels[3]
    at = _at(kernel_offset, pixels, 2 * (group * TAPS[0] * TAPS[1] + tap))
    y = tl.load(at, mask=exists, other=0).to(DTYPE)
    x = tl.load(at + kernel_offset[2], mask=exists, other=0).to(DTYPE)
    y += tap // TAPS[1] + (SCOPE[0] - TAPS[0]) / 2
    x += tap % TAPS[1] + (SCOPE[1] - TAPS[1]) / 2
    return _cell(y, x, SCOPE[0], SCOPE[1], exists, INDEX)


# Bilinear reading. Corners go top left, top right, bottom left, bottom right.


@triton.jit
def _corners(image, sample, channel, cell, height, width, real):
    """Return pointers to the corners of cells, and masks of those to access:
    inside the image, in ``real`` channels."""
    top, left, _, _ = cell
    first = _tile_at(image, (sample, top, left, None), channel)
    has_top = top >= 0
    has_bottom = top < height - 1
    has_left = left >= 0
    # both are -2 for positions outside, and then neither side is there
    has_right = (left >= -1) & (left < width - 1)
    real = real[None]
    below = first + image[3]
    return ((first, first + image[4], below, below + image[4]),
            ((has_top & has_left)[:, None] & real,
             (has_top & has_right)[:, None] & real,
             (has_bottom & has_left)[:, None] & real,
             (has_bottom & has_right)[:, None] & real))


@triton.jit
def _read(image, sample, channel, cell, height, width, real,
          DTYPE: tl.constexpr):
    """Return the values at the corners of cells, zero outside."""
    at, inside = _corners(image, sample, channel, cell, height, width, real)
    return (tl.load(at[0], mask=inside[0], other=0).to(DTYPE),
            tl.load(at[1], mask=inside[1], other=0).to(DTYPE),
            tl.load(at[2], mask=inside[2], other=0).to(DTYPE),
            tl.load(at[3], mask=inside[3], other=0).to(DTYPE))


@triton.jit
def _weights(cell):
    """Return the bilinear weights of the corners."""
    _, _, y, x = cell
    return (((1 - y) * (1 - x))[:, None], ((1 - y) * x)[:, None],
            (y * (1 - x))[:, None], (y * x)[:, None])


@triton.jit
def _mix(corners, cell):
    """Return the bilinear values in cells."""
    weights = _weights(cell)
    return (corners[0] * weights[0] + corners[1] * weights[1] +
            corners[2] * weights[2] + corners[3] * weights[3])


@triton.jit
def _slopes(corners, cell):
    """Return the derivatives of :func:`_mix` by the position's y and x."""
    _, _, y, x = cell
    left = corners[2] - corners[0]
    right = corners[3] - corners[1]
    top = corners[1] - corners[0]
    bottom = corners[3] - corners[2]
    return (left + x[:, None] * (right - left),
            top + y[:, None] * (bottom - top))


@triton.jit
def _add(image, sample, channel, cell, height, width, real, value, scale):
    """Add values, times the bilinear weights, to the corners of cells.

    The order is not fixed, so floating-point sums differ from run to run. With
    a ``scale``, multiples of 1 / scale are added as integers, whose sum does
    not depend on the order.
    """
    at, inside = _corners(image, sample, channel, cell, height, width, real)
    weights = _weights(cell)
    for corner in tl.static_range(4):
        part = value * weights[corner]
        if scale is not None:
            part = part.to(tl.float64) * tl.load(scale)
            # the caller makes the result a NaN where there is one
            part = tl.where(part == part, part, 0.).to(tl.int64)
        tl.atomic_add(at[corner], part, mask=inside[corner], sem='relaxed')


# Kernels. ``sizes``: C, H, W; ``out_sizes``: pixels, H_out, W_out; ``table``:
# the scope as an image, (1, C, S_h, S_w). Tensors that are None at compile
# time are not wanted or not given.


@triton.jit
def _forward_kernel(x, table, kernel_offset, offset, bias, out, sizes,
                    out_sizes, geometry, TAPS: tl.constexpr,
                    SCOPE: tl.constexpr, GROUPS: tl.constexpr,
                    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
                    DTYPE: tl.constexpr, INDEX: tl.constexpr):
    pixels = _pixels(tl.program_id(0), out_sizes, BLOCK_P, INDEX)
    group = tl.program_id(1) % GROUPS
    channel = _channels(
        tl.program_id(1) // GROUPS, group, GROUPS, BLOCK_C, INDEX)
    real = channel < sizes[0]
    total = tl.zeros((BLOCK_P, BLOCK_C), DTYPE)
    for tap in range(TAPS[0] * TAPS[1]):
        cell = _image_cell(tap, offset, pixels, sizes, geometry, TAPS, DTYPE,
                           INDEX)
        scope_cell = _scope_cell(tap, group, kernel_offset, pixels, TAPS,
                                 SCOPE, DTYPE, INDEX)
        image = _read(x, pixels[0], channel, cell, sizes[1], sizes[2], real,
                      DTYPE)
        scope = _read(table, 0, channel, scope_cell, SCOPE[0], SCOPE[1], real,
                      DTYPE)
        total += _mix(image, cell) * _mix(scope, scope_cell)
    if bias is not None:
        at = bias[0] + channel * bias[1]
        total += tl.load(at, mask=real, other=0).to(DTYPE)[None]
    tl.store(
        _tile_at(out, pixels, channel),
        total,
        mask=pixels[3][:, None] & real[None])


@triton.jit
def _backward_kernel(grad_out, x, table, kernel_offset, offset, grad_x, scale,
                     grad_kernel_offset, grad_offset, sizes, out_sizes,
                     geometry, TAPS: tl.constexpr, SCOPE: tl.constexpr,
                     GROUPS: tl.constexpr, BLOCK_P: tl.constexpr,
                     BLOCK_C: tl.constexpr, DTYPE: tl.constexpr,
                     INDEX: tl.constexpr):
    pixels = _pixels(tl.program_id(0), out_sizes, BLOCK_P, INDEX)
    sample, _, _, exists = pixels
    for tap in range(TAPS[0] * TAPS[1]):
        cell = _image_cell(tap, offset, pixels, sizes, geometry, TAPS, DTYPE,
                           INDEX)
        move_y = tl.zeros((BLOCK_P, ), DTYPE)
        move_x = tl.zeros((BLOCK_P, ), DTYPE)
        for group in range(GROUPS):
            scope_cell = _scope_cell(tap, group, kernel_offset, pixels, TAPS,
                                     SCOPE, DTYPE, INDEX)
            kernel_y = tl.zeros((BLOCK_P, ), DTYPE)
            kernel_x = tl.zeros((BLOCK_P, ), DTYPE)
            for tile in range(tl.cdiv(sizes[0] // GROUPS, BLOCK_C)):
                channel = _channels(tile, group, GROUPS, BLOCK_C, INDEX)
                real = channel < sizes[0]
                grad = tl.load(
                    _tile_at(grad_out, pixels, channel),
                    mask=exists[:, None] & real[None],
                    other=0).to(DTYPE)
                scope = _read(table, 0, channel, scope_cell, SCOPE[0],
                              SCOPE[1], real, DTYPE)
                by_image = grad * _mix(scope, scope_cell)
                if grad_x is not None:
                    _add(grad_x, sample, channel, cell, sizes[1], sizes[2],
                         real, by_image, scale)
                if (grad_kernel_offset is not None) or (grad_offset
                                                        is not None):
                    image = _read(x, sample, channel, cell, sizes[1], sizes[2],
                                  real, DTYPE)
                if grad_kernel_offset is not None:
                    by_scope = grad * _mix(image, cell)
                    slope_y, slope_x = _slopes(scope, scope_cell)
                    kernel_y += tl.sum(by_scope * slope_y, 1)
                    kernel_x += tl.sum(by_scope * slope_x, 1)
                if grad_offset is not None:
                    slope_y, slope_x = _slopes(image, cell)
                    move_y += tl.sum(by_image * slope_y, 1)
                    move_x += tl.sum(by_image * slope_x, 1)
            if grad_kernel_offset is not None:
                at = _at(grad_kernel_offset, pixels,
                         2 * (group * TAPS[0] * TAPS[1] + tap))
                tl.store(at, kernel_y, mask=exists)
                tl.store(at + grad_kernel_offset[2], kernel_x, mask=exists)
        if grad_offset is not None:
            at = _at(grad_offset, pixels, 2 * tap)
            tl.store(at, move_y, mask=exists)
            tl.store(at + grad_offset[2], move_x, mask=exists)


@triton.jit
def _hat(cells, first, fraction):
    """Return the weights of all cells along an axis; two of them are not zero.
    """
    first = first[:, None]
    fraction = fraction[:, None]
    return tl.where(cells == first, 1 - fraction, 0.) + tl.where(
        cells == first + 1, fraction, 0.)


@triton.jit
def _weight_kernel(grad_out, x, kernel_offset, offset, parts, sizes, out_sizes,
                   geometry, tiles, TAPS: tl.constexpr, SCOPE: tl.constexpr,
                   GROUPS: tl.constexpr, BLOCK_P: tl.constexpr,
                   BLOCK_C: tl.constexpr, BLOCK_S: tl.constexpr,
                   DTYPE: tl.constexpr, INDEX: tl.constexpr):
    """Sum, over some tiles of pixels, the products with the bilinear weights
    of all cells, as a matrix product, without conflicts in memory. ``parts``:
    an image, (parts, C, 1, cells)."""
    group = tl.program_id(1) % GROUPS
    channel = _channels(
        tl.program_id(1) // GROUPS, group, GROUPS, BLOCK_C, INDEX)
    real = channel < sizes[0]
    scope = tl.program_id(2) * BLOCK_S + tl.arange(0, BLOCK_S)
    total = tl.zeros((BLOCK_C, BLOCK_S), DTYPE)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        pixels = _pixels(tile, out_sizes, BLOCK_P, INDEX)
        grad = tl.load(
            _tile_at(grad_out, pixels, channel),
            mask=pixels[3][:, None] & real[None],
            other=0).to(DTYPE)
        for tap in range(TAPS[0] * TAPS[1]):
            cell = _image_cell(tap, offset, pixels, sizes, geometry, TAPS,
                               DTYPE, INDEX)
            scope_cell = _scope_cell(tap, group, kernel_offset, pixels, TAPS,
                                     SCOPE, DTYPE, INDEX)
            image = _read(x, pixels[0], channel, cell, sizes[1], sizes[2],
                          real, DTYPE)
            by_scope = grad * _mix(image, cell)
            hat = _hat(
                (scope // SCOPE[1])[None], scope_cell[0],
                scope_cell[2]) * _hat(
                    (scope % SCOPE[1])[None], scope_cell[1], scope_cell[3])
            total = tl.dot(
                tl.trans(by_scope),
                hat,
                total,
                input_precision='ieee',
                out_dtype=DTYPE)
    part = tl.cast(tl.program_id(0), INDEX) * parts[1]
    at = part + (channel * parts[2])[:, None] + (scope * parts[4])[None]
    tl.store(
        parts[0] + at,
        total,
        mask=real[:, None] & (scope < SCOPE[0] * SCOPE[1])[None])


# Around the kernels


def _check_device(x: Tensor) -> None:
    # Triton's own functions must be the interpreter's, too
    compiled = [
        isinstance(function, triton.JITFunction)
        for function in (_forward_kernel, tl.sum)
    ]
    if any(compiled) and not (x.is_cuda and all(compiled)):
        raise RuntimeError(
            'the triton backend needs tensors on a GPU, or its interpreter '
            f'for others, got a tensor on {x.device} and no interpreter: set '
            'TRITON_INTERPRET=1 in the environment before Python starts, or '
            'move the tensors to a GPU')


def _needs_64_bits(tensor: Tensor) -> bool:
    """Whether an element is too far from the first one for 32-bit offsets."""
    last = sum((size - 1) * stride
               for size, stride in zip(tensor.shape, tensor.stride()))
    return last > _MAX_OFFSET_32


def _image(tensor: Optional[Tensor]) -> Optional[Tuple[Any, ...]]:
    """Return a tensor with its strides, as the kernels take it."""
    return None if tensor is None else (tensor, *tensor.stride())


class _Tiling(NamedTuple):
    """Number and size of tiles."""
    pixel_tiles: int
    channel_tiles: int  # of all groups
    constants: Dict[str, int]


class _Problem(NamedTuple):
    """Arguments that all kernels share."""
    images: Dict[str, Optional[Tensor]]
    constants: Dict[str, Any]
    table: Tensor  # the scope in the type to compute in, (1, C, S_h, S_w)
    pixels: int

    def tile(self, tiles: Dict[bool, Tuple[int, int]]) -> _Tiling:
        """Divide the problem into tiles; their size depends on the layout."""
        x = self.images['x']
        groups = self.constants['GROUPS']
        pixels, channels = tiles[memory_format(x) == torch.channels_last]
        block_c = min(triton.next_power_of_2(x.shape[1] // groups), channels)
        block_p = min(pixels * channels // block_c, _MOST_PIXELS)
        return _Tiling(
            triton.cdiv(self.pixels, block_p),
            groups * triton.cdiv(x.shape[1] // groups, block_c),
            dict(BLOCK_P=block_p, BLOCK_C=block_c))

    def launch(self, kernel: Any, grid: Tuple[int, ...],
               images: Dict[str, Optional[Tensor]], **constants: Any) -> None:
        """Start a kernel, on the current stream of the tensors' device."""
        images = {**self.images, **images}
        wide = self.pixels > _MAX_OFFSET_32 or any(
            _needs_64_bits(tensor)
            for tensor in images.values() if tensor is not None)
        with torch.cuda.device_of(images['x']):
            kernel[grid](
                **{
                    key: _image(tensor)
                    for key, tensor in images.items()
                },
                **self.constants,
                **constants,
                INDEX=tl.int64 if wide else tl.int32,
                num_warps=8 if self.table.dtype == torch.float64 else 4,
                # fetching ahead would copy four bytes at a time
                num_stages=1)


def _problem(x: Tensor, weight: Tensor, kernel_offset: Tensor,
             offset: Optional[Tensor], other: Optional[Tensor],
             geometry: Geometry) -> _Problem:
    """Return the problem; ``other`` (bias or the output's gradient) takes
    part in the choice of the type to compute in."""
    dtype = compute_dtype(x, weight, kernel_offset, offset, other)
    out_sizes = kernel_offset.shape[-2:]
    pixels = x.shape[0] * out_sizes[0] * out_sizes[1]
    taps = geometry.kernel_size
    return _Problem(
        images=dict(x=x, kernel_offset=kernel_offset, offset=offset),
        constants=dict(
            sizes=tuple(x.shape[1:]),
            out_sizes=(pixels, *out_sizes),
            geometry=(*geometry.stride, *geometry.padding, *geometry.dilation),
            TAPS=tuple(taps),
            SCOPE=tuple(weight.shape[-2:]),
            GROUPS=kernel_offset.shape[1] // (2 * taps[0] * taps[1]),
            DTYPE=tl.float64 if dtype == torch.float64 else tl.float32),
        table=weight.transpose(
            0, 1).to(dtype).contiguous(memory_format=memory_format(x)),
        pixels=pixels)


def forward(x: Tensor, weight: Tensor, kernel_offset: Tensor,
            offset: Optional[Tensor], bias: Optional[Tensor],
            geometry: Geometry) -> Tensor:
    """Return the output, (N, C, H_out, W_out), in ``x``'s dtype and memory
    format. Arguments as in :func:`dksan_mm.ops.deform_kernel_conv2d`.

    Raises:
        RuntimeError: The tensors are not on a GPU, and Triton's interpreter
            is off.
    """
    _check_device(x)
    out = torch.empty((*x.shape[:2], *kernel_offset.shape[-2:]),
                      dtype=x.dtype,
                      device=x.device,
                      memory_format=memory_format(x))
    if x.shape[0]:
        problem = _problem(x, weight, kernel_offset, offset, bias, geometry)
        tile = problem.tile(_FORWARD_TILES)
        problem.launch(
            _forward_kernel, (tile.pixel_tiles, tile.channel_tiles),
            dict(table=problem.table, out=out),
            bias=None if bias is None else (bias, bias.stride(0)),
            **tile.constants)
    return out


def backward(grad_out: Tensor, x: Tensor, weight: Tensor,
             kernel_offset: Tensor, offset: Optional[Tensor],
             geometry: Geometry,
             output_mask: Sequence[bool]) -> Tuple[Tensor, ...]:
    """Return the gradients of x, weight, kernel_offset and offset, each with
    the shape, dtype and memory format of its tensor, or of shape (0,) if
    ``output_mask`` leaves it out.

    All but the gradient of x are the same in every run. With
    :func:`torch.use_deterministic_algorithms` the gradient of x is, too; then
    a NaN or an infinity in ``grad_out`` or ``weight`` makes all of it NaN.

    A NaN or an infinity in ``x`` or ``grad_out`` makes the gradient of all
    cells of its channel's scope NaN, not only that of the cells it meets.

    Raises:
        RuntimeError: As for :func:`forward`.
    """
    _check_device(x)
    tensors = (x, weight, kernel_offset, offset)
    grads = [
        x.new_empty(0) if tensor is None or not wanted else empty_like(tensor)
        for tensor, wanted in zip(tensors, output_mask)
    ]
    if not x.shape[0]:
        return tuple(grad.zero_() for grad in grads)
    problem = _problem(x, weight, kernel_offset, offset, grad_out, geometry)
    if output_mask[1]:
        grads[1].copy_(_grad_weight(problem, grad_out).view(weight.shape))
    if any(grads[i].numel() for i in (0, 2, 3)):
        _grad_pixels(problem, grad_out, *(grads[i] for i in (0, 2, 3)))
    return tuple(grads)


def _grad_pixels(problem: _Problem, grad_out: Tensor, grad_x: Tensor,
                 grad_kernel_offset: Tensor, grad_offset: Tensor) -> None:
    """Write the three gradients, except those that are empty."""
    scale = total = None
    if grad_x.numel():
        dtype = problem.table.dtype
        if torch.are_deterministic_algorithms_enabled():
            scale = _scale(problem, grad_out)
            dtype = torch.int64
        total = torch.zeros_like(grad_x, dtype=dtype)
    tile = problem.tile(_BACKWARD_TILES)
    problem.launch(
        _backward_kernel, (tile.pixel_tiles, ),
        dict(
            grad_out=grad_out,
            table=problem.table,
            grad_x=total,
            grad_kernel_offset=grad_kernel_offset
            if grad_kernel_offset.numel() else None,
            grad_offset=grad_offset if grad_offset.numel() else None),
        scale=scale,
        **tile.constants)
    if total is not None:
        grad_x.copy_(total if scale is None else total / scale)


def _scale(problem: _Problem, grad_out: Tensor) -> Tensor:
    """Return the factor for values added to the image's gradient, so that no
    sum in 64-bit integers overflows: an element gets at most the largest
    possible product from each tap of each pixel of its image."""
    out_pixels = grad_out.shape[2] * grad_out.shape[3]
    k_h, k_w = problem.constants['TAPS']
    bound = out_pixels * k_h * k_w
    for tensor in (grad_out, problem.table):
        bound = bound * torch.linalg.vector_norm(
            tensor, float('inf'), dtype=torch.float64)
    # zero would make the scale infinite; one bit is spared for rounding
    return 2.**61 / bound.clamp(min=1e-200)


def _grad_weight(problem: _Problem, grad_out: Tensor) -> Tensor:
    """Return the scope's gradient, (C, S_h * S_w), from partial sums of as
    many programs as fill the GPU."""
    channels = grad_out.shape[1]
    s_h, s_w = problem.constants['SCOPE']
    block = min(max(triton.next_power_of_2(s_h * s_w), 16), _MOST_CELLS)
    tile = problem.tile(_WEIGHT_TILES)
    parts = min(tile.pixel_tiles, _MOST_PARTS,
                max(_MOST_PART_ELEMENTS // (channels * s_h * s_w), 1))
    sums = problem.table.new_empty((parts, channels, 1, s_h * s_w))
    problem.launch(
        _weight_kernel,
        (parts, tile.channel_tiles, triton.cdiv(s_h * s_w, block)),
        dict(grad_out=grad_out, parts=sums),
        tiles=tile.pixel_tiles,
        BLOCK_S=block,
        **tile.constants)
    return sums.sum(0)
