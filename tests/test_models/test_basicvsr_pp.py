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
from tiny_networks import BASICVSR, make_network, randomise
from torch import Tensor, nn

from dksan_mm.models import ExtremeBasicVSRPlusPlusNet
from dksan_mm.models.baselines.basicvsr_pp import FlowGuidedDeformConv

SHARED = dict(mid_channels=8, num_blocks=1)


def make_tiny(**kwargs):
    return make_network('basicvsr', **kwargs)


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


@pytest.mark.parametrize('frames', [3, 5])
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


def test_zeroed_last_conv_gives_the_middle_frame_enlarged():
    net = make_tiny()
    nn.init.zeros_(net.conv_last.weight)
    nn.init.zeros_(net.conv_last.bias)
    x = torch.rand(2, 5, 3, 3, 5)
    expected = F.interpolate(x[:, 2], scale_factor=16, mode='bilinear')
    torch.testing.assert_close(net(x), expected)


def test_weights_of_the_flow_survive_the_start(tmp_path):
    # such a file has no buffers
    weights = dict(make_tiny().spynet.named_parameters())
    path = str(tmp_path / 'spynet.pth')
    torch.save(weights, path)
    net = ExtremeBasicVSRPlusPlusNet(**BASICVSR, spynet_pretrained=path)
    net.init_weights()
    for name, parameter in net.spynet.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def test_config_trains_the_flow_slower():
    path = osp.join(ROOT, 'configs/basicvsr-pp_vid3oc_x16.py')
    cfg = Config.fromfile(path)
    cfg.model.generator.update(BASICVSR)
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


@pytest.mark.parametrize('argument, value', [
    ('scale', 2),
    ('mid_channels', 12),
    ('num_frames', 1),
    ('num_frames', 4),
])
def test_wrong_argument_is_refused(argument, value):
    with pytest.raises(ValueError, match=f'{argument} must .*{value}'):
        make_tiny(**{argument: value})


def test_mmagics_own_stays():
    assert MODELS.get('BasicVSRPlusPlusNet') is BasicVSRPlusPlusNet
