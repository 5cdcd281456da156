"""The network and its layers under torch.compile."""
import pytest
import torch
import torch._inductor.config
from tiny_networks import make_network, randomise
from torch._dynamo.testing import CompileCounterWithBackend

from dksan_mm.ops import DeformKernelConv2dPack


@pytest.fixture(autouse=True)
def _fresh():
    torch.compiler.reset()
    with torch._inductor.config.patch(force_disable_caches=True):
        yield
    torch.compiler.reset()


def assert_compiles(module, shapes, dynamic, backend='inductor'):
    """Compiled as one graph, results and gradients are those of eager. With
    dynamic shapes a second size is not traced anew (inductor itself may bound
    sizes by the first ones that it saw)."""
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(
        module, fullgraph=True, dynamic=dynamic, backend=counter)
    compilations = []
    for shape in shapes:
        x = torch.rand(shape, requires_grad=True)
        # as in the network; inductor would change it on the way, and then
        # take the strides of the first size for those of any
        if len(shape) == 4:
            x = x.detach().contiguous(memory_format=torch.channels_last)
            x.requires_grad_()
        inputs = [x, *module.parameters()]
        expected, out = module(x), compiled(x)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
        weight = torch.randn(out.shape)
        torch.testing.assert_close(
            torch.autograd.grad(out, inputs, weight),
            torch.autograd.grad(expected, inputs, weight),
            rtol=1e-3,
            atol=1e-3)
        compilations.append(counter.frame_count)
    if dynamic and backend == 'aot_eager':
        assert compilations[0] == compilations[-1]


def tiny_network(num_blocks, kind='dksan'):
    return make_network(kind, num_blocks=num_blocks).train()


@pytest.mark.parametrize('dynamic, backend', [(False, 'inductor'),
                                              (True, 'inductor'),
                                              (True, 'aot_eager')])
def test_layer(dynamic, backend):
    layer = randomise(DeformKernelConv2dPack(8, 8, 3, padding=1)).train()
    layer.conv_offset.to(memory_format=torch.channels_last)
    shapes = [(2, 8, 9, 7), (2, 8, 11, 12)]
    assert_compiles(layer, shapes[:1 + dynamic], dynamic, backend)


def test_network():
    """By inductor, which takes its time: the light attention alone."""
    assert_compiles(tiny_network((1, )), [(1, 3, 3, 6, 8)], dynamic=False)


def test_network_of_any_size():
    """Traced by AOTAutograd as for inductor, run by PyTorch's kernels."""
    shapes = [(2, 3, 3, 6, 8), (2, 3, 3, 9, 7)]
    assert_compiles(
        tiny_network((1, 1)), shapes, dynamic=True, backend='aot_eager')


@pytest.mark.parametrize('kind', ['dksan', 'dksan-flow-guided'])
def test_network_without_gradients(kind):
    """Inference writes over its operands; compiled, that changes nothing."""
    net = tiny_network((1, 1), kind).eval()
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    x = torch.rand(1, 3, 3, 6, 8)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-4)
