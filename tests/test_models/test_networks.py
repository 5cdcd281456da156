"""What restoring, training and the tables ask of any network."""
import copy
import pickle

import pytest
import torch
from mmagic.registry import MODELS
from tiny_networks import KINDS, make_network
from torch import nn

from dksan_mm.models.strips import strip_bytes

WITH_WEIGHTS = [kind for kind in KINDS if kind != 'bicubic']
TRAINED = [kind for kind in WITH_WEIGHTS if kind != 'ensemble']
SEVERAL_FRAMES = [kind for kind in WITH_WEIGHTS if 'one-frame' not in kind]
KEEP_FEATURES = [
    kind for kind in TRAINED if hasattr(KINDS[kind][0], 'extract_features')
]


def frames_of(net):
    return getattr(net, 'generator', net).num_frames


def window(net, *size, n=1):
    """Return a window as ``net`` reads it, (N, T, 3, H, W)."""
    return torch.rand(
        n,
        frames_of(net),
        3,
        *size,
        generator=torch.Generator().manual_seed(0))


def by_file(net, path):
    """Return a network of its own with the weights of a file."""
    torch.save(net.state_dict(), path)
    other = copy.deepcopy(net)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(torch.load(path))
    return other


@pytest.mark.parametrize('kind', KINDS)
class TestEveryNetwork:

    @pytest.fixture
    def net(self, kind):
        return make_network(kind)

    @pytest.mark.parametrize('size', [(1, 1), (1, 2), (3, 5), (4, 4), (6, 1)])
    def test_any_size(self, net, size):
        scale = getattr(net, 'generator', net).scale
        with torch.no_grad():
            out = net(window(net, *size, n=2))
        assert out.shape == (2, 3, scale * size[0], scale * size[1])
        assert out.isfinite().all()

    def test_batch_equals_its_parts(self, net):
        x = window(net, 5, 4, n=3)
        with torch.no_grad():
            parts = torch.cat([net(part) for part in x.split(1)])
            torch.testing.assert_close(net(x), parts, rtol=1e-4, atol=1e-5)

    def test_double_precision(self, net):
        x = window(net, 5, 6)
        with torch.no_grad():
            single, double = net(x), net.double()(x.double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(
            single.double(), double, rtol=1e-4, atol=1e-4)

    def test_autocast(self, net, kind):
        """The image, to which the network adds, keeps its precision."""
        x = window(net, 9, 10)
        # the ensemble is for inference alone
        with torch.set_grad_enabled(kind in TRAINED):
            expected = net(x)
            with torch.autocast('cpu', torch.bfloat16):
                out = net(x)
        assert out.dtype == torch.float32
        difference = (out - expected).abs().max()
        assert difference < 0.2 * expected.std()
        if kind in TRAINED:
            assert difference > 0
            out.sum().backward()
            assert all(p.grad.isfinite().all() for p in net.parameters())

    def test_memory_formats(self, net):
        """Of the weights, at first channels-last, and of the window."""
        assert all(
            module.weight.is_contiguous(memory_format=torch.channels_last)
            for module in net.modules() if isinstance(module, nn.Conv2d))
        x = window(net, 5, 6, n=2)
        with torch.no_grad():
            expected = net(x)
            for memory_format in (torch.channels_last,
                                  torch.contiguous_format):
                torch.testing.assert_close(
                    net.to(memory_format=memory_format)(x), expected)
            frames_last = x.transpose(1, 4).contiguous().transpose(1, 4)
            torch.testing.assert_close(net(frames_last), expected)

    def test_inference_equals_training(self, net, kind):
        """Inference writes over its operands, and over nothing else."""
        x = window(net, 6, 7, n=2)
        given = x.clone()
        with torch.set_grad_enabled(kind in TRAINED):
            expected = net(x)
        with torch.inference_mode():
            actual = net(x)
        torch.testing.assert_close(actual, expected)
        assert torch.equal(x, given)

    def test_strips(self, net):
        """Strips of unlike heights, and levels of odd height."""
        x = window(net, 33, 5)
        with torch.inference_mode():
            expected = net(x)
            with strip_bytes(1):
                out = net(x)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        'make', [
            by_file, lambda net, path: pickle.loads(pickle.dumps(net)),
            lambda net, path: copy.deepcopy(net)
        ],
        ids=['file', 'pickle', 'deepcopy'])
    def test_a_copy_has_its_bits(self, net, make, tmp_path):
        x = window(net, 5, 6)
        with torch.no_grad():
            expected = net(x)
            other = make(net, tmp_path / 'net.pth')
            assert torch.equal(other(x), expected)
            # it is another network
            for parameter in other.parameters():
                parameter.add_(1)
            assert torch.equal(net(x), expected)

    def test_registered(self, net, kind):
        if kind != 'ensemble':
            kwargs = KINDS[kind][1]
            built = MODELS.build(dict(type=type(net).__name__, **kwargs))
            assert type(built) is type(net)
            assert built.state_dict().keys() == net.state_dict().keys()


