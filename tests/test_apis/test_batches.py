"""Batches that choose themselves; here the GPU is pretended."""
import importlib
import json

import numpy as np
import pytest
import torch
from test_window_restorer import make_model
from tiny_model import SIZE, decode, restore, restore_at_once

from dksan_mm.apis import estimate, job, processes, window_restorer
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.apis.window_restorer import WindowRestorer

ALWAYS_FASTER = {1: 16., 2: 8., 4: 4., 8: 2., 16: 1.}
ENOUGH = 2**40


@pytest.fixture(scope='module')
def tiny():
    return make_model('dksan-plain')


@pytest.fixture
def gpu(monkeypatch, tiny):
    """Return a function that makes a restorer on a pretended GPU: a frame
    takes the times given, by batch, and memory is what is given."""

    def make(times, free=ENOUGH, **options):
        restorer = WindowRestorer(tiny, **options)
        restorer._device = torch.device('cuda')
        restorer.ran = []
        restore = restorer._network.restore

        def watched(windows, *args):
            assert {len(window) for window in windows} == {7}
            restorer.ran.append(len(windows))
            return restore(windows, *args)

        def time_once(run, device):
            assert device.type == 'cuda'
            run()
            took = times[restorer.ran[-1]]
            if took is None:
                raise torch.OutOfMemoryError('CUDA out of memory')
            return took * restorer.ran[-1]

        restorer._network.restore = watched
        restorer._network.measure_memory = lambda batch: (
            lambda height, width: 1000 * batch * height * width)
        monkeypatch.setattr(window_restorer.bench, 'time_once', time_once)
        monkeypatch.setattr(window_restorer, '_free_memory',
                            lambda device: free)
        return restorer

    return make


@pytest.mark.parametrize('times, batch, tried', [
    ({1: 10., 2: 9.6}, 1, [1, 2]),
    ({1: 10., 2: 9.5, 4: 9.4}, 2, [1, 2, 4]),
    ({1: 10., 2: 7., 4: 6., 8: 5.8}, 4, [1, 2, 4, 8]),
    (ALWAYS_FASTER, 8, [1, 2, 4, 8]),
    ({1: 10., 2: 7., 4: None}, 2, [1, 2, 4]),
])  # yapf: disable
def test_a_batch_grows_while_it_pays(times, batch, tried, gpu):
    restorer = gpu(times)
    text = restorer.choose_batch(*SIZE, 1000)
    assert restorer.batch == batch
    assert list(dict.fromkeys(restorer.ran)) == tried
    assert text.startswith(f'batch {batch} (--batch) by trial, a frame takes')
    for size, time in times.items():
        if time is None:
            assert f'batches of {size} do not fit into memory' in text
        elif size in tried:
            assert f'{time:.3g} ms in batches of {size}' in text


# height, width, and bytes of a window as large in the stand-in below
LARGE = 40, 52
WINDOW = 1000 * 40 * 52


@pytest.mark.parametrize('limited', [False, True])
def test_a_batch_grows_while_it_fits(limited, gpu):
    """Into the free memory, or that which is allowed."""
    if limited:
        restorer = gpu(ALWAYS_FASTER, max_memory=3 * WINDOW)
    else:
        restorer = gpu(ALWAYS_FASTER, 3 * WINDOW)
    text = restorer.choose_batch(*LARGE, 1000)
    assert restorer.batch == 2 and restorer.tile_for(*LARGE) is None
    assert {*restorer.ran} == {1, 2}  # nothing else was run
    assert 'batches of 4 do not fit into memory' in text


def test_it_is_the_tile_that_must_fit(gpu):
    options = dict(tile=20, tile_overlap=8)
    restorer = gpu(ALWAYS_FASTER, **options)
    restorer.use_batch(8)
    # three by four tiles need be no larger than this
    needed = restorer._held(*LARGE) + 8 * 1000 * 19 * 19
    assert WINDOW < needed < 8 * WINDOW
    for free, batch in ((needed, 8), (needed - 1, 4)):
        restorer = gpu(ALWAYS_FASTER, free, **options)
        restorer.choose_batch(*LARGE, 1000)
        assert restorer.batch == batch


def test_tiles_do_not_shrink_for_a_batch(gpu):
    """They were the largest that fit: then larger batches do not."""
    restorer = gpu(ALWAYS_FASTER, max_memory=WINDOW - 1, tile_overlap=4)
    tile = restorer.tile_for(*LARGE)
    restorer.choose_batch(*LARGE, 1000)
    assert restorer.batch == 1 and restorer.tile_for(*LARGE) == tile
    restorer.use_batch(2)
    assert restorer.tile_for(*LARGE) < tile


