"""Large features in strips: same results, less memory, any layers."""
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import make_network
from torch import nn

from dksan_mm.models.strips import (MIN_STRIP_ROWS, in_strips, row_strips,
                                    strip_bytes)
from dksan_mm.utils.benchmark import peak_allocation


def make_net(kind):
    """Return a network of which the last features are large."""
    changes = dict(
        edvr=dict(hr_channels=8), basicvsr=dict(scale=8)).get(
            kind, dict(mid_channels=8, num_blocks=(1, 1, 1, 1)))
    return make_network(kind, **changes)


@pytest.mark.parametrize('kind, share', [('dksan', 0.8), ('dksan-plain', 0.8),
                                         ('edvr', 0.6), ('basicvsr', 0.6)])
def test_memory_is_less(kind, share):
    """And results are the same, also of large features: odd sizes, strips of
    unlike heights, and a first level of odd height, whose attention is not
    divided."""
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