@pytest.mark.parametrize('kind', WITH_WEIGHTS)
@pytest.mark.parametrize(
    'change', [
        lambda x: x[:, :, :1].expand(-1, -1, 4, -1, -1),
        lambda x: torch.cat((x, x[:, :1]), 1),
        lambda x: x[:, 1:],
        lambda x: x[..., :0],
        lambda x: x[..., 0],
    ],
    ids=['C', 'T + 1', 'T - 1', 'W', 'dimensions'])
def test_wrong_shape_is_refused(kind, change):
    """And leaves no trace."""
    net = make_network(kind)
    x = window(net, 4, 5)
    with torch.no_grad():
        expected = net(x)
        with pytest.raises(ValueError, match='x must have shape .*, got'):
            net(change(x))
        assert torch.equal(net(x), expected)


@pytest.mark.parametrize('kind', ['edvr', 'basicvsr', 'bicubic'])
def test_takes_the_middle_of_a_longer_window(kind):
    net = make_network(kind)
    x, other = torch.rand(2, 2, 7, 3, 5, 4)
    frames = frames_of(net)
    middle = slice(3 - frames // 2, 4 + frames // 2)
    other[:, middle] = x[:, middle]
    with torch.no_grad():
        out = net(x)
        assert torch.equal(net(x[:, middle]), out)
        assert torch.equal(net(other), out)


@pytest.mark.parametrize('kind', SEVERAL_FRAMES)
def test_every_frame_and_their_order_matter(kind):
    net = make_network(kind, num_frames=5)
    x = window(net, 4, 6)
    with torch.no_grad():
        out = net(x)
        for frame in range(5):
            changed = x.clone()
            changed[:, frame] = 1 - x[:, frame]
            assert not torch.equal(net(changed), out)
        # the ensemble has both
        same = torch.allclose(net(x.flip(1)), out)
        assert same == (kind == 'ensemble')


@pytest.mark.parametrize('kind, changes', [
    *[(kind, {}) for kind in TRAINED],
    ('dksan', dict(with_alignment=False)),
    ('dksan', dict(with_dksa=False)),
    ('dksan', dict(with_channel_attention=False)),
])
def test_every_parameter_gets_a_gradient(kind, changes):
    net = make_network(kind, **changes)
    net(window(net, 12, 16)).square().sum().backward()
    without = [
        name for name, p in net.named_parameters()
        if p.grad is None or p.grad.abs().max() == 0
    ]
    assert without == []


@pytest.mark.parametrize('kind', KEEP_FEATURES)
class TestKeptFeatures:
    """Of each frame once, for all windows that it is in."""

    @pytest.mark.parametrize('size', [(5, 9), (17, 30)])
    def test_bits_of_a_run(self, kind, size):
        net = make_network(kind)
        reach = net.num_frames // 2
        video = torch.rand(net.num_frames + 2, 3, *size)
        with torch.inference_mode():
            features = [net.extract_features(x) for x in video.split(1)]
            for t in range(reach, len(video) - reach):
                around = slice(t - reach, t + reach + 1)
                out = net.restore_features(features[around], video[t:t + 1])
                assert torch.equal(out, net(video[None, around]))

    def test_batches(self, kind):
        net = make_network(kind)
        x = window(net, 6, 7, n=2)
        features = [net.extract_features(frame) for frame in x.unbind(1)]
        out = net.restore_features(features, x[:, net.num_frames // 2])
        torch.testing.assert_close(out, net(x))
        out.sum().backward()
        first = next(net.parameters())
        assert first.grad.abs().max() > 0
