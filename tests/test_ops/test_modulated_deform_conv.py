"""The modulated deformable convolution: what mmcv gives, and what it does
not."""
import copy
import subprocess
import sys

import pytest
import torch
import torchvision
from cases import TOLERANCE, channels_last, run_on, transposed
from mmagic.models.editors.basicvsr_plusplus_net.basicvsr_plusplus_net import \
    SecondOrderDeformableAlignment
from mmagic.models.editors.edvr.edvr_net import ModulatedDCNPack
from mmcv.ops import ModulatedDeformConv2d
from mmcv.ops import modulated_deform_conv2d as mmcv_function

from dksan_mm.models.dkc_align import GuidedDeformConv
from dksan_mm.ops import accelerate, modulated_deform_conv2d, use_backend

pytestmark = run_on('cpp', 'mmcv')
TENSORS = ('x', 'offset', 'mask', 'weight', 'bias')
# every size unequal; the output is (5, 4)
GEOMETRY = dict(
    stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=2, deform_groups=3)


def random_inputs(dtype=torch.float32, n=2, seed=0):
    """Return tensors by name; some positions lie outside the image."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((n, 6, 7, 6), (n, 36, 5, 4), (n, 18, 5, 4), (4, 3, 3, 2), (4, ))
    tensors = {
        name: torch.randn(shape, generator=g, dtype=torch.float64)
        for name, shape in zip(TENSORS, shapes)
    }
    tensors['offset'] *= 2
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def run(function, inputs, grad_out=None):
    """Return the output and the gradients of all tensors."""
    leaves = [inputs[name].detach().requires_grad_() for name in TENSORS]
    out = function(*leaves, *GEOMETRY.values())
    out.backward(torch.ones_like(out) if grad_out is None else grad_out)
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def expected_of(inputs):
    """Return mmcv's own result in float64."""
    return run(mmcv_function, {
        name: value.double()
        for name, value in inputs.items()
    })


def calls_of(event, function):
    with torch.profiler.profile() as profile:
        function()
    return sum(entry.name == event for entry in profile.events())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_mmcv(dtype):
    inputs = random_inputs(dtype)
    grad_out = torch.randn(2, 4, 5, 4, dtype=dtype)
    for actual, expected in zip(
            run(modulated_deform_conv2d, inputs, grad_out),
            run(mmcv_function, inputs, grad_out)):
        torch.testing.assert_close(actual, expected)


# channels, output channels, groups, deformable groups, kernel, height, width:
# groups inside each other and across, pieces of all widths, several strips
WIDTHS = [(1, 1, 1, 1, 1, 1, 1), (32, 32, 1, 8, 3, 9, 13),
          (64, 24, 1, 8, 3, 4, 30), (67, 33, 1, 1, 3, 7, 8),
          (12, 9, 3, 2, 5, 6, 7), (16, 16, 16, 4, 3, 5, 12),
          (128, 128, 1, 1, 3, 3, 50), (30, 20, 5, 6, 2, 8, 9),
          (256, 8, 1, 2, 1, 5, 5)]


