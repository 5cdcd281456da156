"""mmcv's modulated deformable convolution as an op of PyTorch's library:
``torch.ops.dksan_mm.modulated_deform_conv2d``.

mmcv's own function is opaque to ``torch.compile`` and to exporting. Its CPU
kernel (2.1.0) reads what it is given as if it were contiguous, and is silently
wrong otherwise; it knows no bfloat16, reads outside memory where a shape is
wrong, and so does its backward pass where an offset is not a number. So shapes
are checked first, and the kernel gets contiguous data in float32 at least
(positions in float16 are too coarse), copied inside the op where need be.
"""
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from mmcv.utils import ext_loader
from torch import Tensor

from dksan_mm.ops._library import (bias_gradient, compute_dtype, empty_like,
                                   memory_format, no_second_order)
from dksan_mm.ops._validation import (Geometry, Size, check_pair, check_shape,
                                      check_tensors)

FORWARD = 'modulated_deform_conv2d'
BACKWARD = 'modulated_deform_conv2d_backward'
_SETTINGS = ('int[2] stride, int[2] padding, int[2] dilation, int groups, '
             'int deform_groups')
_FAR = 1e6  # an offset that leads out of any image

_ext = ext_loader.load_ext(
    '_ext',
    ['modulated_deform_conv_forward', 'modulated_deform_conv_backward'])
_library = torch.library.Library('dksan_mm', 'FRAGMENT')
_library.define(
    f'{FORWARD}(Tensor x, Tensor offset, Tensor mask, Tensor weight, '
    f'Tensor? bias, {_SETTINGS}) -> Tensor',
    tags=torch.Tag.pt2_compliant_tag)
_library.define(
    f'{BACKWARD}(Tensor grad_out, Tensor x, Tensor offset, Tensor mask, '
    f'Tensor weight, {_SETTINGS}) -> (Tensor grad_x, Tensor grad_offset, '
    'Tensor grad_mask, Tensor grad_weight)',
    tags=torch.Tag.pt2_compliant_tag)


def modulated_deform_conv2d(x: Tensor,
                            offset: Tensor,
                            mask: Tensor,
                            weight: Tensor,
                            bias: Optional[Tensor] = None,
                            stride: Size = 1,
                            padding: Size = 0,
                            dilation: Size = 1,
                            groups: int = 1,
                            deform_groups: int = 1) -> Tensor:
    """Convolve at deformed positions, each tap scaled by a mask (DCNv2).

    It is mmcv's function of this name, with its arguments and its kernels,
    for any memory format and any floating dtype.

    Args:
        x (Tensor): (N, C, H, W), N >= 0.
        offset (Tensor): Offsets in pixels, (N, D*2*K, H_out, W_out), D being
            ``deform_groups`` and K = k_h * k_w: for each group, which has
            C / D channels side by side, for each tap (dy, dx).
        mask (Tensor): Factors, (N, D*K, H_out, W_out).
        weight (Tensor): (C_out, C / groups, k_h, k_w).
        bias (Tensor, optional): (C_out,). Default: None.
        stride (int or tuple[int]): Default: 1.
        padding (int or tuple[int]): Zeros around the image. Default: 0.
        dilation (int or tuple[int]): Default: 1.
        groups (int): Default: 1.
        deform_groups (int): D. Default: 1.

    Returns:
        Tensor: (N, C_out, H_out, W_out), in the dtype and memory format of
        ``x``. Dtypes may be mixed, as they are under autocast: computing is
        done in the widest of them, in float32 at least. Gradients of second
        order are not implemented.

    Raises:
        TypeError: A tensor is not of a floating dtype.
        ValueError: A shape, a device or a number breaks the rules above; the
            message names it.
    """
    return torch.ops.dksan_mm.modulated_deform_conv2d(x, offset, mask, weight,
                                                      bias, stride, padding,
                                                      dilation, groups,
                                                      deform_groups)


# Checks


def _check_groups(x: Tensor, weight: Tensor, groups: int,
                  deform_groups: int) -> None:
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError('x must have shape (N, C, H, W) with C, H and W of '
                         f'at least 1, got {tuple(x.shape)}')
    channels = x.shape[1]
    for name, value in dict(
            groups=groups, deform_groups=deform_groups).items():
        if value < 1 or channels % value:
            raise ValueError(f'{name} must be a divisor of C = {channels}, '
                             f'got {value}')
    if weight.dim() != 4 or 0 in weight.shape or weight.shape[
            1] != channels // groups or weight.shape[0] % groups:
        raise ValueError(
            'weight must have shape (C_out, C / groups, k_h, k_w) with groups '
            f'= {groups}, a divisor of C_out, and C = {channels}, got '
            f'{tuple(weight.shape)}')


