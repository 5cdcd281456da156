"""The operator's contract: values, gradients, types, layouts and errors, on
each backend. What is particular to one has a file of its own."""
import itertools
import math

import pytest
import torch
from cases import (CASES, TOLERANCE, assert_close, backward, channels_last,
                   exact_gradients, golden_case, gradients, random_inputs,
                   run_on, strided, transposed)
from torch.autograd import forward_ad

from dksan_mm.ops import deform_kernel_conv2d

pytestmark = run_on('portable', 'cpp', 'triton')


def bilinear(plane, y, x):
    """Read one value the slow way: zero outside, one pixel of reach."""
    height, width = plane.shape
    if not (-1 < y < height and -1 < x < width):
        return 0.
    total = 0.
    for i, j in itertools.product((math.floor(y), math.floor(y) + 1),
                                  (math.floor(x), math.floor(x) + 1)):
        if 0 <= i < height and 0 <= j < width:
            total += (1 - abs(y - i)) * (1 - abs(x - j)) * plane[i, j].item()
    return total


def nested_loops(x, weight, kernel_offset, offset, bias, kernel_size, stride,
                 padding, dilation):
    """The contract's formula, value by value."""
    n, c, _, _ = x.shape
    out = x.new_zeros(n, c, *kernel_offset.shape[-2:])
    k_h, k_w = kernel_size
    taps = k_h * k_w
    groups = kernel_offset.shape[1] // (2 * taps)
    kernel_offset = kernel_offset.unflatten(1, (groups, taps, 2))
    for s, ch, py, px in itertools.product(*map(range, out.shape)):
        for i, j in itertools.product(range(k_h), range(k_w)):
            tap = i * k_w + j
            dk = kernel_offset[s, ch % groups, tap, :, py, px].tolist()
            dp = [0., 0.] if offset is None else offset[s, 2 * tap:2 * tap + 2,
                                                        py, px].tolist()
            out[s, ch, py,
                px] += bilinear(weight[ch, 0], i + dk[0] +
                                (weight.shape[-2] - k_h) / 2, j + dk[1] +
                                (weight.shape[-1] - k_w) / 2) * bilinear(
                                    x[s, ch], py * stride[0] - padding[0] +
                                    i * dilation[0] + dp[0], px * stride[1] -
                                    padding[1] + j * dilation[1] + dp[1])
    return out + bias[:, None, None]


@pytest.mark.parametrize('name', CASES)
def test_golden(name):
    assert len(CASES) == 12
    inputs, kwargs, case = golden_case(name)
    assert_close(
        gradients(inputs, kwargs, case['grad_out']), (case['out'], {
            key: case[f'grad_{key}']
            for key in inputs
        }))


@pytest.mark.parametrize('with_offset', [True, False])
def test_matches_oracle(with_offset, make_inputs):
    inputs, kwargs = make_inputs(with_offset=with_offset)
    torch.testing.assert_close(
        deform_kernel_conv2d(**inputs, **kwargs),
        nested_loops(**inputs, **kwargs))


def test_without_offset_and_bias(make_inputs):
    inputs, kwargs = make_inputs(with_offset=False)
    zeros = torch.zeros_like(make_inputs()[0]['offset'])
    expected, expected_grads = gradients(
        dict(inputs, offset=zeros, bias=torch.zeros(6, dtype=torch.float64)),
        kwargs)
    inputs['bias'] = None
    out, grads = gradients(inputs, kwargs)
    torch.testing.assert_close(out, expected)
    for key in ('x', 'weight', 'kernel_offset'):
        torch.testing.assert_close(grads[key], expected_grads[key])
    assert backward(torch.ones_like(out), inputs, kwargs)[3].shape == (0, )


def test_zero_offsets_equal_conv2d():
    inputs, kwargs = random_inputs(scope=(5, 4), kernel_size=(3, 2))
    # scope 5 for 3 taps and 4 for 2: taps fall on cells 1..3 and 1..2
    for key in ('kernel_offset', 'offset'):
        inputs[key] = torch.zeros_like(inputs[key])
    expected = torch.conv2d(
        inputs['x'],
        inputs['weight'][:, :, 1:4, 1:3],
        inputs['bias'],
        kwargs['stride'],
        kwargs['padding'],
        kwargs['dilation'],
        groups=6)
    torch.testing.assert_close(
        deform_kernel_conv2d(**inputs, **kwargs), expected)


