"""The network: parameter counts, sizes, properties and errors."""
import pytest
import torch
import torch.nn.functional as F
from tiny_networks import DKSAN, PLAIN, make_network
from torch import nn

from dksan_mm.models import DKSANNet
from dksan_mm.models.blocks import RCAB, DKCBlock, PointwiseConv2d
from dksan_mm.models.dkc_align import DKCAlign
from dksan_mm.models.dksa import DKSA
from dksan_mm.models.level import Upscale


def make_tiny(**kwargs):
    return make_network('dksan', **kwargs)


@pytest.mark.parametrize('switches, count', [
    (dict(with_channel_attention=False, with_alignment=False,
          with_dksa=False), 26_117_772),
    (dict(with_alignment=False, with_dksa=False), 26_281_572),
    (dict(with_dksa=False), 26_973_204),
    (dict(), 29_476_220),
])
def test_parameter_counts_of_table_3(switches, count):
    with torch.device('meta'):
        net = DKSANNet(**switches)
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.scale == 16


@pytest.mark.parametrize('levels', [1, 2, 3, 4])
def test_levels(levels):
    net = make_tiny(num_blocks=(1, ) * levels)
    x = torch.rand(1, 3, 3, 3, 2)
    with torch.no_grad():
        images = net(x, return_levels=True)
        assert torch.equal(images[-1], net(x))
    assert net.scale == 2**levels
    assert [tuple(image.shape[-2:]) for image in images
            ] == [(3 * 2**i, 2 * 2**i) for i in range(1, levels + 1)]


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_activation_checkpointing(dtype):
    """The same image and gradients, bit by bit, from fewer maps that are
    kept; the same keys."""
    x = torch.rand(2, 3, 3, 6, 5)
    found = []
    for with_cp in (False, True):
        net = make_tiny(with_cp=with_cp, num_blocks=(3, 3)).train()
        kept = [0]

        def count(tensor):
            kept[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t), \
                torch.autocast('cpu', dtype, enabled=dtype is not None):
            out = net(x)
        out.square().mean().backward()
        gradients = {name: p.grad for name, p in net.named_parameters()}
        found.append((out.detach(), gradients, kept[0]))
        with torch.no_grad():
            assert net(x).shape == out.shape
    (image, gradients, kept), (image_cp, gradients_cp, kept_cp) = found
    assert torch.equal(image, image_cp)
    assert gradients.keys() == gradients_cp.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, gradients_cp[name]), name
    assert kept_cp < 0.5 * kept


def test_a_width_for_each_level():
    net = make_tiny(
        mid_channels=(8, 4, 6), num_blocks=(1, 2, 1), reduction=(4, 2, 3))
    for level, width in enumerate((8, 4, 6)):
        assert net.reconstruct[level].rcabs[0].conv1.out_channels == width
        assert net.reconstruct[level].dksa.conv_mask.out_channels == width
        assert net.upscale[level].conv_last.in_channels == width
    assert net.extract[0].out_channels == net.fuse.out_channels == 8
    x = torch.rand(2, 3, 3, 4, 5)
    assert net(x).shape == (2, 3, 32, 40)
    same = make_tiny(mid_channels=(4, 4), reduction=[2, 2])
    assert torch.equal(same(x), make_tiny()(x))


def test_zeroed_last_convs_give_the_bicubic_cascade():
    net = make_tiny(num_blocks=(1, 1, 1))
    for upscale in net.upscale:
        nn.init.zeros_(upscale.conv_last.weight)
        nn.init.zeros_(upscale.conv_last.bias)
    x = torch.rand(2, 3, 3, 4, 5)
    expected = x[:, 1]
    for image in net(x, return_levels=True):
        expected = F.interpolate(
            expected, scale_factor=2, mode='bicubic', align_corners=False)
        torch.testing.assert_close(image, expected)


def test_starts_as_the_bicubic_cascade():
    net = DKSANNet(**DKSAN)
    net.init_weights()
    x = torch.rand(1, 3, 3, 4, 5)
    expected = F.interpolate(x[:, 1], scale_factor=2, mode='bicubic')
    torch.testing.assert_close(net(x, return_levels=True)[0], expected)


def test_constant_video_stays_constant_inside():
    """Away from the zero padding, the same input everywhere gives the same
    output everywhere."""
    net = make_tiny(num_blocks=(1, ), with_dksa=False, num_align_layers=0)
    out = net(torch.full((1, 3, 3, 40, 36), 0.5))
    inner = out[..., 30:-30, 30:-30]
    # the two phases of PixelShuffle differ, pixels of one phase do not
    for phase in (inner[..., ::2, ::2], inner[..., 1::2, ::2]):
        torch.testing.assert_close(phase, phase[..., :1, :1].expand_as(phase))


def test_reference_frame_passes_unaligned_in_its_place():
    net = make_tiny(num_frames=5)
    nn.init.zeros_(net.align.deform_conv.weight)
    nn.init.zeros_(net.align.deform_conv.bias)
    x = torch.rand(1, 5, 3, 6, 7)
    middle = net.extract(x[:, 2])
    weight = net.fuse.weight[:, 8:12]  # the third of five groups of 4
    expected = F.conv2d(middle, weight, net.fuse.bias)
    torch.testing.assert_close(net.fuse_frames(x), expected)


