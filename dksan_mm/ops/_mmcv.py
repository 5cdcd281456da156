"""mmcv's kernels of the modulated deformable convolution.

They assume contiguous data (2.1.0), and are silently wrong otherwise. Those
for the CPU do not support bfloat16 and run on one thread, and their backward
pass reads outside memory if an offset is not a number. So they get contiguous
data in at least float32 (positions in float16 are too coarse), copied here if
need be.
"""
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from mmcv.utils import ext_loader
from torch import Tensor

from ._library import compute_dtype, empty_like, memory_format

_FAR = 1e6  # an offset that leads out of any image

_ext = ext_loader.load_ext(
    '_ext',
    ['modulated_deform_conv_forward', 'modulated_deform_conv_backward'])


def _kernel_arguments(weight: Tensor, settings: Sequence[Any],
                      with_bias: bool) -> Dict[str, Any]:
    """Return the keyword arguments of mmcv's two functions."""
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


def forward(shape: Tuple[int, ...], x: Tensor, offset: Tensor, mask: Tensor,
            weight: Tensor, bias: Optional[Tensor], *settings: Any) -> Tensor:
    """Return the convolution, of ``shape``; arguments must be checked already.
    """
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


def backward(grad_out: Tensor, x: Tensor, offset: Tensor, mask: Tensor,
             weight: Tensor, *settings: Any) -> Tuple[Tensor, ...]:
    """Return the gradients of four tensors; arguments must be checked already.
    """
    tensors = x, offset, mask, weight
    dtype = compute_dtype(grad_out, *tensors)
    x, offset, mask, weight = inputs = [
        _plain(tensor, dtype) for tensor in tensors
    ]
    grads = [torch.zeros_like(tensor) for tensor in inputs]
    # as in the forward pass, where mmcv treats NaN as outside
    offset = offset.nan_to_num(nan=_FAR)
    unused = x.new_empty(0)
    grad_x, grad_offset, grad_mask, grad_weight = grads
    _ext.modulated_deform_conv_backward(
        x, weight, unused, x.new_empty(0), offset, mask, x.new_empty(0),
        grad_x, grad_weight, unused, grad_offset, grad_mask,
        _plain(grad_out, dtype), **_kernel_arguments(weight, settings, False))
    return tuple(
        empty_like(tensor).copy_(grad) for tensor, grad in zip(tensors, grads))