@pytest.mark.parametrize('with_offset', [True, False])
def test_gradcheck(with_offset, backend):
    inputs, kwargs = random_inputs(
        n=1,
        c=2,
        h=3,
        w=2,
        kernel_size=(2, 1),
        scope=(3, 2),
        padding=(1, 0),
        dilation=(1, 1),
        with_offset=with_offset,
        seed=3)
    tensors = [
        None if value is None else value.requires_grad_()
        for value in inputs.values()
    ]
    assert torch.autograd.gradcheck(
        lambda *args: deform_kernel_conv2d(*args, **kwargs),
        tensors,
        fast_mode=backend == 'triton')


def test_gradients_where_asked(make_inputs):
    inputs, kwargs = make_inputs()
    inputs['weight'].requires_grad_()
    deform_kernel_conv2d(**inputs, **kwargs).sum().backward()
    assert inputs['weight'].grad is not None and inputs['x'].grad is None


def test_slope_at_whole_positions_is_towards_larger_ones():
    x = torch.tensor([1., 2., 4., 8.]).view(1, 1, 1, 4)
    weight = torch.tensor([1., 10., 100.]).view(1, 1, 1, 3)
    offset = torch.zeros(1, 2, 1, 4, requires_grad=True)
    kernel_offset = torch.zeros(1, 2, 1, 4, requires_grad=True)
    deform_kernel_conv2d(
        x, weight, kernel_offset, offset, kernel_size=1).sum().backward()
    assert offset.grad[0, 1, 0].tolist() == [10., 20., 40., -80.]
    assert kernel_offset.grad[0, 1, 0].tolist() == [90., 180., 360., 720.]


@pytest.mark.parametrize('key, axis', [('offset', 0), ('kernel_offset', 1)])
@pytest.mark.parametrize(
    'value',
    [float('nan'), float('inf'), -float('inf'), 1e30, -1., -7.5])
def test_positions_outside_read_zero_and_send_no_gradient(value, key, axis):
    inputs, kwargs = random_inputs(
        n=1,
        h=3,
        w=4,
        scope=(2, 2),
        groups=1,
        kernel_size=(1, 2),
        padding=(0, 0),
        stride=(1, 1))
    inputs['offset'].zero_()
    # tap 0, first pixel, one axis: at 0 there, whether image or scope
    inputs[key][0, axis, 0, 0] = value
    grad_out = torch.zeros(1, 6, 3, 2, dtype=torch.float64)
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
    torch.testing.assert_close(out, exact_gradients(inputs, kwargs)[0])


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_dtypes(dtype, make_inputs):
    inputs, kwargs = make_inputs(dtype=dtype, seed=1)
    out, grads = gradients(inputs, kwargs)
    assert out.dtype == dtype
    assert all(grad.dtype == dtype for grad in grads.values())
    assert_close((out, grads), exact_gradients(inputs, kwargs),
                 TOLERANCE[dtype])


@pytest.mark.parametrize('dtypes', [
    dict(x=torch.bfloat16, kernel_offset=torch.bfloat16),
    dict(weight=torch.bfloat16, offset=torch.float16),
    dict(x=torch.float16, bias=torch.float64),
    dict(weight=torch.float64),
])
def test_mixed_dtypes(dtypes, make_inputs):
    """Computed in the widest type given, at least float32."""
    inputs, kwargs = make_inputs(dtype=torch.float32, seed=2)
    for key, dtype in dtypes.items():
        inputs[key] = inputs[key].to(dtype)
    out, grads = gradients(inputs, kwargs)
    expected, expected_grads = exact_gradients(inputs, kwargs)
    torch.testing.assert_close(out.double(), expected, **TOLERANCE[out.dtype])
    assert out.dtype == inputs['x'].dtype
    for key, grad in grads.items():
        dtype = inputs[key].dtype
        assert grad.dtype == dtype
        # as well as its own type can tell, and no worse
        torch.testing.assert_close(
            grad.double(), expected_grads[key],
            **TOLERANCE.get(dtype, dict(rtol=0, atol=1e-10)))


