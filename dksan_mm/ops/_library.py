"""How the operator reaches its backend and autograd.

The one place that names a backend: a faster one is chosen here, by device,
and the public function, the modules and their tests stay as they are.
"""
from typing import Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import _reference


class DeformKernelConv2dFunction(torch.autograd.Function):
    """The operator with its gradient. Inputs are saved, intermediate values
    are computed again in the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, kernel_offset: Tensor,
                offset: Optional[Tensor], bias: Optional[Tensor],
                geometry: _reference.Geometry) -> Tensor:
        ctx.save_for_backward(x, weight, kernel_offset, offset, bias)
        ctx.geometry = geometry
        return _reference.forward(x, weight, kernel_offset, offset, bias,
                                  geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight, kernel_offset, offset, bias = ctx.saved_tensors
        *grads, grad_bias = _reference.backward(grad_out, x, weight,
                                                kernel_offset, offset,
                                                ctx.geometry)
        grad_bias = None if bias is None else grad_bias.to(bias.dtype)
        return *grads, grad_bias, None
