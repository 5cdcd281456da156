"""BasicVSR++ at x16: counts, MMagic's network at x4, flow of small frames."""
import os.path as osp

import pytest
import torch
import torch.nn.functional as F
from commands import ROOT
from mmagic.models.editors import BasicVSRPlusPlusNet
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from dksan_mm.models import ExtremeBasicVSRPlusPlusNet
from dksan_mm.models.baselines.basicvsr_pp import FlowGuidedDeformConv

SHARED = dict(mid_channels=8, num_blocks=1)
TINY = dict(SHARED, num_frames=3)


def randomise(net):
    """Give every layer something to do: no offset is the flow itself."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.05)
        else:
            nn.init.uniform_(parameter, 0.1, 0.3)
    return net.eval()


def make_tiny(**kwargs):
    return randomise(ExtremeBasicVSRPlusPlusNet(**{**TINY, **kwargs}))


def count(net):
    return sum(p.numel() for p in net.parameters())


class ConstantFlow(nn.Module):
    """One pixel to the right and down, in frames as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = []

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        self.sizes.append(tuple(ref.shape[2:]))
        return torch.ones_like(ref[:, :2])


@pytest.mark.parametrize('scale, expected', [
    (4, 7_322_927),
    (8, 7_322_927 + 147_712),
    (16, 7_322_927 + 2 * 147_712),
])
def test_parameter_counts(scale, expected):
    with torch.device('meta'):
        net = ExtremeBasicVSRPlusPlusNet(scale=scale)
        mmagic = BasicVSRPlusPlusNet()
    assert count(net) == expected
    assert count(net.spynet) == 1_440_300
    assert net.scale == scale
    if scale == 4:
        assert count(mmagic) == expected


@pytest.mark.parametrize('frames', [3, 7])
def test_at_x4_it_is_the_middle_frame_of_mmagic(frames):
    theirs = randomise(BasicVSRPlusPlusNet(**SHARED)).double()
    ours = ExtremeBasicVSRPlusPlusNet(
        **SHARED, num_frames=frames, scale=4).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, frames, 3, 64, 68, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x)[:, frames // 2])


@pytest.mark.parametrize('scale', [4, 8, 16])
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (32, 32)])
def test_any_size(size, scale):
    net = make_tiny(scale=scale)
    with torch.no_grad():
        out = net(torch.rand(1, 3, 3, *size))
    assert out.shape == (1, 3, scale * size[0], scale * size[1])
    assert out.isfinite().all()


@pytest.mark.parametrize('size, seen, expected', [
    ((64, 70), (64, 70), (1., 1.)),
    ((16, 80), (64, 80), (1., 0.25)),
    ((32, 40), (64, 64), (0.625, 0.5)),
])
def test_flow_is_in_pixels_of_the_frame(size, seen, expected):
    net = make_tiny()
    net.spynet = ConstantFlow()
    for flow in net.compute_flow(torch.rand(2, 5, 3, *size)):
        assert flow.shape == (2, 4, 2, *size)
        torch.testing.assert_close(
            flow,
            torch.tensor(expected).view(2, 1, 1).expand_as(flow))
    assert net.spynet.sizes == [seen, seen]