@pytest.mark.parametrize('layout', [channels_last, strided, transposed])
def test_noncontiguous(layout, make_inputs):
    inputs, kwargs = make_inputs()
    expected, expected_grads = exact_gradients(inputs, kwargs)
    inputs = {key: value.requires_grad_() for key, value in inputs.items()}
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
    # a gradient in another layout, and the output changed in place
    torch.nn.functional.leaky_relu_(out, 1.).sum().backward()
    for key, grad in expected_grads.items():
        torch.testing.assert_close(inputs[key].grad, grad)
    grads = backward(layout(torch.ones_like(out)), images, kwargs)
    for key, grad in zip(('x', 'weight', 'kernel_offset', 'offset'), grads):
        torch.testing.assert_close(grad, expected_grads[key])
        assert grad.is_contiguous(memory_format=memory_format)


def test_layouts_of_offsets(make_inputs):
    """Offsets as halves of one channels-last tensor, as a layer makes them."""
    inputs, kwargs = make_inputs(h=9, w=11)
    expected = exact_gradients(inputs, kwargs)
    joint = channels_last(
        torch.cat((inputs['offset'], inputs['kernel_offset']), 1))
    inputs['offset'], inputs['kernel_offset'] = joint.tensor_split(
        [inputs['offset'].shape[1]], 1)
    # clone() in gradients() would make them contiguous again
    leaves = {key: value.requires_grad_() for key, value in inputs.items()}
    out = deform_kernel_conv2d(**leaves, **kwargs)
    grads = torch.autograd.grad(out.sum(), list(leaves.values()))
    assert_close((out, dict(zip(leaves, grads))), expected)
    assert grads[2].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('size', [(5, 1), (1, 5), (1, 1)])
def test_offsets_one_pixel_wide(size):
    """A dimension of one has any stride, also in a contiguous tensor."""
    x = torch.randn(2, 3, *size)
    weight = torch.randn(3, 1, 4, 4)
    offsets = torch.randn(2, 36, *size[::-1]).transpose(2, 3).chunk(2, 1)
    expected = deform_kernel_conv2d(
        x,
        weight,
        *(torch.empty(tensor.shape).copy_(tensor) for tensor in offsets),
        padding=1)
    out = deform_kernel_conv2d(x, weight, *offsets, padding=1)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


@pytest.mark.parametrize('size', [(1, 1), (1, 5)])
def test_output_can_be_changed_in_place(size):
    """Sizes at which a permuted tensor is contiguous by chance."""
    x = torch.randn(2, 1, *size)
    kernel_offset = torch.zeros(2, 18, *size, requires_grad=True)
    out = deform_kernel_conv2d(
        x, torch.randn(1, 1, 4, 4), kernel_offset, padding=1)
    out.relu_().sum().backward()
    assert kernel_offset.grad.isfinite().all()


def test_autocast(make_inputs):
    """Computed in float32 all the same, and returned as x is."""
    inputs, kwargs = make_inputs(dtype=torch.float32)
    expected, expected_grads = gradients(inputs, kwargs)
    with torch.autocast(inputs['x'].device.type, dtype=torch.bfloat16):
        out, grads = gradients(inputs, kwargs)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('change, layout', [
    (dict(), torch.clone),
    (dict(), channels_last),
    (dict(with_offset=False), torch.clone),
    (dict(dtype=torch.float32, groups=1, stride=(1, 1)), torch.clone),
    (dict(dtype=torch.bfloat16, n=1), torch.clone),
])
def test_opcheck(change, layout, make_inputs):
    inputs, kwargs = make_inputs(**change)
    inputs['x'] = layout(inputs['x'])
    tensors = [
        None if value is None else value.requires_grad_()
        for value in inputs.values()
    ]
    torch.library.opcheck(torch.ops.dksan_mm.deform_kernel_conv2d.default,
                          (*tensors, *kwargs.values()))
    x, weight, kernel_offset, offset, _ = tensors
    grad_out = torch.randn(*x.shape[:2], *kernel_offset.shape[-2:])
    tensors = [
        None if tensor is None else tensor.detach()
        for tensor in (grad_out.to(x), x, weight, kernel_offset, offset)
    ]
    for mask in ([True] * 4, [False, True, True, offset is not None]):
        torch.library.opcheck(
            torch.ops.dksan_mm.deform_kernel_conv2d_backward.default,
            (*tensors, *kwargs.values(), mask))


