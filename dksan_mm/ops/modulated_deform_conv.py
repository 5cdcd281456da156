"""mmcv's modulated deformable convolution as an op of PyTorch's library:
``torch.ops.dksan_mm.modulated_deform_conv2d``.

========  =========================================================
device    backend
========  =========================================================
CPU       ``cpp`` if it was built, else ``mmcv``, which says so once
CUDA      ``mmcv``
========  =========================================================
"""
import functools
import importlib
import logging
from types import ModuleType
from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor

from . import _library
from ._library import bias_gradient, empty_like, memory_format, no_second_order
from ._validation import Geometry, Size, check_pair, check_shape, check_tensors

FORWARD = 'modulated_deform_conv2d'
BACKWARD = 'modulated_deform_conv2d_backward'
_SETTINGS = ('int[2] stride, int[2] padding, int[2] dilation, int groups, '
             'int deform_groups')

_definitions = _library.OpLibrary('dksan_mm', 'FRAGMENT')
_definitions.define(
    f'{FORWARD}(Tensor x, Tensor offset, Tensor mask, Tensor weight, '
    f'Tensor? bias, {_SETTINGS}) -> Tensor',
    tags=torch.Tag.pt2_compliant_tag)
_definitions.define(
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

    This is mmcv's function of the same name, with the same arguments, but for
    any memory format and any floating dtype.

    Args:
        x (Tensor): (N, C, H, W), N >= 0.
        offset (Tensor): Offsets in pixels, (N, D*2*K, H_out, W_out), where D
            is ``deform_groups`` and K = k_h * k_w: for each group of C / D
            adjacent channels, for each tap (dy, dx).
        mask (Tensor): Factors, (N, D*K, H_out, W_out).
        weight (Tensor): (C_out, C / groups, k_h, k_w).
        bias (Tensor, optional): Bias, (C_out,). Default: None.
        stride (int or tuple[int]): Stride. Default: 1.
        padding (int or tuple[int]): Zeros around the image. Default: 0.
        dilation (int or tuple[int]): Dilation. Default: 1.
        groups (int): Groups of the convolution. Default: 1.
        deform_groups (int): Groups D of offsets and masks. Default: 1.

    Returns:
        Tensor: (N, C_out, H_out, W_out), in the dtype and memory format of
        ``x``. Dtypes may be mixed, as they are under autocast: computing is
        done in the widest of them, but at least in float32. Second-order
        gradients are not implemented.

    Raises:
        TypeError: A tensor has no floating dtype.
        ValueError: A shape, a device or a number breaks the rules above; the
            message names it.
    """
    args = x, offset, mask, weight, bias, stride, padding, dilation
    _check(*args, groups, deform_groups)
    return torch.ops.dksan_mm.modulated_deform_conv2d(*args, groups,
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


# Backends


def _run_forward(backend: str, *args: Any) -> Tensor:
    return _module(backend).forward(_check(*args), *args)


def _run_backward(backend: str, grad_out: Tensor, *args:
                  Any) -> Tuple[Tensor, ...]:
    shape = _check(*args[:4], None, *args[4:])
    check_tensors(args[0], grad_out=grad_out)
    check_shape('grad_out', grad_out, '(N, C_out, H_out, W_out)', shape)
    return _module(backend).backward(grad_out, *args)


def _module(backend: str) -> ModuleType:
    try:
        return importlib.import_module(f'._{backend}', __package__)
    except ImportError as error:
        raise ImportError(
            f'{FORWARD} needs its C++ kernels (on CPUs) or mmcv with its '
            f'operators: {error}. Install mmcv, or, with a C++ compiler, '
            'dksan_mm with --no-build-isolation') from error


@functools.lru_cache(None)
def _log_mmcv() -> None:
    logging.getLogger('dksan_mm').warning(
        '%s runs on the kernel of mmcv, which has one thread and is many '
        'times slower: its own C++ kernels are not there (%s)', FORWARD,
        _library.cpp_fault)


def _without_cpp(run: Callable, *args: Any) -> Any:
    _log_mmcv()
    return run('mmcv', *args)


# There is no autocast rule: autocast then casts no tensor, and mmcv's kernels
# use in-place operators, which it leaves alone. The C++ kernels register
# themselves.
for _name, _run in ((FORWARD, _run_forward), (BACKWARD, _run_backward)):
    _definitions.impl(_name, functools.partial(_run, 'mmcv'), 'CUDA')
    if _library.cpp_fault is not None:
        _definitions.impl(_name, functools.partial(_without_cpp, _run), 'CPU')
    _library.add_backends(_name, _run, ('cpp', 'mmcv'))

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
    f'dksan_mm::{FORWARD}', _fake_forward, lib=_definitions)
torch.library.register_fake(
    f'dksan_mm::{BACKWARD}', _fake_backward, lib=_definitions)

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
    lib=_definitions)
torch.library.register_autograd(
    f'dksan_mm::{BACKWARD}', no_second_order(FORWARD), lib=_definitions)