def test_alignment_untrained_follows_the_flow():
    """It is half a convolution (the mask) of the two states, moved."""
    torch.manual_seed(0)
    conv = FlowGuidedDeformConv(16, 8, 3, padding=1, deform_groups=16)
    x = torch.rand(2, 16, 14, 12)
    flow_1 = torch.tensor([2., -1.]).view(1, 2, 1, 1).expand(2, 2, 14, 12)
    flow_2 = torch.tensor([-3., 2.]).view(1, 2, 1, 1).expand(2, 2, 14, 12)
    out = conv(x, torch.rand(2, 24, 14, 12), flow_1, flow_2)
    # what is at (y + dy, x + dx) comes to (y, x)
    moved = torch.cat((x[:, :8].roll((1, -2), (2, 3)), x[:, 8:].roll(
        (-2, 3), (2, 3))), 1)
    expected = F.conv2d(moved, conv.weight / 2, conv.bias, padding=1)
    torch.testing.assert_close(out[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_takes_the_middle_of_a_longer_window():
    net = make_tiny()
    x = torch.rand(2, 7, 3, 5, 4)
    other = torch.rand(2, 7, 3, 5, 4)
    other[:, 2:5] = x[:, 2:5]
    with torch.no_grad():
        out = net(x)
        assert torch.equal(net(x[:, 2:5]), out)
        assert torch.equal(net(other), out)


def test_every_frame_and_their_order_matter():
    net = make_tiny(num_frames=7)
    x = torch.rand(1, 7, 3, 6, 5)
    with torch.no_grad():
        out = net(x)
        for frame in range(7):
            changed = x.clone()
            changed[:, frame] = 1 - x[:, frame]
            assert not torch.equal(net(changed), out)
        assert not torch.allclose(net(x.flip(1)), out)


def test_zeroed_last_conv_gives_the_middle_frame_enlarged():
    net = make_tiny()
    nn.init.zeros_(net.conv_last.weight)
    nn.init.zeros_(net.conv_last.bias)
    x = torch.rand(2, 5, 3, 3, 5)
    expected = F.interpolate(x[:, 2], scale_factor=16, mode='bilinear')
    torch.testing.assert_close(net(x), expected)


def test_batch_equals_its_parts():
    net = make_tiny()
    x = torch.rand(3, 3, 3, 5, 4)
    with torch.no_grad():
        whole = net(x)
        parts = torch.cat([net(part) for part in x.split(1)])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    net = make_tiny()
    net(torch.rand(1, 3, 3, 12, 16)).square().sum().backward()
    without = [
        name for name, p in net.named_parameters()
        if p.grad is None or p.grad.abs().max() == 0
    ]
    assert without == []


def test_saved_net_reloads_bit_equal(tmp_path):
    net = make_tiny()
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    other = ExtremeBasicVSRPlusPlusNet(**TINY).eval()
    other.load_state_dict(torch.load(tmp_path / 'net.pth'))
    x = torch.rand(1, 3, 3, 5, 6)
    assert torch.equal(net(x), other(x))


def test_weights_of_the_flow_survive_the_start(tmp_path):
    # such a file has no buffers
    weights = dict(make_tiny().spynet.named_parameters())
    path = str(tmp_path / 'spynet.pth')
    torch.save(weights, path)
    net = ExtremeBasicVSRPlusPlusNet(**TINY, spynet_pretrained=path)
    net.init_weights()
    for name, parameter in net.spynet.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def test_autocast():
    net = make_tiny()
    x = torch.rand(1, 3, 3, 9, 10)
    expected = net(x)
    with torch.autocast('cpu', torch.bfloat16):
        out = net(x)
    assert out.dtype == torch.float32
    out.sum().backward()
    assert 0 < (out - expected).abs().max() < 0.2 * expected.std()


def test_config_trains_the_flow_slower():
    path = osp.join(ROOT, 'configs/basicvsr-pp_vid3oc_x16.py')
    cfg = Config.fromfile(path)
    cfg.model.generator.update(TINY)
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    rates = {
        id(parameter): group['lr']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        rate = 1e-4 if '.spynet.' in name else 4e-4
        assert rates[id(parameter)] == pytest.approx(rate), name


@pytest.mark.parametrize('shape', [
    (1, 1, 3, 4, 4),
    (1, 4, 3, 4, 4),
    (1, 3, 4, 4, 4),
    (1, 3, 3, 4, 0),
    (3, 3, 4, 4),
])
def test_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r'x must have shape .* odd T of at '):
        make_tiny()(torch.rand(shape))


@pytest.mark.parametrize('argument, value', [
    ('scale', 2),
    ('mid_channels', 12),
    ('num_frames', 1),
    ('num_frames', 4),
])
def test_wrong_argument_is_refused(argument, value):
    with pytest.raises(ValueError, match=f'{argument} must .*{value}'):
        make_tiny(**{argument: value})


def test_registered_beside_mmagics():
    assert MODELS.get(
        'ExtremeBasicVSRPlusPlusNet') is ExtremeBasicVSRPlusPlusNet
    assert MODELS.get('BasicVSRPlusPlusNet') is BasicVSRPlusPlusNet