def width_inputs(widths, seed=0):
    """Return tensors, settings and a gradient, in float64."""
    c, out, groups, deform_groups, k, h, w = widths
    g = torch.Generator().manual_seed(seed)

    def randn(*size):
        return torch.randn(size, generator=g, dtype=torch.float64)

    size = h + 3 - k, w + 3 - k  # padding 1
    maps = deform_groups * k * k
    inputs = dict(
        zip(TENSORS, (randn(
            3, c, h, w), 3 * randn(3, 2 * maps, *size), randn(
                3, maps, *size), randn(out, c // groups, k, k), randn(out))))
    return inputs, (1, 1, 1, groups, deform_groups), randn(3, out, *size)


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('widths', WIDTHS)
def test_widths(widths, last):
    """Values and gradients to 1e-10 in float64."""
    inputs, settings, grad_out = width_inputs(widths)
    results = []
    for function in (modulated_deform_conv2d, mmcv_function):
        leaves = [inputs[name].clone() for name in TENSORS]
        if last and function is modulated_deform_conv2d:
            leaves = [channels_last(x) if x.dim() == 4 else x for x in leaves]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        out = function(*leaves, *settings)
        out.backward(grad_out)
        results.append([out, *(leaf.grad for leaf in leaves)])
    for actual, expected in zip(*results):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_threads(threads):
    """Channels and samples are cut by the number of threads."""
    inputs, settings, grad_out = width_inputs(WIDTHS[1])
    leaves = [value.requires_grad_() for value in inputs.values()]
    expected = torch.autograd.grad(
        mmcv_function(*leaves, *settings), leaves, grad_out)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        actual = [
            torch.autograd.grad(
                modulated_deform_conv2d(*leaves, *settings), leaves, grad_out)
            for _ in range(2)
        ]
    finally:
        torch.set_num_threads(before)
    for a, again, e in zip(*actual, expected):
        assert torch.equal(a, again)
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('capability', ['default', 'avx2', 'avx512'])
def test_instruction_sets(capability, backend, tmp_path, monkeypatch):
    """Each has its own widths of vectors; all agree with this process."""
    if backend != 'cpp':
        pytest.skip('of the C++ kernels')
    tests = [width_inputs(widths) for widths in WIDTHS]
    torch.save(tests, tmp_path / 'tests.pt')
    monkeypatch.setenv('DKSAN_MM_CPU_CAPABILITY', capability)
    code = f"""
import torch
from dksan_mm.ops import modulated_deform_conv2d as function
results = []
for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
    for inputs, settings, grad_out in torch.load({str(tmp_path)!r} +
                                                 '/tests.pt'):
        leaves = [x.to(dtype).requires_grad_() for x in inputs.values()]
        out = function(*leaves, *settings)
        results.append([out, *torch.autograd.grad(out, leaves,
                                                  grad_out.to(dtype))])
torch.save(results, {str(tmp_path)!r} + '/results.pt')
"""
    done = subprocess.run([sys.executable, '-c', code],
                          capture_output=True,
                          text=True)
    if 'which this machine has' in done.stderr:
        pytest.skip(f'this machine has no {capability}')
    assert done.returncode == 0, done.stderr
    results = iter(torch.load(tmp_path / 'results.pt'))
    for dtype in (torch.float64, *TOLERANCE):
        for inputs, settings, grad_out in tests:
            leaves = [
                x.to(dtype).double().requires_grad_() for x in inputs.values()
            ]
            out = mmcv_function(*leaves, *settings)
            expected = torch.autograd.grad(out, leaves,
                                           grad_out.to(dtype).double())
            for actual, wanted in zip(next(results), (out, *expected)):
                assert actual.dtype == dtype
                error = (actual.double() - wanted).abs().max()
                limit = 1e-10 if dtype == torch.float64 else TOLERANCE[dtype][
                    'rtol']
                assert error <= limit * max(1, wanted.abs().max())


def test_needs_pytorch_alone(backend):
    """mmcv is imported when its backend is asked for."""
    if backend != 'cpp':
        pytest.skip('of the C++ kernels')
    code = """
import sys
sys.modules['mmcv'] = None
import torch
from dksan_mm.ops import modulated_deform_conv2d, use_backend
args = [torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1),
        torch.full((1, 1, 1, 1), 3.), torch.full((1, 1, 1, 1), 2.)]
assert modulated_deform_conv2d(*args).item() == 6
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_use_backend(backend):
    out = modulated_deform_conv2d(*random_inputs().values(),
                                  *GEOMETRY.values())
    module = sys.modules.get('dksan_mm.ops._mmcv')
    assert backend == 'cpp' or module is not None
    assert out.shape == (2, 4, 5, 4)
    with pytest.raises(ValueError, match="'cpp', .*got 'fast'"):
        use_backend('fast')


@pytest.mark.parametrize('make', [
    lambda: ModulatedDeformConv2d(8, 4, 3, padding=1, deform_groups=2),
    lambda: ModulatedDCNPack(8, 4, 3, padding=1, deform_groups=2),
    lambda: SecondOrderDeformableAlignment(
        8, 4, 3, padding=1, deform_groups=2),
])
def test_accelerate(make):
    """mmcv's and MMagic's own modules: same values, our op."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(make())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    kind, keys = type(model[0]), list(model.state_dict())
    x = torch.randn(2, 8, 5, 6)
    args = {
        'ModulatedDeformConv2d': (torch.randn(2, 36, 5,
                                              6), torch.rand(2, 18, 5, 6)),
        'ModulatedDCNPack': (torch.randn(2, 8, 5, 6), ),
        'SecondOrderDeformableAlignment':
        (torch.randn(2, 12, 5, 6), torch.randn(2, 2, 5,
                                               6), torch.randn(2, 2, 5, 6)),
    }[kind.__name__]
    expected = model[0](x, *args)
    event = 'dksan_mm::modulated_deform_conv2d'
    assert calls_of(event, lambda: model[0](x, *args)) == 0
    assert accelerate(model) == ['0']
    for module in (model[0], copy.deepcopy(model)[0]):
        torch.testing.assert_close(module(x, *args), expected)
        torch.testing.assert_close(module(channels_last(x), *args), expected)
    assert calls_of(event, lambda: model[0](x, *args)) > 0
    assert type(model[0]) is kind and list(model.state_dict()) == keys
    assert accelerate(model) == ['0']  # again: no harm
    # others of the class are left alone
    assert calls_of(event, lambda: kind.forward(model[0], x, *args)) == 0


def test_accelerate_tells_what_it_cannot(caplog):

    class Other(ModulatedDeformConv2d):

        def forward(self, *args):
            return super().forward(*args)

    assert accelerate(Other(4, 4, 1)) == []
    assert 'stay on the function of mmcv' in caplog.text


def test_equals_torchvision():
    """An implementation of other hands; without bias and groups."""
    x, offset, mask, weight, _ = random_inputs().values()
    weight = weight.repeat(1, 2, 1, 1)
    torch.testing.assert_close(
        modulated_deform_conv2d(
            x,
            offset,
            mask,
            weight,
            stride=(2, 1),
            padding=(2, 0),
            dilation=(1, 2),
            deform_groups=3),
        torchvision.ops.deform_conv2d(
            x, offset, weight, None, (2, 1), (2, 0), (1, 2), mask=mask))


@pytest.mark.parametrize('layout', [channels_last, transposed])
def test_noncontiguous(layout):
    """mmcv's own function is silently wrong here."""
    inputs = random_inputs()
    expected = run(modulated_deform_conv2d, inputs)
    inputs = {
        name: layout(value) if value.dim() == 4 else value
        for name, value in inputs.items()
    }
    actual = run(modulated_deform_conv2d, inputs,
                 layout(torch.ones(2, 4, 5, 4)))
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e)
    for tensor in actual[:4]:
        assert tensor.is_contiguous(memory_format=torch.channels_last) == (
            layout is channels_last)


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_dtypes(dtype):
    inputs = random_inputs(dtype)
    for actual, expected in zip(
            run(modulated_deform_conv2d, inputs), expected_of(inputs)):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.double(), expected,
                                   **TOLERANCE[dtype])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """Types as they come: the result has x's, as precise as inputs allow."""
    inputs = random_inputs()
    inputs['x'] = inputs['x'].to(dtype)
    with torch.autocast('cpu', dtype):
        actual = run(modulated_deform_conv2d, inputs)
    for tensor, value, expected in zip(actual[1:], inputs.values(),
                                       expected_of(inputs)[1:]):
        assert tensor.dtype == value.dtype
        torch.testing.assert_close(tensor.double(), expected,
                                   **TOLERANCE[value.dtype])
    assert actual[0].dtype == dtype


def test_inputs_and_gradient_are_left_alone():
    """The output can be changed in place, inputs are not."""
    inputs = random_inputs()
    copies = {name: value.clone() for name, value in inputs.items()}
    leaves = [value.requires_grad_() for value in inputs.values()]
    out = modulated_deform_conv2d(*leaves, *GEOMETRY.values())
    torch.nn.functional.leaky_relu_(out, 0.1).sum().backward()
    for name, value in copies.items():
        assert torch.equal(inputs[name], value)


def test_no_batch():
    out, *grads = run(modulated_deform_conv2d, random_inputs(n=0))
    assert out.shape == (0, 4, 5, 4)
    assert grads[0].shape == (0, 6, 7, 6)
    assert grads[3].eq(0).all()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e30])
