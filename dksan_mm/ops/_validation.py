"""Checks of the operator's arguments, independent of the backend."""
from typing import NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

Size = Union[int, Tuple[int, int]]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Geometry(NamedTuple):
    """Hyper-parameters of the convolution, each as (vertical, horizontal)."""
    kernel_size: Tuple[int, int]
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]

    def output_size(self, height: int, width: int) -> Tuple[int, int]:
        """Return (H_out, W_out), as in ``torch.nn.functional.conv2d``."""
        return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1
                     for size, k, s, p, d in zip((height, width), *self))


def check_pair(name: str, value: Size, least: int) -> Tuple[int, int]:
    """Return ``value`` as a pair of integers, each at least ``least``."""
    pair = _pair(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least
                             for v in pair):
        raise ValueError(f'{name} must be an integer of at least {least} or '
                         f'a pair of them, got {value!r}')
    return tuple(pair)


def check_geometry(kernel_size: Size, stride: Size, padding: Size,
                   dilation: Size) -> Geometry:
    return Geometry(
        check_pair('kernel_size', kernel_size, 1),
        check_pair('stride', stride, 1), check_pair('padding', padding, 0),
        check_pair('dilation', dilation, 1))


def check_tensors(x: Tensor, **others: Optional[Tensor]) -> None:
    """Check types, and that all tensors are on the device of ``x``."""
    for name, tensor in dict(x=x, **others).items():
        if tensor is None and name in ('offset', 'bias'):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{name} must be a Tensor, got {type(tensor)}')
        if tensor.dtype not in DTYPES:
            raise TypeError(f'{name} must have a floating dtype, one of '
                            f'{DTYPES}, got {tensor.dtype}')
        if tensor.device != x.device:
            raise ValueError(f'{name} must be on the device of x, '
                             f'{x.device}, got {tensor.device}')


def check_shape(name: str, tensor: Tensor, meaning: str,
                expected: Tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f'{name} must have shape {meaning} = {expected}, '
                         f'got {tuple(tensor.shape)}')


def _check_shapes(x: Tensor, weight: Tensor, kernel_offset: Tensor,
                  offset: Optional[Tensor], bias: Optional[Tensor],
                  geometry: Geometry) -> None:
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError('x must have shape (N, C, H, W) with C, H and W of '
                         f'at least 1, got {tuple(x.shape)}')
    batch, channels, height, width = x.shape
    out_size = geometry.output_size(height, width)
    # no min(): tracing would note which side is the shorter
    if out_size[0] < 1 or out_size[1] < 1:
        raise ValueError(
            f'x must be at least as large as the dilated kernel, got '
            f'H, W = {(height, width)} with padding {geometry.padding}, '
            f'kernel_size {geometry.kernel_size} and dilation '
            f'{geometry.dilation}, so that H_out, W_out = {out_size}')
    if weight.dim() != 4 or weight.shape[:2] != (channels,
                                                 1) or 0 in weight.shape:
        raise ValueError(f'weight must have shape (C, 1, S_h, S_w) with C = '
                         f'{channels}, as x has, got {tuple(weight.shape)}')

    per_group = 2 * geometry.kernel_size[0] * geometry.kernel_size[1]
    # no divmod: symbolic sizes, when tracing, lack it
    offsets = kernel_offset.shape[1] if kernel_offset.dim() == 4 else 0
    groups = offsets // per_group
    if groups < 1 or offsets % per_group or channels % groups:
        raise ValueError(
            'kernel_offset must have shape (N, G*2*K, H_out, W_out) with '
            f'2*K = {per_group} and G >= 1 a divisor of C = {channels}, '
            f'got {tuple(kernel_offset.shape)}')
    check_shape('kernel_offset', kernel_offset, '(N, G*2*K, H_out, W_out)',
                (batch, groups * per_group, *out_size))
    if offset is not None:
        check_shape('offset', offset, '(N, 2*K, H_out, W_out)',
                    (batch, per_group, *out_size))
    if bias is not None:
        check_shape('bias', bias, '(C,)', (channels, ))


def check_arguments(x: Tensor,
                    weight: Tensor,
                    kernel_offset: Tensor,
                    offset: Optional[Tensor],
                    bias: Optional[Tensor],
                    geometry: Geometry,
                    grad_out: Optional[Tensor] = None) -> None:
    """Raise TypeError or ValueError, naming the argument, unless all arguments
    are as :func:`dksan_mm.ops.deform_kernel_conv2d` requires."""
    check_tensors(
        x=x,
        weight=weight,
        kernel_offset=kernel_offset,
        offset=offset,
        bias=bias)
    _check_shapes(x, weight, kernel_offset, offset, bias, geometry)
    if grad_out is not None:
        check_tensors(x, grad_out=grad_out)
        check_shape('grad_out', grad_out, '(N, C, H_out, W_out)',
                    (*x.shape[:2], *kernel_offset.shape[-2:]))
