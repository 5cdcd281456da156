"""EDVR at x16: counts, MMagic's network at x4, any size, any window."""
import os.path as osp

import pytest
import torch
import torch.nn.functional as F
from commands import ROOT
from mmagic.models.editors import EDVRNet
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from tiny_networks import EDVR, make_network, randomise
from torch import nn

from dksan_mm.models import ExtremeEDVRNet
from dksan_mm.models.baselines import edvr_net
from dksan_mm.utils.faults import CheckpointMismatchError

SHARED = {key: value for key, value in EDVR.items() if key != 'hr_channels'}


def make_tiny(**kwargs):
    return make_network('edvr', **kwargs)


def make_restorer(strict_checkpoint=True, **generator):
    """Return what configs/edvr_vid3oc_x16.py describes, tiny."""
    cfg = Config.fromfile(osp.join(ROOT, 'configs/edvr_vid3oc_x16.py')).model
    cfg.generator.update({**EDVR, **generator})
    cfg.strict_checkpoint = strict_checkpoint
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize('num_frames, scale, expected', [
    (5, 4, 20_633_827),
    (5, 8, 20_633_827 + 147_712),
    (5, 16, 20_633_827 + 2 * 147_712),
    (7, 16, 20_994_787),
])
def test_parameter_counts(num_frames, scale, expected):
    with torch.device('meta'):
        net = ExtremeEDVRNet(num_frames=num_frames, scale=scale)
    assert count(net) == expected
    assert net.scale == scale
    if scale == 4:
        with torch.device('meta'):
            mmagic = EDVRNet(3, 3, 128, 5, 8, 5, 40)
        assert count(mmagic) == expected


@pytest.mark.parametrize('with_tsa', [True, False])
def test_at_x4_it_is_the_network_of_mmagic(with_tsa):
    theirs = randomise(
        EDVRNet(3, 3, **SHARED, center_frame_idx=1,
                with_tsa=with_tsa)).double()
    ours = ExtremeEDVRNet(**SHARED, scale=4, with_tsa=with_tsa).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 3, 8, 12, dtype=torch.float64)
    out, expected = ours(x), theirs(x)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, list(ours.parameters()), weight),
        torch.autograd.grad(expected, list(theirs.parameters()), weight))


def test_starts_from_a_checkpoint_of_mmagic():
    """All of it but the further stages, if one says so."""
    theirs = EDVRNet(3, 3, **SHARED, center_frame_idx=1)
    ours = ExtremeEDVRNet(**SHARED)
    missing, unexpected = ours.load_state_dict(
        theirs.state_dict(), strict=False)
    assert missing == [
        f'upsample_more.{i}.upsample_conv.{name}' for i in range(2)
        for name in ('weight', 'bias')
    ]
    assert unexpected == []

    weights = {f'generator.{k}': v for k, v in theirs.state_dict().items()}
    model = make_restorer(hr_channels=64)
    with pytest.raises(CheckpointMismatchError, match='upsample_more'):
        _load_checkpoint_to_model(model, dict(state_dict=weights))
    model = make_restorer(hr_channels=64, strict_checkpoint=False)
    _load_checkpoint_to_model(model, dict(state_dict=weights))
    for key, value in weights.items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize('scale', [4, 8, 16])
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (4, 8), (6, 1)])
def test_any_size(size, scale):
    """The last row and column repeated, the result cropped."""
    height, width = size
    net = make_tiny(scale=scale)
    x = torch.rand(2, 3, 3, *size)
    rows = list(range(height)) + [height - 1] * (-height % 4)
    columns = list(range(width)) + [width - 1] * (-width % 4)
    with torch.no_grad():
        out = net(x)
        padded = net(x[..., rows, :][..., columns])
    assert out.shape == (2, 3, scale * height, scale * width)
    assert torch.equal(out, padded[..., :scale * height, :scale * width])
    assert out.isfinite().all()


def test_sizes_that_four_divides_are_not_touched(monkeypatch):
    net = make_tiny()
    x = torch.rand(1, 3, 3, 4, 8)
    out = net(x)
    monkeypatch.setattr(edvr_net, 'pad_to_multiple', lambda x, divisor: x)
    assert torch.equal(net(x), out)


def test_zeroed_last_conv_gives_the_middle_frame_enlarged():
    net = make_tiny(num_frames=5)
    nn.init.zeros_(net.conv_last.weight)
    nn.init.zeros_(net.conv_last.bias)
    x = torch.rand(2, 7, 3, 3, 5)
    expected = F.interpolate(x[:, 3], scale_factor=16, mode='bilinear')
    torch.testing.assert_close(net(x), expected)


def test_trains_in_windows_of_seven():
    """In DKSAN's restorer. Untrained, nothing is displaced."""
    torch.manual_seed(0)
    model = make_restorer(num_frames=5)
    alignment = model.generator.pcd_alignment
    for pack in (*alignment.dcn_pack.values(), alignment.cas_dcnpack):
        assert pack.conv_offset.weight.eq(0).all()
    batch = dict(
        inputs=[torch.randint(0, 256, (7, 3, 4, 4)).float()],
        data_samples=[DataSample(gt_img=torch.full((3, 64, 64), 99.))])
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), 5e-3))
    losses = [model.train_step(batch, wrapper)['loss'] for _ in range(6)]
    assert losses[-1] < 0.9 * losses[0]


def test_small_config_differs_in_the_network_alone():
    ours, dksan = (
        Config.fromfile(osp.join(ROOT, f'configs/{name}_quickstart_x16.py'))
        for name in ('edvr-small', 'dksan-small'))
    counts = []
    for cfg in (ours, dksan):
        counts.append(count(MODELS.build(cfg.model.pop('generator'))))
        cfg.pop('experiment_name')
        cfg.pop('work_dir')
    assert counts[0] == pytest.approx(counts[1], rel=0.02)
    assert ours.to_dict() == dksan.to_dict()


@pytest.mark.parametrize('argument, value', [
    ('scale', 2),
    ('scale', 32),
    ('num_frames', 4),
    ('deform_groups', 3),
    ('out_channels', 1),
])
def test_wrong_argument_is_refused(argument, value):
    with pytest.raises(ValueError, match=f'{argument} must .*{value}'):
        make_tiny(**{argument: value})


def test_mmagics_own_stays():
    assert MODELS.get('EDVRNet') is EDVRNet