@pytest.mark.parametrize(
    'mask', [tuple(i != left_out for i in range(4))
             for left_out in range(4)] + [(True, False, False, False),
                                          (False, ) * 4])
def test_gradients_left_out_are_empty(mask, make_inputs):
    inputs, kwargs = make_inputs()
    out, expected = exact_gradients(inputs, kwargs)
    grads = backward(torch.ones_like(out), inputs, kwargs, mask)
    for grad, key, wanted in zip(grads,
                                 ('x', 'weight', 'kernel_offset', 'offset'),
                                 mask):
        if wanted:
            torch.testing.assert_close(grad, expected[key])
        else:
            assert grad.shape == (0, ) and grad.dtype == torch.float64


def test_no_gradient_of_second_order(make_inputs):
    inputs, kwargs = make_inputs()
    x = inputs.pop('x').requires_grad_()
    out = deform_kernel_conv2d(x, **inputs, **kwargs)
    grad, = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match='no gradient of second'):
        grad.sum().backward()


def test_empty(make_inputs):
    inputs, kwargs = make_inputs(n=0)
    out, grads = gradients(inputs, kwargs)
    assert out.shape == (0, 6, *inputs['offset'].shape[-2:])
    for key, grad in grads.items():
        assert grad.shape == inputs[key].shape
        assert grad.eq(0).all()


def test_batch_equals_its_parts(make_inputs):
    inputs, kwargs = make_inputs(n=3)
    whole = deform_kernel_conv2d(**inputs, **kwargs)
    for i in range(3):
        part = {
            key:
            value[i:i + 1] if key in ('x', 'kernel_offset',
                                      'offset') else value
            for key, value in inputs.items()
        }
        torch.testing.assert_close(
            deform_kernel_conv2d(**part, **kwargs), whole[i:i + 1])


def test_blocks_join(monkeypatch, backend):
    """Cutting the pixels into blocks changes nothing."""
    if backend != 'portable':
        pytest.skip('only the portable backend has blocks of any size')
    inputs, kwargs = random_inputs()
    expected = gradients(inputs, kwargs)
    monkeypatch.setattr('dksan_mm.ops._reference._BLOCK_BYTES_CPU', 5 * 6 * 8)
    torch.testing.assert_close(gradients(inputs, kwargs), expected)


