"""The Triton backend, on a GPU if there is one, else by the interpreter."""
import os
import subprocess
import sys

import pytest
import torch
from cases import (CASES, TOLERANCE, channels_last, golden_case, gradients,
                   random_inputs, strided, transposed)

from dksan_mm.ops import _triton, deform_kernel_conv2d, use_backend

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU')
# few taps: the interpreter is slow
SMALL = dict(h=6, kernel_size=(1, 2), padding=(0, 2))
OUT = (2, 6, 3, 7)
OTHERS = ('x', 'weight', 'kernel_offset', 'offset')


@pytest.fixture(autouse=True)
def backend():
    with use_backend('triton'):
        yield


@pytest.fixture
def device():
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def to(inputs, *args):
    return {
        key: None if value is None else value.to(*args)
        for key, value in inputs.items()
    }


def exact_gradients(inputs, kwargs, grad_out):
    """Return those of the portable backend in float64."""
    with use_backend('portable'):
        return gradients(
            {
                key: value.double()
                for key, value in inputs.items() if value is not None
            }, kwargs, grad_out.double())


def assert_close(result, expected, tolerance=dict(rtol=0, atol=1e-10)):
    (out, grads), (expected_out, expected_grads) = result, expected
    torch.testing.assert_close(out.double(), expected_out, **tolerance)
    assert grads.keys() == expected_grads.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad.double(), expected_grads[key],
                                   **tolerance)


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


@pytest.mark.parametrize('name', CASES)
def test_golden(name, device):
    inputs, kwargs, case = golden_case(name)
    case = to(case, device)
    result = gradients(to(inputs, device), kwargs, case['grad_out'])
    assert_close(result, (case['out'], {
        key: case[f'grad_{key}']
        for key in inputs
    }))


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_dtypes(dtype, device):
    inputs, kwargs = random_inputs(dtype=dtype, seed=1, **SMALL)
    inputs = to(inputs, device)
    grad_out = torch.ones(OUT, dtype=dtype, device=device)
    out, grads = gradients(inputs, kwargs, grad_out)
    assert out.dtype == dtype
    assert all(grad.dtype == dtype for grad in grads.values())
    assert_close((out, grads), exact_gradients(inputs, kwargs, grad_out),
                 TOLERANCE[dtype])


@pytest.mark.parametrize('dtypes', [
    dict(x=torch.bfloat16, kernel_offset=torch.bfloat16),
    dict(weight=torch.bfloat16, offset=torch.float16),
    dict(x=torch.float16, bias=torch.float64),
])
def test_mixed_dtypes(dtypes, device):
    inputs, kwargs = random_inputs(dtype=torch.float32, seed=2, **SMALL)
    inputs = to(inputs, device)
    for key, dtype in dtypes.items():
        inputs[key] = inputs[key].to(dtype)
    grad_out = torch.ones(OUT, dtype=inputs['x'].dtype, device=device)
    out, grads = gradients(inputs, kwargs, grad_out)
    expected, expected_grads = exact_gradients(inputs, kwargs, grad_out)
    torch.testing.assert_close(out.double(), expected, **TOLERANCE[out.dtype])
    assert out.dtype == inputs['x'].dtype
    for key, grad in grads.items():
        dtype = inputs[key].dtype
        assert grad.dtype == dtype
        # as well as its own type can tell, and no worse
        torch.testing.assert_close(
            grad.double(), expected_grads[key],
            **TOLERANCE.get(dtype, TOLERANCE[torch.float32]))


@pytest.mark.parametrize('groups', [1, 2, 6])
@pytest.mark.parametrize('layout', [torch.clone, channels_last])
def test_tiles_join(layout, groups, device, monkeypatch):
    """The channels of a group are no multiple of a tile's: 6, 3 and 1."""
    inputs, kwargs = random_inputs(groups=groups, **SMALL)
    inputs = to(inputs, device)
    inputs['x'] = layout(inputs['x'])
    grad_out = torch.randn(OUT, dtype=torch.float64, device=device)
    tiny_tiles(monkeypatch)
    assert_close(
        gradients(inputs, kwargs, grad_out),
        exact_gradients(inputs, kwargs, grad_out))


@pytest.mark.parametrize('layout', [channels_last, strided, transposed])
def test_noncontiguous(layout, device):
    inputs, kwargs = random_inputs(**SMALL)
    inputs = to(inputs, device)
    grad_out = torch.randn(OUT, dtype=torch.float64, device=device)
    expected, expected_grads = exact_gradients(inputs, kwargs, grad_out)
    images = {
        key: layout(value) if value.dim() == 4 else value
        for key, value in inputs.items()
    }
    out = deform_kernel_conv2d(**images, **kwargs)
    memory_format = torch.contiguous_format
    if layout is channels_last:
        memory_format = torch.channels_last
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, expected)

    grads = backward(layout(grad_out), images, kwargs)
    for key, grad in zip(OTHERS, grads):
        torch.testing.assert_close(grad, expected_grads[key])
        assert grad.is_contiguous(memory_format=memory_format)


def backward(grad_out, inputs, kwargs, output_mask=(True, ) * 4):
    """Call the op itself: autograd may change what it returns."""
    return torch.ops.dksan_mm.deform_kernel_conv2d_backward(
        grad_out, *(inputs[key] for key in OTHERS), *kwargs.values(),
        output_mask)


def test_without_offset_and_bias(device):
    inputs, kwargs = random_inputs(with_offset=False, **SMALL)
    inputs = to(inputs, device)
    inputs['bias'] = None
    grad_out = torch.randn(OUT, dtype=torch.float64, device=device)
    assert_close(
        gradients(inputs, kwargs, grad_out),
        exact_gradients(inputs, kwargs, grad_out))
    assert backward(grad_out, inputs, kwargs)[3].shape == (0, )