@pytest.mark.parametrize('kwargs, message', [
    (dict(num_frames=4), 'num_frames must be odd, got 4'),
    (dict(num_blocks=()), r'num_blocks must name at least one level.*\(\)'),
    (dict(mid_channels=(4, )), r'mid_channels must be one positive number or '
     r'one for each of the 2 levels .* got \(4,\)'),
    (dict(mid_channels=0), 'mid_channels must be one positive number.* got 0'),
    (dict(reduction=(2, 8)), 'reduction must be from 1 to .* = 4, got 8'),
    (dict(deform_groups=3), 'divisor of mid_channels = 4, got 3'),
    (dict(reduction=8), 'reduction must be from 1 to mid_channels = 4, got 8'),
])
def test_config_exception(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DKSANNet(**{**DKSAN, **kwargs})


@pytest.mark.parametrize('shape', [(1, 3, 4, 5), (1, 5, 3, 4, 5),
                                   (1, 3, 1, 4, 5), (1, 3, 3, 0, 5)])
def test_input_exception(shape):
    with pytest.raises(
            ValueError, match='x must have shape .* num_frames = 3'):
        DKSANNet(**DKSAN)(torch.zeros(shape))


def test_single_frame_needs_no_frame_axis():
    net = make_tiny(num_frames=1)
    x = torch.rand(2, 3, 5, 4)
    torch.testing.assert_close(net(x), net(x.unsqueeze(1)))


def test_rcab():
    block = RCAB(4, reduction=2)
    x = torch.rand(2, 4, 5, 6)
    inner = block.conv2(F.relu(block.conv1(x)))
    scale = block.attention.channel_attention(inner.mean((2, 3), keepdim=True))
    torch.testing.assert_close(block(x), x + inner * scale)
    assert RCAB(4, with_channel_attention=False).attention is None


def test_dkc_block():
    block = DKCBlock(4)
    x = torch.rand(2, 4, 5, 6)
    torch.testing.assert_close(block(x), x + F.leaky_relu(block.dkc(x), 0.1))


def test_alignment_starts_as_half_a_convolution():
    """Zero offsets and masks at a half."""
    align = DKCAlign(4, num_layers=1, deform_groups=2)
    x, reference = torch.randn(2, 2, 4, 5, 6)
    conv = align.deform_conv
    expected = F.conv2d(x, conv.weight, padding=1) / 2
    expected = F.leaky_relu(expected + conv.bias[:, None, None], 0.1)
    torch.testing.assert_close(align(x, reference), expected)


@pytest.mark.parametrize('light', [True, False])
def test_dksa_starts_as_identity(light):
    dksa = DKSA(4, num_layers=1, light=light)
    x = torch.rand(2, 4, 5, 3)
    torch.testing.assert_close(dksa(x), x)
    assert (dksa.conv_addend is None) == light


@pytest.mark.parametrize('light', [True, False])
def test_dksa_works_at_half_size(light):
    """Fig. 3 as it is read here, from its own layers."""
    torch.manual_seed(0)
    dksa = DKSA(4, num_layers=2, light=light)
    for parameter in dksa.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.rand(2, 4, 6, 8)
    half = dksa.dkc_layers(dksa.head(x))
    assert half.shape == (2, 4, 3, 4)
    if not light:
        half = dksa.tail(half)

    def double(maps):
        return F.interpolate(maps, scale_factor=2, mode='bilinear')

    expected = x * 2 * double(dksa.conv_mask(half)).sigmoid()
    if not light:
        expected = expected + double(dksa.conv_addend(half))
    torch.testing.assert_close(dksa(x), expected)


def test_no_layout_copies():
    """Features stay channels-last from the frames to the result: nothing of
    their size is copied between layers."""
    net = DKSANNet(
        num_frames=3,
        num_blocks=(1, 1),
        num_extraction_blocks=1,
        num_align_layers=1).eval()
    x = torch.rand(1, 3, 3, 17, 30)
    threads = torch.get_num_threads()
    # one thread, and small features, PyTorch gives to a convolution that
    # knows NCHW alone
    torch.set_num_threads(2)
    try:
        with torch.inference_mode(), torch.profiler.profile(
                record_shapes=True) as profile:
            net(x)
    finally:
        torch.set_num_threads(threads)

    copies = [
        event for event in profile.events()
        if event.name == 'aten::copy_' and event.input_shapes[0] ==
        event.input_shapes[1] and event.input_shapes[0][-1:] in (
            [15], [30], [60]) and event.input_shapes[0][1] > 3
    ]
    assert not copies


def test_pointwise_convolution():
    torch.manual_seed(0)
    conv = PointwiseConv2d(6, 5)
    for x in (torch.rand(2, 6, 4, 3),
              torch.rand(2, 6, 4,
                         3).contiguous(memory_format=torch.channels_last)):
        out = conv(x)
        torch.testing.assert_close(out, F.conv2d(x, conv.weight, conv.bias))
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_last_convolution_before_the_shuffle():
    """It computes what the layers do in the paper's order."""
    torch.manual_seed(0)
    upscale = Upscale(8).double()
    nn.init.normal_(upscale.conv_last.weight)
    nn.init.normal_(upscale.conv_last.bias)
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64)
    expected = upscale.conv_last(upscale.lrelu(upscale.upsample(x)))
    torch.testing.assert_close(upscale(x), expected)


@pytest.mark.parametrize('switches', [dict(), PLAIN])
def test_inference_equals_training_in_all_levels(switches):
    net = make_tiny(**switches)
    x = torch.rand(2, 3, 3, 6, 7)
    expected = net(x, return_levels=True)
    with torch.inference_mode():
        actual = net(x, return_levels=True)
    torch.testing.assert_close(actual, expected)
