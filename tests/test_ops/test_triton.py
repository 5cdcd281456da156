"""What is particular to the Triton kernels, on a GPU if there is one, else by
the interpreter."""
import os
import subprocess
import sys

import pytest
import torch
from cases import (SMALL, TOLERANCE, assert_close, backward, channels_last,
                   exact_gradients, gradients, random_inputs, run_on)

from dksan_mm.ops import _triton, deform_kernel_conv2d

pytestmark = run_on('triton')
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU')
OUT = (2, 6, 3, 7)


def tiny_tiles(monkeypatch):
    """Make each kernel work on several tiles of pixels and of channels. (The
    golden case with 81 cells needs two tiles of cells.)"""
    for name in ('FORWARD', 'BACKWARD', 'WEIGHT'):
        monkeypatch.setattr(_triton, f'_{name}_TILES', {
            True: (16, 4),
            False: (16, 2)
        })
    monkeypatch.setattr(_triton, '_MOST_PIXELS', 16)
    monkeypatch.setattr(_triton, '_MOST_PARTS', 2)


@pytest.mark.parametrize('groups', [1, 2, 6])
@pytest.mark.parametrize('layout', [torch.clone, channels_last])
def test_tiles_join(layout, groups, monkeypatch):
    """The channels of a group are no multiple of a tile's: 6, 3 and 1."""
    inputs, kwargs = random_inputs(groups=groups, **SMALL)
    inputs['x'] = layout(inputs['x'])
    grad_out = torch.randn(OUT, dtype=torch.float64)
    tiny_tiles(monkeypatch)
    assert_close(
        gradients(inputs, kwargs, grad_out),
        exact_gradients(inputs, kwargs, grad_out))


class Spy:
    """A kernel that notes the type of its indices."""

    def __init__(self, kernel, seen):
        self.kernel, self.seen = kernel, seen

    def __getitem__(self, grid):

        def launch(**kwargs):
            self.seen.append(kwargs['INDEX'])
            return self.kernel[grid](**kwargs)

        return launch


@pytest.mark.parametrize('layout', [torch.clone, channels_last])
def test_64_bit_offsets(layout, monkeypatch):
    """They give what 32 bits give, where both serve."""
    inputs, kwargs = random_inputs(**SMALL)
    inputs['x'] = layout(inputs['x'])
    grad_out = torch.randn(OUT, dtype=torch.float64)
    seen = []
    for name in ('_forward_kernel', '_backward_kernel', '_weight_kernel'):
        monkeypatch.setattr(_triton, name, Spy(getattr(_triton, name), seen))
    monkeypatch.setattr(_triton, '_check_device', lambda x: None)
    expected = gradients(inputs, kwargs, grad_out)
    monkeypatch.setattr(_triton, '_MAX_OFFSET_32', 0)
    result = gradients(inputs, kwargs, grad_out)
    tl = _triton.tl
    assert seen == [tl.int32] * 3 + [tl.int64] * 3
    assert_close(result, expected, dict(rtol=1e-14, atol=1e-14))


def test_what_needs_64_bits():
    far = torch.empty(1).expand(2, 1, 1, 1)
    last = torch.empty(0, device='meta').new_empty_strided
    assert not _triton._needs_64_bits(far)
    assert not _triton._needs_64_bits(last((2, 1, 1, 1), (2**30, 1, 1, 1)))
    assert _triton._needs_64_bits(last((2, 1, 1, 1), (2**31, 1, 1, 1)))
    assert _triton._needs_64_bits(last((2, 2, 1, 1), (2**30, 2**30, 1, 1)))


@needs_cuda
def test_beyond_32_bits():
    """An image of which the second sample lies 2**31 elements behind."""
    inputs, kwargs = random_inputs(dtype=torch.float16, **SMALL)
    near = inputs['x']
    inputs['x'] = near.new_empty(2**31 + near[0].numel()).as_strided(
        near.shape, (2**31, *near.stride()[1:]))
    inputs['x'].copy_(near)
    grad_out = torch.ones(OUT, dtype=torch.float16)
    out = deform_kernel_conv2d(**inputs, **kwargs)
    grads = backward(grad_out, inputs, kwargs)
    inputs['x'] = near
    torch.testing.assert_close(out, deform_kernel_conv2d(**inputs, **kwargs))
    for grad, expected in zip(grads, backward(grad_out, inputs, kwargs)):
        torch.testing.assert_close(grad, expected)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_deterministic(dtype, deterministic, monkeypatch):
    """The order in which the image's gradient is added up does not matter."""
    inputs, kwargs = random_inputs(dtype=dtype, **SMALL)
    grad_out = torch.randn(OUT, dtype=dtype)
    result = gradients(inputs, kwargs, grad_out)
    tolerance = TOLERANCE.get(dtype, dict(rtol=0, atol=1e-10))
    assert_close(result, exact_gradients(inputs, kwargs, grad_out), tolerance)
    tiny_tiles(monkeypatch)
    flipped = {
        key:
        value.flip(0) if key in ('x', 'kernel_offset', 'offset') else value
        for key, value in inputs.items()
    }
    _, grads = gradients(flipped, kwargs, grad_out.flip(0))
    assert torch.equal(grads['x'].flip(0), result[1]['x'])


