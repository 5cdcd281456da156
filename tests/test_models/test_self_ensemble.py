"""Self-ensemble: symmetry, memory, and the hook that puts it in place."""
import weakref
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import make_network
from torch import nn

from dksan_mm.evaluation import SelfEnsembleHook
from dksan_mm.models import BicubicUpsampler, SelfEnsemble
from dksan_mm.utils.benchmark import peak_allocation

SYMMETRIES = [
    lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-2, -1),
    lambda x: x.flip(-1).transpose(-2, -1)
]


class Lopsided(nn.Module):
    """Treats right and left, up and down, rows and columns and the frames of
    the window all differently; counts its runs."""

    def __init__(self, scale=2):
        super().__init__()
        self.scale = scale
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        x = x[:, 0] + 2 * x[:, 1] + 4 * x[:, 2]
        x = F.interpolate(x, scale_factor=self.scale)
        return x + 0.5 * x.roll(1, -1)**2 - 0.25 * x.roll(-2, -2)**2


def window(*shape, dtype=torch.float64):
    return torch.rand(
        shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize('temporal', [False, True])
def test_bicubic_is_equal_to_its_ensemble(temporal):
    bicubic = BicubicUpsampler(4)
    x = window(2, 5, 3, 6, 9, dtype=torch.float32)
    torch.testing.assert_close(
        SelfEnsemble(bicubic, temporal)(x), bicubic(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize('symmetry', SYMMETRIES)
def test_result_is_symmetric(symmetry):
    generator = Lopsided()
    ensemble = SelfEnsemble(generator)
    x = window(2, 3, 3, 6, 9)
    assert (generator(symmetry(x)) - symmetry(generator(x))).abs().max() > 0.1
    torch.testing.assert_close(ensemble(symmetry(x)), symmetry(ensemble(x)))
    # in time it is as lopsided as before
    assert (ensemble(x.flip(1)) - ensemble(x)).abs().max() > 0.1


def test_result_is_symmetric_in_time():
    ensemble = SelfEnsemble(Lopsided(), temporal=True)
    x = window(1, 3, 3, 6, 9)
    torch.testing.assert_close(ensemble(x.flip(1)), ensemble(x))
    torch.testing.assert_close(ensemble(x.flip(-1)), ensemble(x).flip(-1))


@pytest.mark.parametrize('temporal, runs', [(False, 8), (True, 16)])
def test_it_is_the_mean_of_all_views(temporal, runs):
    """A generator that picks one pixel: each of the corners counts twice."""

    class Corner(nn.Module):

        def forward(self, x):
            mask = torch.zeros_like(x[:, 1])
            mask[..., 0, 0] = 1
            return x[:, 0] * mask

    generator = Lopsided()
    SelfEnsemble(generator, temporal)(window(1, 3, 3, 4, 5))
    assert generator.runs == runs
    x = window(1, 3, 2, 4, 5)
    expected = torch.zeros_like(x[:, 0])
    first = (x[:, 0] + x[:, 2]) / 2 if temporal else x[:, 0]
    for row in (0, -1):
        for column in (0, -1):
            expected[..., row, column] = first[..., row, column] / 4
    torch.testing.assert_close(SelfEnsemble(Corner(), temporal)(x), expected)


def test_neither_input_nor_the_generators_own_tensors_change():

    class Keeps(nn.Module):
        kept = window(1, 3, 4, 4)

        def forward(self, x):
            return self.kept

    class Middle(nn.Module):

        def forward(self, x):
            return x[:, 1]

    x = window(1, 3, 3, 4, 4)
    before, kept = x.clone(), Keeps.kept.clone()
    SelfEnsemble(Keeps())(x)
    assert torch.equal(Keeps.kept, kept)
    torch.testing.assert_close(SelfEnsemble(Middle())(x), before[:, 1])
    assert torch.equal(x, before)


def test_half_precision_is_added_up_in_single():
    x = window(1, 3, 3, 4, 5).to(torch.bfloat16)
    assert SelfEnsemble(Lopsided())(x).dtype == torch.float32


def test_reversal_needs_a_middle_frame():
    with pytest.raises(ValueError, match='odd number of frames.*got 4'):
        SelfEnsemble(Lopsided(), temporal=True)(window(1, 4, 3, 4, 5))


def test_results_are_not_kept():
    """While one view runs, the results of all before it are gone."""
    alive = []

    class Watched(nn.Module):

        def forward(self, x):
            assert sum(result() is not None for result in alive) == 0
            result = F.interpolate(x[:, 1], scale_factor=2)
            alive.append(weakref.ref(result))
            return result

    SelfEnsemble(Watched(), temporal=True)(window(1, 3, 3, 4, 5))
    assert len(alive) == 16


def test_memory_is_a_sum_and_a_result():

    class Enlarge(nn.Module):

        def forward(self, x):
            return x.new_ones(1, 3, 16 * x.shape[-2], 16 * x.shape[-1])

    x = window(1, 3, 3, 16, 24, dtype=torch.float32)
    device = torch.device('cpu')
    one = peak_allocation(lambda: Enlarge()(x), device)
    eight = peak_allocation(lambda: SelfEnsemble(Enlarge(), True)(x), device)
    assert one == 3 * 256 * 384 * 4
    # the sum, a result, a channel turned back, and a few LR windows
    assert 2 * one <= eight < 2.45 * one


def test_hook_wraps_for_the_test_alone():
    """Before and after it a checkpoint fits, and weights are the same ones."""
    net = make_network('dksan')
    restorer = nn.Module()
    restorer.generator = net
    runner = SimpleNamespace(model=restorer)
    keys = list(restorer.state_dict())
    hook = SelfEnsembleHook(temporal=True)
    hook.before_test(runner)
    assert isinstance(restorer.generator, SelfEnsemble)
    assert restorer.generator.temporal and restorer.generator.generator is net
    assert {id(p)
            for p in restorer.parameters()
            } == {id(p)
                  for p in net.parameters()}
    hook.after_test(runner)
    assert restorer.generator is net and list(restorer.state_dict()) == keys


def test_networks_that_restore_all_frames():
    """Reversed windows come back in order, of any number of frames: a
    network that adds to each frame the one before it."""

    class Recurrent(torch.nn.Module):

        def forward(self, x):
            return x + torch.cat((x[:, :1], x[:, :-1]), 1)

    x = torch.rand(2, 4, 3, 5, 6)
    found = SelfEnsemble(Recurrent(), temporal=True)(x)
    forward = Recurrent()(x)
    backward = Recurrent()(x.flip(1)).flip(1)
    assert torch.allclose(found, (forward + backward) / 2, atol=1e-6)