def _check(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor,
           bias: Optional[Tensor], stride: Size, padding: Size, dilation: Size,
           groups: int, deform_groups: int) -> Tuple[int, ...]:
    """Return the output's shape, or raise TypeError or ValueError."""
    check_tensors(x, weight=weight, offset=offset, mask=mask, bias=bias)
    _check_groups(x, weight, groups, deform_groups)
    geometry = Geometry(
        tuple(weight.shape[2:]), check_pair('stride', stride, 1),
        check_pair('padding', padding, 0), check_pair('dilation', dilation, 1))
    size = geometry.output_size(*x.shape[2:])
    # no min(): tracing would note which side is the shorter
    if size[0] < 1 or size[1] < 1:
        raise ValueError(
            'x must be at least as large as the dilated kernel, got H, W = '
            f'{tuple(x.shape[2:])} with {geometry}, so that H_out, W_out = '
            f'{size}')
    maps = deform_groups * weight.shape[2] * weight.shape[3]
    check_shape('offset', offset, '(N, D*2*K, H_out, W_out)',
                (x.shape[0], 2 * maps, *size))
    check_shape('mask', mask, '(N, D*K, H_out, W_out)',
                (x.shape[0], maps, *size))
    if bias is not None:
        check_shape('bias', bias, '(C_out,)', (weight.shape[0], ))
    return x.shape[0], weight.shape[0], *size


# Kernels


def _kernel_arguments(weight: Tensor, settings: Sequence[Any],
                      with_bias: bool) -> Dict[str, Any]:
    """Return what mmcv's two functions take by name."""
    stride, padding, dilation, groups, deform_groups = settings
    return dict(
        kernel_h=weight.shape[2],
        kernel_w=weight.shape[3],
        stride_h=stride[0],
        stride_w=stride[1],
        pad_h=padding[0],
        pad_w=padding[1],
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        group=groups,
        deformable_group=deform_groups,
        with_bias=with_bias)


def _plain(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).contiguous()


def _forward(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor,
             bias: Optional[Tensor], *settings: Any) -> Tensor:
    shape = _check(x, offset, mask, weight, bias, *settings)
    dtype = compute_dtype(x, offset, mask, weight, bias)
    out = torch.empty(
        shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    direct = out.is_contiguous() and out.dtype == dtype
    result = out if direct else out.new_empty(shape, dtype=dtype)
    x, offset, mask, weight = (
        _plain(tensor, dtype) for tensor in (x, offset, mask, weight))
    unused = x.new_empty(0)
    _ext.modulated_deform_conv_forward(
        x, weight, unused if bias is None else _plain(bias, dtype),
        x.new_empty(0), offset, mask, result, x.new_empty(0),
        **_kernel_arguments(weight, settings, bias is not None))
    return out if direct else out.copy_(result)


def _backward(grad_out: Tensor, x: Tensor, offset: Tensor, mask: Tensor,
              weight: Tensor, *settings: Any) -> Tuple[Tensor, ...]:
    shape = _check(x, offset, mask, weight, None, *settings)
    check_tensors(x, grad_out=grad_out)
    check_shape('grad_out', grad_out, '(N, C_out, H_out, W_out)', shape)
    tensors = x, offset, mask, weight
    dtype = compute_dtype(grad_out, *tensors)
    x, offset, mask, weight = inputs = [
        _plain(tensor, dtype) for tensor in tensors
    ]
    grads = [torch.zeros_like(tensor) for tensor in inputs]
    # as in the forward pass, where mmcv compares so that NaN is outside
    offset = offset.nan_to_num(nan=_FAR)
    unused = x.new_empty(0)
    grad_x, grad_offset, grad_mask, grad_weight = grads
    _ext.modulated_deform_conv_backward(
        x, weight, unused, x.new_empty(0), offset, mask, x.new_empty(0),
        grad_x, grad_weight, unused, grad_offset, grad_mask,
        _plain(grad_out, dtype), **_kernel_arguments(weight, settings, False))
    return tuple(
        empty_like(tensor).copy_(grad) for tensor, grad in zip(tensors, grads))


# Under autocast tensors come as they are, without a rule of our own; mmcv's
# kernels use operators in place, which autocast leaves alone.
for _device in ('CPU', 'CUDA'):
    _library.impl(FORWARD, _forward, _device)
    _library.impl(BACKWARD, _backward, _device)

# Shape rules


def _fake_forward(x: Tensor, *args: Any) -> Tensor:
    return torch.empty(
        _check(x, *args),
        dtype=x.dtype,
        device=x.device,
        memory_format=memory_format(x))


def _fake_backward(grad_out: Tensor, *args: Any) -> Tuple[Tensor, ...]:
    return tuple(empty_like(tensor) for tensor in args[:4])


torch.library.register_fake(
    f'dksan_mm::{FORWARD}', _fake_forward, lib=_library)
torch.library.register_fake(
    f'dksan_mm::{BACKWARD}', _fake_backward, lib=_library)

# Autograd


def _setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def _gradients(ctx: Any, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
    *tensors, bias = ctx.saved_tensors
    grads = torch.ops.dksan_mm.modulated_deform_conv2d_backward(
        grad_out, *tensors, *ctx.settings)
    grad_bias = bias_gradient(grad_out, bias, ctx.needs_input_grad[4])
    return *grads, grad_bias, None, None, None, None, None


torch.library.register_autograd(
    f'dksan_mm::{FORWARD}',
    _gradients,
    setup_context=_setup_context,
    lib=_library)
torch.library.register_autograd(
    f'dksan_mm::{BACKWARD}', no_second_order(FORWARD), lib=_library)
