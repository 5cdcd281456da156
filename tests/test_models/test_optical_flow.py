"""Optical flow, and the alignment that starts from it."""
import math

import pytest
import torch
from tiny_networks import make_network

from dksan_mm.models import optical_flow
from dksan_mm.models.dkc_align import DKCAlign
from dksan_mm.models.optical_flow import estimate_flow, warp


def positions(height, width):
    y, x = torch.meshgrid(
        torch.arange(height).double(),
        torch.arange(width).double(),
        indexing='ij')
    return torch.stack((x, y))


def scene(at):
    """Return a textured picture at any positions, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(3, *at.shape[1:], dtype=at.dtype)
    for channel in picture:
        for length in (7, 11, 19, 40, 90):
            angle, phase = 2 * math.pi * torch.rand(2, generator=generator)
            along = math.cos(angle) * at[0] + math.sin(angle) * at[1]
            channel += torch.sin(2 * math.pi * along / length + phase)
    return (0.5 + picture[None] / 12).float()


def camera(motion, size):
    """Return a picture, what a motion makes of it, and the true flow."""
    at = positions(*size)
    centre = at.new_tensor([size[1] - 1, size[0] - 1])[:, None, None] / 2
    around = at - centre
    if motion == 'zoom':
        flow = 0.05 * around
        source = around / 1.05 + centre
    elif motion == 'turn':
        c, s = math.cos(0.05), math.sin(0.05)
        flow = torch.stack((c * around[0] - s * around[1],
                            s * around[0] + c * around[1])) - around
        source = torch.stack((c * around[0] + s * around[1],
                              c * around[1] - s * around[0])) + centre
    else:
        flow = at.new_tensor(motion)[:, None, None].expand_as(at)
        source = at - flow
    return scene(at), scene(source), flow[None].float()


class TestFlow:

    @pytest.mark.parametrize(
        'motion, most', [((0., 0.), 1e-6), ((0.3, -0.6), 0.06),
                         ((2.4, 1.3), 0.05), ((-9.3, 7.6), 0.15),
                         ('zoom', 0.05), ('turn', 0.05)],
        ids=str)
    def test_motion_is_found(self, motion, most):
        reference, neighbour, flow = camera(motion, (72, 90))
        found = estimate_flow(reference, neighbour)
        error = (found - flow).norm(dim=1)[..., 12:-12, 12:-12]
        assert error.mean() < most

    def test_it_leads_to_what_is_equal(self):
        """And so does each of a batch."""
        pairs = [camera(motion, (40, 50))[:2] for motion in ((3., 0.), 'turn')]
        reference, neighbour = map(torch.cat, zip(*pairs))
        flow = estimate_flow(reference, neighbour)
        before = (neighbour - reference)[..., 6:-6, 6:-6].abs().mean()
        after = warp(neighbour, flow, 'bicubic') - reference
        assert after[..., 6:-6, 6:-6].abs().mean() < 0.1 * before
        for one, pair in zip(flow, pairs):
            torch.testing.assert_close(
                one, estimate_flow(*pair)[0], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize('size', [(1, 1), (1, 9), (5, 2), (17, 30)])
    def test_noise_stays_in_the_frame(self, size):
        """Whatever the frames are, of any size."""
        generator = torch.Generator().manual_seed(1)
        frames = torch.rand(2, 4, 3, *size, generator=generator)
        flow = estimate_flow(*frames)
        assert flow.shape == (4, 2, *size)
        reached = positions(*size) + flow
        assert (reached >= -1e-4).all()
        assert (reached[:, 0] < size[1] - 1 + 1e-4).all()
        assert (reached[:, 1] < size[0] - 1 + 1e-4).all()

    def test_nothing_is_found_where_nothing_is(self):
        grey, dark = torch.full((2, 1, 3, 20, 24), 0.5)
        assert not estimate_flow(grey, dark * 0.9).any()

    def test_edges_do_not_divide_by_zero(self):
        """Along an edge, motion cannot be seen, and rounding could make the
        determinant negative."""
        x = positions(32, 64)[:1].expand(3, -1, -1)[None].float()
        edge = torch.sigmoid(3 * (x - 32))
        flow = estimate_flow(edge, torch.sigmoid(3 * (x - 34)))
        assert flow[..., 30:34][:, 0].mean() == pytest.approx(2, abs=0.3)
        assert flow[:, 1].abs().max() < 0.1

    def test_dtype_and_gradients(self):
        reference, neighbour, _ = camera((1., 2.), (24, 24))
        exact = estimate_flow(reference.double(), neighbour.double())
        assert exact.dtype == torch.float64
        found = estimate_flow(reference.requires_grad_(), neighbour)
        assert not found.requires_grad
        torch.testing.assert_close(found, exact.float(), rtol=1e-2, atol=1e-2)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_short_frames_are_computed_in_float32(self, dtype):
        reference, neighbour, _ = camera((1., 2.), (24, 24))
        reference[..., 16:], neighbour[..., 16:] = 0.5, 0.5  # flat
        reference, neighbour = reference.to(dtype), neighbour.to(dtype)
        found = estimate_flow(reference, neighbour)
        assert torch.equal(found,
                           estimate_flow(reference.float(), neighbour.float()))
        assert found.isfinite().all()

    def test_autocast_changes_nothing(self):
        reference, neighbour, _ = camera('turn', (24, 40))
        expected = estimate_flow(reference, neighbour)
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(estimate_flow(reference, neighbour), expected)


@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('shape', [(1, 1), (2, 7), (9, 4)])
def test_means_on_cpus_are_those_elsewhere(size, shape, monkeypatch):
    x = torch.rand(2, 3, *shape)
    found = optical_flow._means(x, size)
    monkeypatch.setattr(torch.compiler, 'is_exporting', lambda: True)
    torch.testing.assert_close(found, optical_flow._means(x, size))


class TestAlignment:

    @pytest.fixture
    def align(self):
        """Passes neighbours on: offsets of zero, masks of a half."""
        torch.manual_seed(0)
        align = DKCAlign(8, num_layers=1, deform_groups=2)
        conv = align.deform_conv
        with torch.no_grad():
            conv.weight.zero_()
            conv.weight[range(8), range(8), 1, 1] = 2
        return align

    @pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
    def test_offsets_are_added_to_the_flow(self, align, dtype):
        """And keep its precision: 17.3 is no bfloat16 number."""
        for module in align.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.to(dtype)
        features = torch.rand(1, 8, 12, 50, dtype=dtype)
        flow = torch.tensor([17.3, 2.]).view(1, 2, 1, 1).expand(1, 2, 12, 50)
        with torch.no_grad():
            out = align(features, torch.rand_like(features), flow)
        inside = slice(0, 9), slice(0, 32)
        torch.testing.assert_close(
            out[..., inside[0], inside[1]].float(),
            warp(features.float(), flow)[..., inside[0], inside[1]],
            rtol=1e-2,
            atol=1e-2)

    def test_the_guide_is_warped(self, align):
        """Offsets and masks are predicted from what lies on the reference."""
        seen = []
        align.fuse.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0]))
        features, reference = torch.rand(2, 1, 8, 9, 9)
        flow = torch.ones(1, 2, 9, 9)
        with torch.no_grad():
            align(features, reference, flow)
        torch.testing.assert_close(
            seen[0], torch.cat((warp(features, flow), reference), 1))
        torch.testing.assert_close(seen[0][..., :8, :8][:, :8],
                                   features[..., 1:, 1:])


def test_weights_are_those_of_the_paper():
    guided, plain = make_network('dksan-flow-guided'), make_network('dksan')
    assert guided.flow_guided and not plain.flow_guided
    guided.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 3, 8, 9)
    with torch.no_grad():
        assert not torch.allclose(guided(x), plain(x))
        # nothing moves in a still picture
        still = x[:, :1].expand_as(x)
        torch.testing.assert_close(guided(still), plain(still))
    # one frame alone has no flow
    assert not make_network('dksan-flow-guided', num_frames=1).flow_guided