@pytest.mark.parametrize('case', ['cpu', 'compile', 'deterministic', 'short'])
def test_where_there_is_nothing_to_try(case, gpu, monkeypatch):
    restorer = gpu({}, compile=case == 'compile')
    frames = 127 if case == 'short' else 1000
    if case == 'cpu':
        restorer._device = torch.device('cpu')
    if case == 'deterministic':
        monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    assert restorer.choose_batch(*SIZE, frames) is None
    assert restorer.batch == 1 and not restorer.ran


# Of a job


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(job, 'print_log', lambda text, _: lines.append(text))
    return lines


def choosing(monkeypatch, batch):
    """Let a GPU's trials find a batch; return what was asked for."""
    asked = []

    def choose(self, *args):
        asked.append(args)
        self.use_batch(batch)
        return f'batch {batch} (--batch) by trial'

    monkeypatch.setattr(WindowRestorer, 'choose_batch', choose)
    return asked


def stopped(monkeypatch, model, source, output, **options):
    """Run all but the end; return the settings on disk."""
    with monkeypatch.context() as patch:
        patch.setattr(job.Job, 'publish', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            restore(model, source, output, **options)
    with open(f'{output}.partial/settings.json') as file:
        return json.load(file)['options']


def test_a_resumed_run_keeps_it(monkeypatch, tmp_path, model, source, log):
    output = tmp_path / 'out.mkv'
    asked = choosing(monkeypatch, 4)
    settings = stopped(monkeypatch, model, source, output)
    assert (settings['batch'], settings['segment']) == (4, 8)
    assert asked == [(*SIZE, 23)]
    assert log == [f'{output}: batch 4 (--batch) by trial']
    choosing(monkeypatch, 2)  # what another card would find
    with pytest.raises(ValueError, match='options.batch 3 instead of 4'):
        restore(model, source, output, resume=True, batch=3)
    summary = restore(model, source, output, resume=True)
    assert (summary.reused, summary.segments) == (3, 3)
    assert log[1:] == [f'{output}: goes on with batch 4']
    expected = restore_at_once(model, source, batch=4)
    np.testing.assert_array_equal(decode(output), expected)


def test_a_number_wins(monkeypatch, tmp_path, model, source, log):
    asked = choosing(monkeypatch, 4)
    settings = stopped(
        monkeypatch, model, source, tmp_path / 'out.mkv', batch=2)
    assert (settings['batch'], settings['segment']) == (2, 6)
    assert not asked and not log


def test_on_a_cpu_it_is_one(monkeypatch, tmp_path, model, source, log):
    settings = stopped(monkeypatch, model, source, tmp_path / 'out.mkv')
    assert (settings['batch'], settings['segment']) == (1, 5)
    assert not log


def test_what_is_there_needs_no_trial(monkeypatch, tmp_path, model, source):
    output = tmp_path / 'out.mkv'
    restore(model, source, output)
    asked = choosing(monkeypatch, 4)
    assert restore(model, source, output, resume=True).was_there
    with pytest.raises(ValueError, match='already exists'):
        restore(model, source, output)
    assert not asked


def test_other_processes_are_told(monkeypatch, tmp_path, model, source):
    """The first one's choice, and no trials of their own."""
    asked = choosing(monkeypatch, 8)
    monkeypatch.setattr(processes, 'done_first', lambda work: [])
    told = [4, None]  # the batch, and the tile
    monkeypatch.setattr(processes, 'from_first', lambda value: told.pop(0))
    jobs = []
    module = importlib.import_module('dksan_mm.apis.restore_video')
    monkeypatch.setattr(module, '_restore',
                        lambda job, *args: jobs.append(job) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        restore_video(model, source, tmp_path / 'out.mkv', dtype='fp32')
    assert jobs[0].restorer.batch == 4 and not asked


@pytest.mark.parametrize('batch, runs', [(1, [2, 8]), (4, [4, 16])])
def test_an_estimate_is_of_whole_batches(batch, runs, monkeypatch, tmp_path,
                                         model, source):
    """Chosen once, for the whole video."""
    asked = choosing(monkeypatch, batch)
    made = []
    module = importlib.import_module('dksan_mm.apis.estimate')

    def watched(*args):
        made.append((args[3].batch, restore_video(*args)))
        return made[-1][1]

    monkeypatch.setattr(module, 'restore_video', watched)
    text = estimate(
        model, source, tmp_path / 'out.mkv', codec='ffv1', dtype='fp32')
    assert '23 frames, about ' in text
    assert asked == [(*SIZE, 23)]
    assert [(used, run.frames) for used, run in made] == [(batch, frames)
                                                          for frames in runs]
