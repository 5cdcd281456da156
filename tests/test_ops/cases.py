"""Inputs and expectations that the operator's tests share."""
import os.path as osp

import numpy as np
import torch

from dksan_mm.ops import deform_kernel_conv2d

GOLDEN = np.load(
    osp.join(osp.dirname(__file__), '..', 'data', 'deform_kernel.npz'))
CASES = sorted({key.split('/')[0] for key in GOLDEN})
# of a result computed in float32 from inputs rounded to the type
TOLERANCE = {
    torch.float32: dict(rtol=1e-5, atol=1e-5),
    torch.bfloat16: dict(rtol=2**-7, atol=2**-7),
    torch.float16: dict(rtol=2**-10, atol=2**-10),
}


def golden_case(name):
    """Return (inputs, keyword arguments, expected) of a golden case."""
    case = {
        key.split('/')[1]: torch.from_numpy(GOLDEN[key])
        for key in GOLDEN if key.startswith(f'{name}/')
    }
    names = ('kernel_size', 'stride', 'padding', 'dilation')
    kwargs = dict(zip(names, case['params'].tolist()))
    inputs = {
        key: case[key].clone()
        for key in ('x', 'weight', 'kernel_offset', 'offset') if key in case
    }
    return inputs, kwargs, case


def random_inputs(n=2,
                  c=6,
                  h=7,
                  w=5,
                  scope=(4, 5),
                  kernel_size=(3, 2),
                  groups=2,
                  stride=(2, 1),
                  padding=(1, 2),
                  dilation=(1, 2),
                  dtype=torch.float64,
                  seed=0,
                  with_offset=True):
    """Return inputs of unequal sizes, and keyword arguments."""
    g = torch.Generator().manual_seed(seed)
    out_h, out_w = ((size + 2 * p - d * (k - 1) - 1) // s + 1
                    for size, p, d, k, s in zip((
                        h, w), padding, dilation, kernel_size, stride))
    taps = kernel_size[0] * kernel_size[1]

    def randn(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    inputs = dict(
        x=randn(n, c, h, w),
        weight=randn(c, 1, *scope),
        kernel_offset=randn(n, groups * 2 * taps, out_h, out_w),
        offset=2 * randn(n, 2 * taps, out_h, out_w) if with_offset else None,
        bias=randn(c))
    return inputs, dict(
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation)


def gradients(inputs, kwargs, grad_out):
    """Return the output and the gradients of all given tensors."""
    inputs = {
        key: value.clone().requires_grad_()
        for key, value in inputs.items() if value is not None
    }
    out = deform_kernel_conv2d(**inputs, **kwargs)
    out.backward(grad_out)
    return out.detach(), {key: value.grad for key, value in inputs.items()}


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def strided(x):
    return x.repeat_interleave(2, -1)[..., ::2]


def transposed(x):
    return x.mT.contiguous().mT
