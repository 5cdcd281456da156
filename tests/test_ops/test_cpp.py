"""What is particular to the C++ kernels."""
import os
import os.path as osp
import subprocess
import sys

import pytest
import torch
from cases import (TOLERANCE, assert_close, exact_gradients, gradients,
                   random_inputs, run_on)

from dksan_mm.ops import deform_kernel_conv2d, use_backend

pytestmark = run_on('cpp')
# vectors are 16 to 64 bytes, taken in pairs and pairs of pairs
CHANNELS = [1, 2, 3, 8, 15, 16, 24, 31, 32, 48, 65, 100, 128, 160]


@pytest.mark.parametrize('dtype', [torch.float64, *TOLERANCE])
@pytest.mark.parametrize('channels', CHANNELS)
def test_channels(channels, dtype):
    """Any number of channels, however it divides into vectors."""
    for groups in {1, channels}:
        inputs, kwargs = random_inputs(
            c=channels, h=5, w=4, groups=groups, dtype=dtype)
        out_size = inputs['kernel_offset'].shape[-2:]
        grad_out = torch.randn(2, channels, *out_size).to(dtype)
        tolerance = TOLERANCE.get(dtype, dict(rtol=1e-12, atol=1e-12))
        # sums over up to 200 pixels
        tolerance = {key: 10 * value for key, value in tolerance.items()}
        assert_close(
            gradients(inputs, kwargs, grad_out),
            exact_gradients(inputs, kwargs, grad_out), tolerance)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_every_value_is_read_and_written(dtype):
    """All 2**16 patterns go through unchanged."""
    x = torch.arange(-2**15, 2**15).to(torch.int16).view(dtype)
    x = x.view(1, -1, 1, 1)
    out = deform_kernel_conv2d(
        x, torch.ones(2**16, 1, 1, 1), torch.zeros(1, 2, 1, 1), kernel_size=1)
    torch.testing.assert_close(out, x, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_rounds_as_pytorch(dtype):
    """To nearest, ties to even, subnormals, overflow and NaN."""
    g = torch.Generator().manual_seed(0)
    bits = torch.randint(-2**31, 2**31, (2**16, ), generator=g)
    ties = torch.arange(-2**15, 2**15).to(torch.int16).view(dtype).float()
    ties = ties.view(
        torch.int32) + (2**15 if dtype == torch.bfloat16 else 2**12)
    weight = torch.cat((bits.to(torch.int32).view(torch.float32),
                        ties.view(torch.float32), torch.rand(2**16) * 1e-5,
                        torch.tensor([65519.99, 65520., 1e30,
                                      float('nan')])))
    out = deform_kernel_conv2d(
        torch.ones(1, len(weight), 1, 1, dtype=dtype),
        weight.view(-1, 1, 1, 1),
        torch.zeros(1, 2, 1, 1),
        kernel_size=1)
    torch.testing.assert_close(
        out.flatten(), weight.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_same_bits_on_every_run(threads):
    inputs, kwargs = random_inputs(n=1, c=96, h=13, w=17, dtype=torch.float32)
    grad_out = torch.randn(1, 96, *inputs['offset'].shape[-2:])
    before = torch.get_num_threads()
    try:
        expected = gradients(inputs, kwargs, grad_out)
        torch.set_num_threads(threads)
        first = gradients(inputs, kwargs, grad_out)
        for _ in range(5):
            torch.testing.assert_close(
                gradients(inputs, kwargs, grad_out), first, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)


def test_more_than_2_to_the_31_elements():
    """Untouched zeros take no memory; the last pixel is far beyond what 32
    bits count."""
    channels, height, width = 64, 6000, 5600
    x = torch.zeros(1, height, width, channels, dtype=torch.bfloat16)
    x = x.permute(0, 3, 1, 2)
    assert x.numel() > 2**31
    x[0, :, -1, -1] = torch.arange(64)
    stride = (height - 1, width - 1)
    out = deform_kernel_conv2d(
        x,
        torch.ones(channels, 1, 1, 1),
        torch.zeros(1, 2, 2, 2),
        kernel_size=1,
        stride=stride)
    assert out[0, :, 1, 1].tolist() == list(range(64))
    assert out[0, :, 0].eq(0).all() and out[0, :, 1, 0].eq(0).all()


def test_too_many_pixels():
    x = torch.empty(1).expand(1, 1, 2**16, 2**15)
    with pytest.raises(ValueError, match=r'fewer than 2\*\*31 - 1 pixels'):
        deform_kernel_conv2d(
            x,
            torch.ones(1, 1, 1, 1),
            torch.zeros(1, 2, 1, 1),
            kernel_size=1,
            stride=2**17)


@pytest.mark.parametrize('change, message', [
    (dict(x=torch.zeros(6, 7, 5)), 'x must have shape'),
    (dict(x=torch.zeros(2, 6, 1, 1), padding=(0, 0)), 'at least as large'),
    (dict(weight=torch.zeros(5, 1, 4, 4)), 'weight must have shape'),
    (dict(weight=torch.zeros(6, 4, 4)), 'weight must have shape'),
    (dict(kernel_offset=torch.zeros(2, 17, 4, 7)), 'kernel_offset must'),
    (dict(kernel_offset=torch.zeros(2, 24, 4, 6)), 'kernel_offset must'),
    (dict(offset=torch.zeros(2, 24, 4, 7)), 'offset must have shape'),
    (dict(bias=torch.zeros(5)), 'bias must have shape'),
    (dict(stride=(0, 1)), 'stride must be two integers of at least 1'),
    (dict(kernel_size=(0, 3)), 'kernel_size must be two integers'),
    (dict(offset=torch.zeros(2, 12, 4, 7, device='meta')), 'device'),
])
def test_op_checks_by_itself(change, message):
    """Called past the public function, it still reads within its tensors."""
    inputs, kwargs = random_inputs(dtype=torch.float32)
    arguments = {**inputs, **kwargs, **change}
    with pytest.raises((ValueError, RuntimeError, NotImplementedError),
                       match=message):
        torch.ops.dksan_mm.deform_kernel_conv2d(*arguments.values())
    bias = arguments.pop('bias')
    if bias is inputs['bias']:
        with pytest.raises((ValueError, RuntimeError, NotImplementedError),
                           match=message):
            torch.ops.dksan_mm.deform_kernel_conv2d_backward(
                torch.zeros(2, 6, 4, 7), *arguments.values(), [True] * 4)


@pytest.mark.parametrize('capability', ['default', 'avx2', 'avx512'])
def test_instruction_sets(capability):
    """The other instruction sets give what this one gives."""
    here = osp.dirname(osp.abspath(__file__))
    environment = dict(os.environ, DKSAN_MM_CPU_CAPABILITY=capability)
    code = 'from dksan_mm.ops import _C; print(_C.cpu_capability())'
    found = subprocess.run([sys.executable, '-c', code],
                           env=environment,
                           capture_output=True,
                           text=True)
    if found.returncode:
        assert 'DKSAN_MM_CPU_CAPABILITY must be one of default' in found.stderr
        pytest.skip(f'this machine has no {capability}')
    assert found.stdout.strip() == capability
    tests = subprocess.run([
        sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', here,
        '-k', 'cpp and not portable and not instruction_sets and (golden or '
        'dtypes or channels or every_value or rounds or noncontiguous)'
    ],
                           env=environment,
                           capture_output=True,
                           text=True)
    assert tests.returncode == 0, tests.stdout
    assert ' passed' in tests.stdout


def test_nothing_else_serves_for_it():
    inputs, kwargs = random_inputs()
    inputs = {key: value.to('meta') for key, value in inputs.items()}
    with pytest.raises(
            ValueError, match='cpp backend needs tensors on the CPU, got .*m'):
        deform_kernel_conv2d(**inputs, **kwargs)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"one of \['portable', .* 'fast'"):
        use_backend('fast')