def test_offsets_that_are_no_position(value):
    """They read zero; mmcv's backward pass alone would read anywhere."""
    inputs = random_inputs()
    inputs['offset'][0, 0, 0, 0] = value
    out, *grads = run(modulated_deform_conv2d, inputs)
    assert out.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)
    inputs['mask'][0, 0, 0, 0] = 0
    inputs['offset'][0, 0, 0, 0] = 0
    expected = run(modulated_deform_conv2d, inputs)
    torch.testing.assert_close(out, expected[0])
    torch.testing.assert_close(grads[0], expected[1])


def test_forward_mode_is_refused():
    """Tangents must not be lost silently: zeros would be the result."""
    x, *others = random_inputs().values()

    def function(x):
        return modulated_deform_conv2d(x, *others, *GEOMETRY.values())

    with pytest.raises(NotImplementedError, match='no derivative in forward'):
        torch.func.jvp(function, (x, ), (x, ))


def test_bias_gradient_is_summed_in_the_widest_type():
    inputs = random_inputs(torch.float64)
    inputs['bias'] = inputs['bias'].float().requires_grad_()
    out = modulated_deform_conv2d(**inputs, **GEOMETRY)
    grad_out = torch.ones_like(out)
    grad_out[0, :, 0, 0] = 2.**30
    grad_out[-1, :, -1, -1] = -2.**30
    grad, = torch.autograd.grad(out, inputs['bias'], grad_out)
    assert grad.dtype == torch.float32 and grad.eq(2 * 20 - 2).all()


def test_no_second_order():
    inputs = [value.requires_grad_() for value in random_inputs().values()]
    out = modulated_deform_conv2d(*inputs, *GEOMETRY.values())
    grad, = torch.autograd.grad(out.sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match='no gradient of second'):
        grad.sum().backward()


