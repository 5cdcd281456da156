"""CUDA graphs of a network; here they are pretended."""
import json

import numpy as np
import pytest
import torch
from pretended_graphs import WAITING, PretendedGraphs, tensors
from test_window_restorer import Restorer, make_clip, make_model, restore
from tiny_model import data
from tiny_model import restore as restore_file
from tiny_networks import KINDS, make_network
from torch._subclasses.fake_tensor import (DataDependentOutputException,
                                           FakeTensorMode)
from torch.utils._python_dispatch import TorchDispatchMode

from dksan_mm.apis import cuda_graphs, job, network
from dksan_mm.apis.cuda_graphs import CudaGraphs
from dksan_mm.apis.window_restorer import WindowRestorer
from dksan_mm.models import BicubicUpsampler

GPU = torch.device('cuda')


@pytest.fixture
def pretended(monkeypatch):
    """Let graphs be made on the CPU; return what is captured."""
    monkeypatch.setattr(network, 'CudaGraphs', lambda device: CudaGraphs(GPU))
    return PretendedGraphs().patch(monkeypatch)


def make(kind):
    return Restorer(
        BicubicUpsampler(4)) if kind == 'bicubic' else make_model(kind)


@pytest.mark.parametrize('kind, options, graphs', [
    ('dksan', {}, 2),
    ('dksan', dict(batch=3), 3),
    ('dksan', dict(tile=12, tile_overlap=4, batch=4), 2),
    ('dksan', dict(ensemble=True), 1),
    ('dksan', dict(dtype='bf16'), 2),
    ('edvr', {}, 2),
    ('edvr', dict(tile=12, tile_overlap=4), 5),
    ('basicvsr', {}, 1),
    ('basicvsr', dict(dtype='bf16'), 1),
    ('bicubic', {}, 1),
])
def test_same_bits_as_without(kind, options, graphs, pretended):
    """Features are kept from window to window, whatever is replayed. There is
    a graph for the features, one for windows, one for fewer of them at the
    end; EDVR's tiles begin at multiples of 4, so that the last ones have
    other sizes."""
    model, clip = make(kind), make_clip(4)
    out = restore(model, clip, cuda_graph=True, **options)
    np.testing.assert_array_equal(out, restore(model, clip, **options))
    assert len(pretended.graphs) == graphs
    assert all(graph.replays for graph in pretended.graphs)


class Watch(TorchDispatchMode):
    """Notes what waits for a GPU, or takes anything from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        places = {x.device.type for x in tensors((args, kwargs, out))}
        if places - {'cuda'} or func.name().split('.')[0] in WAITING:
            self.found.append(func.name())
        return out


def watch(net, shape):
    """Run a network on the shapes of a GPU's tensors; return what is found."""
    weights = net.state_dict()
    with FakeTensorMode() as mode, torch.no_grad():
        weights = {
            key: mode.from_tensor(value).to(GPU)
            for key, value in weights.items()
        }
        x = torch.empty(shape, device=GPU)
        with Watch() as watched:
            out = torch.func.functional_call(net, weights, x)
    assert out.device.type == 'cuda'
    return watched.found


@pytest.mark.parametrize('kind', KINDS)
def test_networks_do_not_wait_for_a_gpu(kind, monkeypatch):
    """Nor copy from the host: what graphs require."""
    # what knows no shapes without a driver: MMagic casts by a type's name
    monkeypatch.setattr(torch.backends.cudnn, 'enabled', False)
    cast = torch.Tensor.type
    monkeypatch.setattr(
        torch.Tensor, 'type', lambda x, *kind: x.float()
        if kind == ('torch.cuda.FloatTensor', ) else cast(x, *kind))
    frames = 1 if kind == 'dksan-of-one-frame' else 3
    assert watch(make_network(kind), (2, frames, 3, 18, 22)) == []


def test_the_watch_sees_what_comes_from_the_host_and_goes_there():

    class Copying(torch.nn.Module):

        def forward(self, x):
            return x * torch.ones(1).to(x.device)

    class Asking(torch.nn.Module):

        def forward(self, x):
            return x if x.sum() > 0 else -x

    assert watch(Copying(), (2, 3))
    with pytest.raises(DataDependentOutputException):
        watch(Asking(), (2, 3))


def test_a_video_after_another(pretended):
    """Of another size, then of the first one again."""
    model = make_model()
    graphs = WindowRestorer(model, cuda_graph=True)
    plain = WindowRestorer(model)
    for size in ((18, 22), (22, 18), (18, 22)):
        clip = make_clip(3, size=size)
        out, expected = ([*restorer.restore(iter(clip), 0, 3, 3, 0)]
                         for restorer in (graphs, plain))
        np.testing.assert_array_equal(out, expected)
    assert len(pretended.graphs) == 4


