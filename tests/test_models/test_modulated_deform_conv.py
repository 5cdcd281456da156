"""mmcv's modulated deformable convolution as an op: what mmcv gives, and what
it does not."""
import pytest
import torch
import torchvision
from mmcv.ops import modulated_deform_conv2d as mmcv_function

from dksan_mm.models.dkc_align import GuidedDeformConv
from dksan_mm.models.modulated_deform_conv import modulated_deform_conv2d

TENSORS = ('x', 'offset', 'mask', 'weight', 'bias')
# every size unequal; the output is (5, 4)
GEOMETRY = dict(
    stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=2, deform_groups=3)
# of a result computed in float32 from inputs rounded to the type
TOLERANCE = {
    torch.float32: dict(rtol=1e-5, atol=1e-5),
    torch.bfloat16: dict(rtol=2**-7, atol=2**-7),
    torch.float16: dict(rtol=2**-10, atol=2**-10),
}


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


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_mmcv(dtype):
    inputs = random_inputs(dtype)
    grad_out = torch.randn(2, 4, 5, 4, dtype=dtype)
    for actual, expected in zip(
            run(modulated_deform_conv2d, inputs, grad_out),
            run(mmcv_function, inputs, grad_out)):
        torch.testing.assert_close(actual, expected)


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


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def transposed(x):
    return x.mT.contiguous().mT


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