@pytest.mark.parametrize('value', [0., float('nan'), float('inf')])
def test_deterministic_extremes(value, deterministic):
    """No gradient is none; one that is not finite cannot go unnoticed."""
    inputs, kwargs = random_inputs(dtype=torch.float32, **SMALL)
    grad_out = torch.zeros(OUT)
    grad_out[0, 0, 0, 0] = value
    grad, *_ = backward(grad_out, inputs, kwargs, (True, *[False] * 3))
    assert grad.eq(0).all() if value == 0. else grad.isnan().all()


def run_python(code, tmp_path, **environment):
    """Run code in a process that does not have the interpreter."""
    environment = {
        **os.environ, 'TRITON_CACHE_DIR': str(tmp_path),
        **environment
    }
    environment.pop('TRITON_INTERPRET', None)
    return subprocess.run([sys.executable, '-c', code],
                          env=environment,
                          text=True,
                          capture_output=True)


INPUTS = """
import os
import torch
import triton
from dksan_mm.ops import _triton
from dksan_mm.ops._validation import Geometry

torch.set_num_threads(1)
GEOMETRY = Geometry((3, 3), (1, 1), (1, 1), (1, 1))


def inputs(**kwargs):
    return [torch.zeros(size, **kwargs) for size in (
        (2, 16, 6, 7), (16, 1, 4, 4), (2, 18, 6, 7), (2, 18, 6, 7))]

"""


@pytest.mark.parametrize('late', [False, True])
def test_neither_gpu_nor_interpreter(late, tmp_path):
    """Also where the interpreter is asked for after triton was imported."""
    late = 'os.environ["TRITON_INTERPRET"] = "1"' if late else ''
    code = INPUTS.replace('import triton\n', f'import triton\n{late}\n')
    code += '_triton.forward(*inputs(), None, GEOMETRY)'
    result = run_python(code, tmp_path)
    assert result.returncode
    assert ('RuntimeError: the triton backend needs tensors on a GPU'
            in result.stderr)
    assert 'got a tensor on cpu' in result.stderr
    assert 'set TRITON_INTERPRET=1 in the env' in result.stderr


COMPILE = INPUTS + """
from triton.backends.compiler import GPUTarget


class Driver:
    \"\"\"An H100 that is not there.\"\"\"
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget('cuda', 90, 32))


def compile_only(kernel, *args, grid, warmup, **kwargs):
    compiled = run(kernel, *args, grid=grid, warmup=True, **kwargs)
    assert compiled.asm['cubin']
    ptx = compiled.asm['ptx']
    assert 'tf32' not in ptx, 'a product of matrices is not exact'
    atomics = {word.rsplit('.', 1)[-1] for word in ptx.split()
               if word.startswith(('atom.', 'red.'))}
    print(kernel.__name__, kwargs['INDEX'], *sorted(atomics))


triton.runtime.driver.set_active(Driver())
run, triton.JITFunction.run = triton.JITFunction.run, compile_only
_triton._check_device = lambda x: None


def compile(tensors):
    x, *others = tensors
    _triton.forward(*tensors, x.new_zeros(16), GEOMETRY)
    _triton.backward(x, *tensors, GEOMETRY, [True] * 4)


compile(inputs())
x, *others = inputs(dtype=torch.bfloat16)
compile([x.contiguous(memory_format=torch.channels_last), *others])
torch.use_deterministic_algorithms(True)
_triton._MAX_OFFSET_32 = 0
compile(inputs(dtype=torch.float64))
"""


def test_compiles_for_a_gpu(tmp_path):
    """What the interpreter takes need not compile."""
    result = run_python(COMPILE, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        '_forward_kernel int32', '_weight_kernel int32',
        '_backward_kernel int32 f32'
    ] * 2 + [
        '_forward_kernel int64', '_weight_kernel int64',
        '_backward_kernel int64 u64'
    ]
