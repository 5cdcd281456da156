"""Large features in strips: same results, less memory, any layers."""
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dksan_mm.models import (DKSANNet, ExtremeBasicVSRPlusPlusNet,
                             ExtremeEDVRNet)
from dksan_mm.models.strips import (MIN_STRIP_ROWS, in_strips, row_strips,
                                    strip_bytes)
from dksan_mm.utils.benchmark import peak_allocation


def randomise(net):
    """Give every layer something to do."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def make_net(kind):
    if kind.startswith('dksan'):
        return randomise(
            DKSANNet(
                mid_channels=8,
                num_frames=3,
                num_blocks=(1, 1, 1, 1),
                num_extraction_blocks=1,
                num_align_layers=1,
                deform_groups=2,
                num_dksa_layers=1,
                reduction=2,
                with_channel_attention=kind == 'dksan',
                with_dksa=kind == 'dksan'))
    if kind == 'edvr':
        return randomise(
            ExtremeEDVRNet(
                mid_channels=8,
                num_frames=3,
                deform_groups=2,
                num_blocks_extraction=1,
                num_blocks_reconstruction=1,
                hr_channels=8))
    return randomise(
        ExtremeBasicVSRPlusPlusNet(
            mid_channels=8, num_blocks=1, num_frames=3, scale=8))


@pytest.mark.parametrize('kind, share', [('dksan', 0.8), ('dksan-plain', 0.8),
                                         ('edvr', 0.6), ('basicvsr', 0.6)])
def test_results_are_the_same_and_memory_less(kind, share):
    """Odd sizes: strips of unlike heights, and a first level of odd height,
    whose attention is not divided."""
    net = make_net(kind)
    x = torch.rand(2, 3, 3, 33, 21)

    def run():
        with torch.inference_mode():
            return net(x)

    device = torch.device('cpu')
    expected, whole = run(), peak_allocation(run, device)
    with strip_bytes(1):
        torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)
        assert peak_allocation(run, device) < share * whole


def test_large_maps_at_once_are_three():
    """Of the last level: what it adds to, what a block reads, what it makes;
    a plain build has five and one of four times as many channels."""
    net = make_net('dksan')
    x = torch.rand(1, 3, 3, 20, 36)
    one = 4 * 8 * (8 * 20) * (8 * 36)

    def run():
        with torch.inference_mode():
            return net(x)

    with strip_bytes(1):
        taken = peak_allocation(run, torch.device('cpu'))
    # images have 3 channels at twice the size: more than a third of a map;
    # with 128 channels they are a fiftieth
    image = 4 * 3 * (16 * 20) * (16 * 36)
    assert taken < 3.6 * one + 2 * image


def test_training_and_compiling_see_whole_maps():
    x = torch.rand(1, 2, 50, 3)
    with strip_bytes(1):
        assert row_strips(x, 2) is None
        with torch.no_grad():
            assert row_strips(x, 2) is not None
    with torch.no_grad():
        assert row_strips(x, 2) is None  # it is small


@pytest.mark.parametrize('height', [9, 16, 17, 57])
def test_strips_cover_all_rows_once(height):
    x = torch.rand(1, 2, height, 3)
    with torch.inference_mode(), strip_bytes(1):
        strips = list(row_strips(x, 2))
    seen = [i for rows, _, _ in strips for i in range(rows.start, rows.stop)]
    assert seen == list(range(height))
    for rows, around, core in strips:
        assert MIN_STRIP_ROWS // 2 <= rows.stop - rows.start <= MIN_STRIP_ROWS
        assert around == slice(
            max(rows.start - 2, 0), min(rows.stop + 2, height))
        picked = range(around.start, around.stop)[core]
        assert list(picked) == list(range(rows.start, rows.stop))


def test_size_of_strips():
    """Bytes of the largest map that a strip becomes."""
    x = torch.rand(2, 3, 100, 5)
    with torch.inference_mode(), strip_bytes(4 * 2 * 3 * 5 * 25 * 4):
        assert row_strips(x, 1) is None
        assert len(list(row_strips(x, 1, scale=2))) == 4
    with torch.inference_mode():
        with pytest.raises(RuntimeError), strip_bytes(1):
            raise RuntimeError
        assert row_strips(x, 1) is None  # as before


def test_each_thread_has_its_own_size():
    x = torch.rand(1, 2, 50, 3)

    @torch.no_grad()
    def is_divided():
        return row_strips(x, 2) is not None

    with ThreadPoolExecutor(1) as pool, strip_bytes(1):
        assert is_divided()
        assert not pool.submit(is_divided).result()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_layers_that_see_two_rows(dtype):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1)).to(dtype)
    x = torch.rand(2, 3, 41, 7).to(dtype)

    def compute(strip):
        return strip.trim(layers(strip.read(x)))

    with torch.inference_mode():
        expected = layers(x)
        with strip_bytes(1):
            out = in_strips(compute, x, halo=2)
            short = in_strips(compute, x, halo=1)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected)
    assert not torch.allclose(short, expected)


@pytest.mark.parametrize('kind', ['dksan', 'dksan-plain', 'edvr'])
@pytest.mark.parametrize('size', [(5, 9), (17, 30)])
def test_kept_features_have_the_bits_of_a_run(kind, size):
    net = make_net(kind)
    video = torch.rand(5, 3, *size)
    with torch.inference_mode():
        features = [net.extract_features(frame) for frame in video.split(1)]
        for t in range(1, 4):
            out = net.restore_features(features[t - 1:t + 2], video[t:t + 1])
            assert torch.equal(out, net(video[None, t - 1:t + 2]))


def test_features_of_batches():
    net = make_net('dksan')
    x = torch.rand(2, 3, 3, 6, 7)
    features = [net.extract_features(frame) for frame in x.unbind(1)]
    out = net.restore_features(features, x[:, 1])
    torch.testing.assert_close(out, net(x))
    out.sum().backward()
    assert net.extract[0].weight.grad.abs().max() > 0


def test_attention_at_half_the_size():
    """Strips of the upsampled attention are those of the whole."""
    x = torch.rand(1, 2, 40, 6)
    whole = F.interpolate(x, size=(80, 12), mode='bilinear')
    with torch.inference_mode(), strip_bytes(1):
        out = in_strips(
            lambda strip: strip.trim(
                F.interpolate(strip.read(x), scale_factor=2, mode='bilinear'),
                2),
            x,
            halo=2,
            scale=2)
        assert len(list(row_strips(x, 2, 2))) > 1
    torch.testing.assert_close(out, whole)
