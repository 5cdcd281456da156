"""The modules, their registration, and what importing them needs."""
import subprocess
import sys

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer

import dksan_mm.ops.mmcv_layer  # noqa: F401
from dksan_mm.ops import (DeformKernelConv2d, DeformKernelConv2dPack,
                          deform_kernel_conv2d)


def test_module_calls_the_function():
    layer = DeformKernelConv2d(
        6, 6, (3, 2), stride=2, padding=1, dilation=(1, 2), scope_size=(4, 5))
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 6, 7, 9)
    kernel_offset, offset = torch.randn(2, 2, 12, 4, 5)
    expected = deform_kernel_conv2d(
        x,
        layer.weight,
        kernel_offset,
        offset,
        layer.bias,
        kernel_size=(3, 2),
        stride=2,
        padding=1,
        dilation=(1, 2))
    torch.testing.assert_close(layer(x, kernel_offset, offset), expected)


def test_pack_starts_at_zero_offsets():
    layer = DeformKernelConv2dPack(6, 6, 3, padding=1)
    x = torch.randn(2, 6, 5, 7)
    zeros = torch.zeros(2, 18, 5, 7)
    torch.testing.assert_close(
        layer(x), DeformKernelConv2d.forward(layer, x, zeros, zeros))


def test_pack_splits_image_offsets_first():
    layer = DeformKernelConv2dPack(6, 6, 3, padding=1, kernel_offset_groups=2)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.1)
    x = torch.randn(2, 6, 5, 7)
    offsets = layer.conv_offset(x)
    assert offsets.shape[1] == 18 + 36
    torch.testing.assert_close(
        layer(x),
        DeformKernelConv2d.forward(layer, x, offsets[:, 18:], offsets[:, :18]))


def test_pack_with_guide():
    layer = DeformKernelConv2dPack(6, 6, 3, padding=1, guide_channels=2)
    torch.nn.init.normal_(layer.conv_offset.weight)
    x = torch.randn(1, 6, 5, 7)
    guides = torch.randn(2, 1, 2, 5, 7)
    assert not torch.allclose(layer(x, guides[0]), layer(x, guides[1]))


def test_pack_from_the_meta_device():
    """The state dict holds all that a module needs."""
    kwargs = dict(padding=1, kernel_offset_groups=2, clip_kernel_offset=True)
    layer = DeformKernelConv2dPack(4, 4, 3, **kwargs)
    torch.nn.init.normal_(layer.conv_offset.weight, std=2.)
    with torch.device('meta'):
        other = DeformKernelConv2dPack(4, 4, 3, **kwargs)
    other.to_empty(device='cpu')
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.fill_(float('nan'))  # memory can hold anything
    other.load_state_dict(layer.state_dict())
    x = torch.rand(1, 4, 5, 6)
    assert torch.equal(other(x), layer(x))
    assert not set(dict(other.named_buffers())) - set(other.state_dict())


def test_pack_clips_kernel_offsets_to_the_scope():
    kwargs = dict(padding=1, scope_size=4, kernel_offset_groups=2)
    layer = DeformKernelConv2dPack(4, 4, 3, clip_kernel_offset=True, **kwargs)
    torch.nn.init.constant_(layer.conv_offset.bias[18:], 99.)
    x = torch.randn(1, 4, 5, 6)
    # far down and right, every tap stays on the last cell of the scope
    last = layer.weight[..., -1:, -1:].expand(-1, -1, 3, 3)
    expected = torch.conv2d(x, last, padding=1, groups=4)
    torch.testing.assert_close(layer(x), expected)
    free = DeformKernelConv2dPack(4, 4, 3, **kwargs)
    free.load_state_dict(layer.state_dict())
    assert free(x).eq(0).all()


@pytest.mark.parametrize('kernel_size, scope', [(3, 4), (3, 3), (5, 6)])
def test_initial_weights_keep_the_mean_square(kernel_size, scope):
    torch.manual_seed(0)
    layer = DeformKernelConv2dPack(
        512, 512, kernel_size, padding=kernel_size // 2, scope_size=scope)
    x = torch.randn(1, 512, 24, 24)
    out = torch.nn.functional.leaky_relu(layer(x), 0.1)
    inner = out[..., 4:-4, 4:-4]
    assert inner.square().mean().item() == pytest.approx(1, rel=0.15)


def test_builds_as_mmcv_conv_layer():
    layer = build_conv_layer(
        dict(type='DKC', scope_size=4), 128, 128, 3, padding=1)
    assert isinstance(layer, DeformKernelConv2dPack)
    assert sum(p.numel() for p in layer.parameters()) == 43684


def test_works_in_conv_module():
    module = ConvModule(8, 8, 3, padding=1, conv_cfg=dict(type='DKC'))
    module.init_weights()
    assert module.conv.conv_offset.weight.eq(0).all()
    assert module(torch.randn(2, 8, 5, 6)).shape == (2, 8, 5, 6)


def test_saves_and_loads():
    layer, other = (DeformKernelConv2dPack(4, 4, 3) for _ in range(2))
    assert set(layer.state_dict()) == {
        'weight', 'bias', 'conv_offset.weight', 'conv_offset.bias'
    }
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 4, 5, 6)
    assert torch.equal(layer(x), other(x))


def test_autocast():
    layer = DeformKernelConv2dPack(8, 8, 3, padding=1)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.05)
    x = torch.randn(1, 8, 9, 7)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.conv_offset.weight.grad.isfinite().all()
    torch.testing.assert_close(out.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize('kwargs, message', [
    (dict(out_channels=8), 'out_channels must equal in_channels.*8 and 4'),
    (dict(groups=2), 'groups must be 1 or in_channels = 4, got 2'),
    (dict(scope_size=0), 'scope_size must .* at least 1.*got 0'),
    (dict(kernel_offset_groups=3), 'divisor of in_channels = 4, got 3'),
])
def test_exception(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DeformKernelConv2dPack(4, **{'out_channels': 4, **kwargs})


def test_import_needs_torch_alone():
    code = '''
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmcv', 'mmengine', 'mmagic', 'cv2',
                                  'torchvision'):
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Block())
import torch
from dksan_mm.ops import DeformKernelConv2dPack
print(tuple(DeformKernelConv2dPack(4, 4, 3)(torch.rand(1, 4, 5, 6)).shape))
'''
    result = subprocess.run([sys.executable, '-c', code],
                            capture_output=True,
                            text=True)
    assert result.stdout.strip() == '(1, 4, 3, 4)', result.stderr