def test_few_are_kept(pretended, monkeypatch):
    """What is beyond runs without."""
    monkeypatch.setattr(cuda_graphs, 'MOST_GRAPHS', 1)
    model, clip = make_model(), make_clip(4)
    out = restore(model, clip, cuda_graph=True)
    np.testing.assert_array_equal(out, restore(model, clip))
    assert len(pretended.graphs) == 1


def test_results_have_memory_of_their_own(pretended):
    """Nested as they are, and in their memory format."""
    graphs = CudaGraphs(GPU)

    def double(pair, other):
        return [x * 2 for x in pair] + [[other + 1]]

    def ask(value):
        x = torch.full((1, 2, 3, 4), value)
        return graphs.call('double', double,
                           [x, x.to(memory_format=torch.channels_last)], x)

    with torch.inference_mode():
        first, second = ask(1.), ask(5.)
        assert graphs.call('other', torch.neg,
                           torch.ones(2)).tolist() == [-1] * 2
    for (plain, last, (other, )), value in ((first, 1.), (second, 5.)):
        assert (plain == 2 * value).all() and (other == value + 1).all()
        assert torch.equal(last, plain)
        assert last.is_contiguous(memory_format=torch.channels_last)
    assert len(pretended.graphs) == 2


def test_what_cannot_be_captured(pretended):
    with torch.inference_mode(), pytest.raises(
            ValueError, match=r'--cuda-graph\) must be left out .* forward'):
        CudaGraphs(GPU).call('forward', lambda x: x * float(x.sum().item()),
                             torch.ones(2))

    def fail(x):
        raise torch.OutOfMemoryError('CUDA out of memory')

    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
        CudaGraphs(GPU).call('forward', fail, torch.ones(2))


def test_measuring_captures_nothing(pretended):
    restorer = WindowRestorer(make_model(), cuda_graph=True)
    restorer.estimate_memory(18, 22)
    restorer._network.frame_bytes(18, 22)
    assert not pretended.graphs


def test_copies_are_in_the_estimate(pretended):
    model = make_model()
    for tile in (None, 12):
        options = dict(batch=4, tile=tile)
        plain, graphs = (
            WindowRestorer(model, cuda_graph=with_graphs, **options)
            for with_graphs in (False, True))
        size = (18, 22) if tile is None else (12, 12)
        features = 4 * 7 * (3 + 8) * 4 * size[0] * size[1]
        result = 4 * 3 * 4 * 16 * size[0] * size[1]
        assert graphs._needed((18, 22), tile) == plain._needed(
            (18, 22), tile) + features + result


def test_another_batch_begins_anew(pretended, monkeypatch):
    """What trials captured takes no place, and no memory."""
    monkeypatch.setattr(cuda_graphs, 'MOST_GRAPHS', 2)
    model, clip = make_model(), make_clip(4)
    restorer = WindowRestorer(model, cuda_graph=True)
    for batch in (1, 2):
        restorer.use_batch(batch)
        list(restorer.restore(iter(clip), 0, 4, 4, 0))
    assert len(pretended.graphs) == 4
    kept = restorer._network._graphs._graphs.values()
    assert [held.graph for held in kept] == pretended.graphs[2:]
    assert pretended.graphs[0].pool is not pretended.graphs[2].pool
    assert pretended.graphs[2].pool is pretended.graphs[3].pool


def test_of_a_job(pretended, tmp_path, model, source, undisturbed,
                  monkeypatch):
    output = tmp_path / 'out.mkv'
    with monkeypatch.context() as patch:
        patch.setattr(job.Job, 'publish', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            restore_file(model, source, output, cuda_graph=True)
    with open(f'{output}.partial/settings.json') as file:
        assert json.load(file)['options']['cuda_graph'] is True
    with pytest.raises(
            ValueError, match='options.cuda_graph false instead of true'):
        restore_file(model, source, output, resume=True)
    restore_file(model, source, output, resume=True, cuda_graph=True)
    assert data(output) == data(undisturbed)
    assert pretended.graphs


@pytest.mark.parametrize('options, message', [
    ({}, r'cuda_graph \(--cuda-graph\) must be left out on cpu: .*GPU'),
    (dict(compile=True), r'not be given with compile \(--compile\); leave'),
    (dict(max_memory=2**30), r'with max_memory \(--max-memory\); leave one'),
])
def test_exception(options, message):
    with pytest.raises(ValueError, match=message):
        WindowRestorer(make_model('dksan-plain'), cuda_graph=True, **options)