@pytest.mark.parametrize('layout', [torch.clone, channels_last])
@pytest.mark.parametrize('stride', [(1, 1), (2, 1)])
def test_nan_in_the_image_stays_local(layout, stride, make_inputs):
    inputs, kwargs = make_inputs(padding=(0, 0), stride=stride)
    for key in ('kernel_offset', 'offset'):
        inputs[key].zero_()
    clean = deform_kernel_conv2d(**inputs, **kwargs)
    inputs['x'][0, :, 0, 0] = float('nan')
    inputs['x'] = layout(inputs['x'])
    out = deform_kernel_conv2d(**inputs, **kwargs)
    assert out[0, :, 0, 0].isnan().all()
    out[0, :, 0, 0] = clean[0, :, 0, 0]
    torch.testing.assert_close(out, clean, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('layout',
                         [torch.contiguous_format, torch.channels_last])
def test_inference_memory(backend, layout, dtype):
    """Beside the input, for C = 128 and K = 9: with the C++ kernels the
    output, and a copy of an input that is not channels-last; with the
    portable backend four times a float32 input."""
    if backend == 'triton' or backend != 'cpp' and dtype != torch.float32:
        pytest.skip('no bound is claimed')
    inputs, kwargs = random_inputs(
        n=1,
        c=128,
        h=34,
        w=60,
        scope=(4, 4),
        kernel_size=(3, 3),
        groups=1,
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        dtype=dtype)
    inputs['x'] = inputs['x'].contiguous(memory_format=layout)
    with torch.inference_mode(), torch.profiler.profile(
            profile_memory=True) as profile:
        out = deform_kernel_conv2d(**inputs, **kwargs)
    held = peak = 0
    for event in sorted((e for e in profile.profiler.kineto_results.events()
                         if e.name() == '[memory]'),
                        key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    size = inputs['x'].nbytes
    assert held >= out.nbytes  # the profiler saw the output being made
    bound = 4 * size
    if backend == 'cpp':
        copies = 1 if layout == torch.channels_last else 2
        bound = copies * size + 40000  # the scope as a table, 17 x 128
    assert size <= peak <= bound


@pytest.mark.parametrize('change, message', [
    (dict(x=torch.zeros(6, 7, 5)), r'x must have shape .* got \(6, 7, 5\)'),
    (dict(x=torch.zeros(2, 6, 0, 5)), r'x must .* at least 1, got .*0, 5'),
    (dict(x=torch.zeros(2, 6, 1, 1),
          padding=0), r'x must be at least as large as the '
     r'dilated kernel, got H, W = \(1, 1\)'),
    (dict(weight=torch.zeros(5, 1, 4, 4)), r'weight .* C = 6.* got \(5, 1'),
    (dict(weight=torch.zeros(6, 2, 4, 4)), r'weight .* got \(6, 2, 4, 4\)'),
    (dict(kernel_offset=torch.zeros(2, 17, 4, 7)),
     r'kernel_offset must .* 2\*K = 12 .* got \(2, 17, 4, 7\)'),
    (dict(kernel_offset=torch.zeros(2, 48, 4, 7)), r'divisor of C = 6'),
    (dict(kernel_offset=torch.zeros(2, 24, 4, 6)),
     r'kernel_offset must .* \(2, 24, 4, 7\), got \(2, 24, 4, 6\)'),
    (dict(offset=torch.zeros(2, 24, 4, 7)),
     r'offset must .* \(2, 12, 4, 7\), got \(2, 24, 4, 7\)'),
    (dict(bias=torch.zeros(5)), r'bias must .* \(6,\), got \(5,\)'),
    (dict(stride=0), r'stride must be an integer of at least 1.* got 0'),
    (dict(padding=-1), r'padding must .* at least 0.* got -1'),
    (dict(dilation=1.5), r'dilation must be an integer.* got 1.5'),
    (dict(kernel_size=(3, 2, 1)), r'kernel_size must .* got \(3, 2, 1\)'),
    (dict(offset=torch.zeros(2, 12, 4, 7, device='meta')),
     r'offset must be on the device of x, .*, got meta'),
])
def test_exception(change, message):
    inputs, kwargs = random_inputs(dtype=torch.float32)
    change = {
        key:
        value.to(inputs['x'].device)
        if isinstance(value, torch.Tensor) and not value.is_meta else value
        for key, value in change.items()
    }
    with pytest.raises(ValueError, match=message):
        deform_kernel_conv2d(**{**inputs, **kwargs, **change})


@pytest.mark.parametrize('change, message', [
    (dict(x=torch.zeros(2, 6, 7, 5, dtype=torch.int64)), 'x must have a fl'),
    (dict(weight=torch.zeros(6, 1, 4, 4, dtype=torch.float8_e5m2)),
     'weight must have a floating dtype, one of .* got torch.float8_e5m2'),
    (dict(weight=None), 'weight must be a Tensor, got .*NoneType'),
    (dict(kernel_offset=[1]), 'kernel_offset must be a Tensor, got .*list'),
])
def test_type_exception(change, message):
    inputs, kwargs = random_inputs(dtype=torch.float32)
    with pytest.raises(TypeError, match=message):
        deform_kernel_conv2d(**{**inputs, **kwargs, **change})


@pytest.mark.parametrize('name', ['x', 'weight', 'kernel_offset', 'offset'])
def test_forward_mode_is_refused(name, make_inputs):
    """Tangents must not be lost silently: zeros would be the result."""
    inputs, kwargs = make_inputs()

    def function(value):
        return deform_kernel_conv2d(**{**inputs, name: value}, **kwargs)

    value, tangent = inputs[name], torch.ones_like(inputs[name])
    with pytest.raises(NotImplementedError, match='no derivative in forward'):
        torch.func.jvp(function, (value, ), (tangent, ))
    with pytest.raises(NotImplementedError, match='use reverse mode'):
        torch.func.jacfwd(function)(value)
    with forward_ad.dual_level():
        with pytest.raises(NotImplementedError, match='no derivative'):
            function(forward_ad.make_dual(value, tangent))
        function(value)  # without a tangent it runs
        # the gradient, too, is an op
        leaf = inputs['x'].requires_grad_()
        out = deform_kernel_conv2d(**inputs, **kwargs)
        dual = forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out))
        with pytest.raises(NotImplementedError, match='no derivative'):
            torch.autograd.grad(out, leaf, dual)