@pytest.mark.parametrize('layout', [torch.clone, channels_last])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_opcheck(layout, dtype):
    inputs = random_inputs(dtype)
    inputs['x'] = layout(inputs['x'])
    settings = [
        list(v) if isinstance(v, tuple) else v for v in GEOMETRY.values()
    ]
    tensors = list(inputs.values())
    # bfloat16 rounds the two passes that are compared alike, but for order
    torch.library.opcheck(torch.ops.dksan_mm.modulated_deform_conv2d,
                          (*(tensor.requires_grad_()
                             for tensor in tensors), *settings),
                          **TOLERANCE[dtype])
    torch.library.opcheck(torch.ops.dksan_mm.modulated_deform_conv2d_backward,
                          (torch.ones(2, 4, 5, 4, dtype=dtype),
                           *(tensor.detach()
                             for tensor in tensors[:4]), *settings))


@pytest.mark.parametrize('dynamic', [False, True])
def test_compile(dynamic):
    torch._dynamo.reset()
    torch.manual_seed(0)
    conv = GuidedDeformConv(4, 4, 3, padding=1, deform_groups=2)
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.5)
    compiled = torch.compile(
        conv, fullgraph=True, dynamic=dynamic, backend='aot_eager')
    for size in ((5, 6), (7, 4)):
        results = []
        for module in (conv, compiled):
            x, guide = torch.rand(2, 2, 4, *size)
            x, guide = (
                torch.arange(
                    value.numel()).view_as(value).sin().requires_grad_()
                for value in (x, guide))
            out = module(x, channels_last(guide))
            grads = torch.autograd.grad(out.square().sum(),
                                        [x, guide, *conv.parameters()])
            results.append([out, *grads])
        torch.testing.assert_close(*results)


def test_guided_deform_conv():
    """As EDVR's, which knows contiguous data alone."""
    torch.manual_seed(0)
    conv = GuidedDeformConv(4, 6, 3, padding=1, deform_groups=2)
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.5)
    x, guide = torch.randn(2, 2, 4, 5, 6)
    expected = super(GuidedDeformConv, conv).forward(x, guide)
    torch.testing.assert_close(conv(x, guide), expected)
    torch.testing.assert_close(
        conv(channels_last(x), channels_last(guide)), expected)


@pytest.mark.parametrize('change, message', [
    (dict(x=torch.zeros(6, 7, 6)), r'x must have .* got \(6, 7, 6\)'),
    (dict(x=torch.zeros(2, 6, 0, 6)), r'x must have .* at least 1, got'),
    (dict(x=torch.zeros(2, 6, 7, 1), padding=(2, 0)),
     r'x must be at least as large as the dilated kernel, got .*\(7, 1\)'),
    (dict(weight=torch.zeros(4, 6, 3, 2)), r'weight .* got \(4, 6, 3, 2\)'),
    (dict(weight=torch.zeros(3, 3, 3, 2)), r'divisor of C_out.* got \(3,'),
    (dict(offset=torch.zeros(2, 12, 5, 4)),
     r'offset must .*= \(2, 36, 5, 4\), got \(2, 12, 5, 4\)'),
    (dict(offset=torch.zeros(1, 36, 5, 4)), r'offset .* got \(1, 36'),
    (dict(mask=torch.zeros(2, 18, 4, 4)), r'mask .* got \(2, 18, 4, 4\)'),
    (dict(bias=torch.zeros(6)), r'bias must .*= \(4,\), got \(6,\)'),
    (dict(groups=4), 'groups must be a divisor of C = 6, got 4'),
    (dict(groups=0), 'groups must be a divisor of C = 6, got 0'),
    (dict(deform_groups=4), 'deform_groups must be a .* got 4'),
    (dict(stride=(0, 1)), 'stride must be an integer of at least 1'),
    (dict(padding=-1), 'padding must be .* at least 0'),
    (dict(mask=torch.zeros(2, 18, 5, 4, device='meta')),
     'mask must be on the device of x, cpu, got meta'),
])
def test_exception(change, message):
    with pytest.raises(ValueError, match=message):
        modulated_deform_conv2d(**{**random_inputs(), **GEOMETRY, **change})


def test_wrong_gradient_is_refused():
    """Before a kernel reads past its end."""
    *tensors, _ = random_inputs().values()
    with pytest.raises(ValueError, match=r'grad_out must .* got .2, 4, 5, 3.'):
        torch.ops.dksan_mm.modulated_deform_conv2d_backward(
            torch.ones(2, 4, 5, 3), *tensors, *GEOMETRY.values())


def test_type_exception():
    inputs = random_inputs()
    inputs['offset'] = inputs['offset'].long()
    with pytest.raises(TypeError, match='offset must have a floating dtype'):
        modulated_deform_conv2d(**inputs, **GEOMETRY)
