"""Inputs and expectations that the operator's tests share."""
import os.path as osp

import numpy as np
import pytest
import torch

from dksan_mm.ops import deform_kernel_conv2d, use_backend

GOLDEN = np.load(
    osp.join(osp.dirname(__file__), '..', 'data', 'deform_kernel.npz'))
CASES = sorted({key.split('/')[0] for key in GOLDEN})
# of a result computed in float32 from inputs rounded to the type
TOLERANCE = {
    torch.float32: dict(rtol=1e-5, atol=1e-5),
    torch.bfloat16: dict(rtol=2**-7, atol=2**-7),
    torch.float16: dict(rtol=2**-10, atol=2**-10),
}
# random inputs of few taps
SMALL = dict(h=6, kernel_size=(1, 2), padding=(0, 2))


def run_on(*names):
    """Return marks that run each test of a module on each of the backends."""
    return [
        pytest.mark.usefixtures('backend'),
        pytest.mark.parametrize('backend', names, indirect=True)
    ]


def golden_case(name):
    """Return (inputs, keyword arguments, expected) of a golden case."""
    device = torch.get_default_device()
    case = {
        key.split('/')[1]: torch.from_numpy(GOLDEN[key]).to(device)
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
        return torch.randn(
            shape, generator=g, dtype=torch.float64,
            device='cpu').to(torch.get_default_device(), dtype)

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


def gradients(inputs, kwargs, grad_out=None):
    """Return the output and the gradients of all given tensors; of the
    output's sum, or for a gradient of the output."""
    inputs = {
        key: value.clone().requires_grad_()
        for key, value in inputs.items() if value is not None
    }
    out = deform_kernel_conv2d(**inputs, **kwargs)
    out.backward(torch.ones_like(out) if grad_out is None else grad_out)
    return out.detach(), {key: value.grad for key, value in inputs.items()}


def exact_gradients(inputs, kwargs, grad_out=None):
    """Return the same of the portable backend, in float64."""
    exact = {
        key: value.double()
        for key, value in inputs.items() if value is not None
    }
    with use_backend('portable'):
        return gradients(exact, kwargs,
                         None if grad_out is None else grad_out.double())


def backward(grad_out, inputs, kwargs, output_mask=(True, ) * 4):
    """Call the gradient's op itself: autograd may change what it returns."""
    tensors = (
        inputs[key] for key in ('x', 'weight', 'kernel_offset', 'offset'))
    return torch.ops.dksan_mm.deform_kernel_conv2d_backward(
        grad_out, *tensors, *kwargs.values(), output_mask)


def assert_close(result, expected, tolerance=dict(rtol=0, atol=1e-10)):
    """Compare outputs and gradients, whatever their types."""
    (out, grads), (expected_out, expected_grads) = result, expected
    torch.testing.assert_close(out.double(), expected_out, **tolerance)
    assert grads.keys() == expected_grads.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad.double(), expected_grads[key],
                                   **tolerance)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def strided(x):
    return x.repeat_interleave(2, -1)[..., ::2]


def transposed(x):
    return x.mT.contiguous().mT