def test_gradient_of_another_shape(make_inputs):
    inputs, kwargs = make_inputs(dtype=torch.float32)
    with pytest.raises(ValueError, match='grad_out must have shape'):
        backward(torch.zeros(2, 6, 4, 6), inputs, kwargs)


def test_bias_gradient_is_summed_in_the_widest_type(make_inputs):
    inputs, kwargs = make_inputs()
    bias = torch.zeros(6, dtype=torch.float32, requires_grad=True)
    out = deform_kernel_conv2d(**dict(inputs, bias=bias), **kwargs)
    assert out.dtype == torch.float64
    # 2**30 + 1 is no float32: the ones are lost in one
    grad_out = torch.ones_like(out)
    grad_out[0, :, 0, 0] = 2.**30
    grad_out[-1, :, -1, -1] = -2.**30
    grad, = torch.autograd.grad(out, bias, grad_out)
    assert grad.dtype == torch.float32
    assert grad.eq(out[:, 0].numel() - 2).all()


def test_kink_of_the_scope():
    """Rounding decides the cell; all backends round alike."""
    weight = torch.tensor([1., 4.]).view(1, 1, 2, 1)
    kernel_offset = torch.zeros(1, 6, 1, 1)
    kernel_offset[0, 4] = -0.50000006  # of the third tap, vertical
    kernel_offset.requires_grad_()
    out = deform_kernel_conv2d(
        torch.ones(1, 1, 3, 1), weight, kernel_offset, kernel_size=(3, 1))
    grad, = torch.autograd.grad(out.sum(), kernel_offset)
    # 2 - 0.5 - 0.50000006 is 1 - 6e-8, between the cells; adding the offset
    # to 2 first would round to the second cell
    assert grad[0, 4].item() == 3.


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_what_is_not_finite_stays_where_it_is_read(value, backend):
    """A scope cell that no tap reads, and its gradient."""
    x = torch.rand(1, 2, 3, 4, requires_grad=True)
    weight = torch.rand(2, 1, 4, 4)
    weight[0, 0, 3, 3] = value
    weight.requires_grad_()
    # one tap, between the cells (1, 1) to (2, 2)
    kernel_offset = torch.zeros(1, 2, 3, 4, requires_grad=True)
    out = deform_kernel_conv2d(x, weight, kernel_offset, kernel_size=1)
    grads = torch.autograd.grad(out.sum(), (x, weight, kernel_offset))
    for tensor in (out, *grads):
        assert tensor.isfinite().all()
    # of an image cell that is not finite: the read cells' gradients alone
    with torch.no_grad():
        x[0, 1, 2, 2] = value
    out = deform_kernel_conv2d(x, weight, kernel_offset, kernel_size=1)
    # four pixels read it, three of them with a weight of zero
    assert (~out.isfinite()).sum() == 4
    grad, = torch.autograd.grad(out.sum(), weight)
    assert (~grad[1, 0, 1:3, 1:3].isfinite()).all()
    # Triton's sum over the cells is a product of matrices
    cells = 16 if backend == 'triton' else 4
    assert (~grad.isfinite()).sum() == cells and grad[0].isfinite().all()