@pytest.mark.parametrize(
    'mask', [tuple(i != left_out for i in range(4))
             for left_out in range(4)] + [(True, False, False, False),
                                          (False, ) * 4])
def test_output_mask(mask, device):
    inputs, kwargs = random_inputs(**SMALL)
    inputs = to(inputs, device)
    grad_out = torch.randn(OUT, dtype=torch.float64, device=device)
    _, expected = exact_gradients(inputs, kwargs, grad_out)
    grads = backward(grad_out, inputs, kwargs, mask)
    for key, grad, wanted in zip(OTHERS, grads, mask):
        if wanted:
            torch.testing.assert_close(grad, expected[key])
        else:
            assert grad.shape == (0, ) and grad.dtype == torch.float64


@pytest.mark.parametrize('key, axis', [('offset', 0), ('kernel_offset', 1)])
@pytest.mark.parametrize(
    'value',
    [float('nan'), float('inf'), -float('inf'), 1e30, -1., -7.5])
def test_positions_outside_read_zero_and_send_no_gradient(
        value, key, axis, device):
    inputs, kwargs = random_inputs(
        n=1,
        h=3,
        w=4,
        scope=(2, 2),
        groups=1,
        kernel_size=(1, 2),
        padding=(0, 0),
        stride=(1, 1))
    inputs = to(inputs, device)
    inputs['offset'].zero_()
    # tap 0, first pixel, one axis: at 0 there, whether image or scope
    inputs[key][0, axis, 0, 0] = value
    grad_out = torch.zeros(1, 6, 3, 2, dtype=torch.float64, device=device)
    grad_out[..., 0, 0] = 1
    out, grads = gradients(inputs, kwargs, grad_out)
    assert out.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads.values())
    assert grads['offset'][0, :2, 0, 0].eq(0).all()
    assert grads['kernel_offset'][0, :2, 0, 0].eq(0).all()
    assert grads['x'][0, :, 0, 0].eq(0).all()
    assert grads['x'][0, :, 0, 2].ne(0).any()  # tap 1 does
    # the same without tap 0
    inputs['kernel_offset'][0, :2, 0, 0] = 99
    inputs['offset'][0, :2, 0, 0] = 0
    with use_backend('portable'):
        expected = deform_kernel_conv2d(**inputs, **kwargs)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize('layout', [torch.clone, channels_last])
def test_nan_in_the_image_stays_local(layout, device):
    inputs, kwargs = random_inputs(padding=(0, 0), kernel_size=(1, 2))
    inputs = to(inputs, device)
    for key in ('kernel_offset', 'offset'):
        inputs[key].zero_()
    clean = deform_kernel_conv2d(**inputs, **kwargs)
    inputs['x'][0, :, 0, 0] = float('nan')
    inputs['x'] = layout(inputs['x'])
    out = deform_kernel_conv2d(**inputs, **kwargs)
    assert out[0, :, 0, 0].isnan().all()
    out[0, :, 0, 0] = clean[0, :, 0, 0]
    torch.testing.assert_close(out, clean, rtol=0, atol=0)


def test_empty(device):
    inputs, kwargs = random_inputs(n=0, **SMALL)
    inputs = to(inputs, device)
    out, grads = gradients(
        inputs, kwargs,
        torch.ones(0, *OUT[1:], dtype=torch.float64, device=device))
    assert out.shape == (0, *OUT[1:])
    assert grads['weight'].shape == inputs['weight'].shape
    assert grads['weight'].eq(0).all()
    assert grads['x'].shape == inputs['x'].shape


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
def test_64_bit_offsets(layout, device, monkeypatch):
    """They give what 32 bits give, where both serve."""
    inputs, kwargs = random_inputs(**SMALL)
    inputs = to(inputs, device)
    inputs['x'] = layout(inputs['x'])
    grad_out = torch.randn(OUT, dtype=torch.float64, device=device)
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
    inputs = to(inputs, 'cuda')
    near = inputs['x']
    inputs['x'] = near.new_empty(2**31 + near[0].numel()).as_strided(
        near.shape, (2**31, *near.stride()[1:]))
    inputs['x'].copy_(near)
    grad_out = torch.ones(OUT, dtype=torch.float16, device='cuda')
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
def test_deterministic(dtype, device, deterministic, monkeypatch):
    """The order in which the image's gradient is added up does not matter."""
    inputs, kwargs = random_inputs(dtype=dtype, **SMALL)
    inputs = to(inputs, device)
    grad_out = torch.randn(OUT, dtype=dtype, device=device)
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
def test_deterministic_extremes(value, device, deterministic):
    """No gradient is none; one that is not finite cannot go unnoticed."""
    inputs, kwargs = random_inputs(dtype=torch.float32, **SMALL)
    inputs = to(inputs, device)
    grad_out = torch.zeros(OUT, device=device)
    grad_out[0, 0, 0, 0] = value
    grad, *_ = backward(grad_out, inputs, kwargs, (True, *[False] * 3))
    assert grad.eq(0).all() if value == 0. else grad.isnan().all()


def test_opcheck(device):
    inputs, kwargs = random_inputs(**SMALL)
    inputs = to(inputs, device)
    inputs['x'] = channels_last(inputs['x'])
    args = [
        None if value is None else value.requires_grad_()
        for value in inputs.values()
    ]
    torch.library.opcheck(torch.ops.dksan_mm.deform_kernel_conv2d.default,
                          (*args, *kwargs.values()))


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
