"""Runs that are stopped, at any moment, and gone on with."""
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from raw_material import make_frames, write_video
from tiny_model import (SIZE, data, decode, listing, restore, restore_at_once,
                        restore_unjoined)

from dksan_mm.apis import pipeline, read_frames
from dksan_mm.apis.window_restorer import WindowRestorer


class Stop(Exception):
    pass


def stop_after(monkeypatch, count, error=Stop):
    """Let the network fail after some frames."""
    original = WindowRestorer.restore

    def failing(*args):
        for index, frame in enumerate(original(*args)):
            if index == count:
                raise error
            yield frame

    monkeypatch.setattr(WindowRestorer, 'restore', failing)


@pytest.mark.parametrize('error', [Stop, KeyboardInterrupt])
@pytest.mark.parametrize('compare', [None, 'side'])
def test_a_stopped_run_is_gone_on_with(tmp_path, model, source, undisturbed,
                                       monkeypatch, error, compare):
    output = tmp_path / 'out.mkv'
    with monkeypatch.context() as patch:
        stop_after(patch, 18, error)
        with pytest.raises(error):
            restore(model, source, output, compare=compare)
    assert listing(tmp_path) == ['out.mkv.partial']
    partial = listing(tmp_path / 'out.mkv.partial')
    assert 'segment_00001.mkv' in partial and 'settings.json' in partial
    assert not any(name.endswith('.partial') for name in partial)

    with pytest.raises(ValueError, match='--resume .* --overwrite'):
        restore(model, source, output, compare=compare)
    summary = restore(model, source, output, resume=True, compare=compare)
    assert 2 <= summary.reused <= 3
    assert summary.restored == 23 - 5 * summary.reused
    assert data(output) == data(undisturbed)
    assert listing(tmp_path) == ['out.mkv'
                                 ] + (['out_compare.mkv'] if compare else [])


def test_a_gap_is_filled(tmp_path, model, source, undisturbed, monkeypatch):
    """Segments before and after one that is missing are used."""
    output = tmp_path / 'out.mkv'
    restore_unjoined(monkeypatch, model, source, output)
    for index in (0, 2, 3):
        os.remove(tmp_path / f'out.mkv.partial/segment_{index:05d}.mkv')
    decoded = []

    def counting(*args):
        for frame in read_frames(*args):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(pipeline, 'read_frames', counting)
    summary = restore(model, source, output, resume=True)
    assert (summary.restored, summary.reused) == (15, 2)
    # 0 to before 5, 10 to before 20, the context, a frame before it
    assert len(decoded) == (5 + 2) + (3 + 10 + 2)
    assert data(output) == data(undisturbed)


def test_resumed_folder(tmp_path, model, source, monkeypatch):
    output = tmp_path / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, 18)
        with pytest.raises(Stop):
            restore(model, source, output)
    assert listing(tmp_path) == ['out.partial']
    (tmp_path / 'out.partial/frames/00000015.png.partial').write_text('half')
    summary = restore(model, source, output, resume=True)
    assert 2 <= summary.reused <= 3
    np.testing.assert_array_equal(
        decode(output), restore_at_once(model, source))
    assert listing(tmp_path) == ['out']


def restore_in_child(model, source, output, started):
    torch.set_num_threads(1)
    started.set()
    # slow enough to be hit anywhere
    original = WindowRestorer.restore

    def slow(*args):
        for frame in original(*args):
            time.sleep(.02)
            yield frame

    WindowRestorer.restore = slow
    restore(
        model,
        source,
        output,
        resume=True,
        segment=3,
        codec='libx264',
        lossless=False)


@pytest.mark.parametrize('name', ['out.mkv', 'out.mp4', 'out'])
def test_killed_at_any_moment(tmp_path, model, source, name):
    """kill -9, again and again: the file is that of an undisturbed run, and
    nothing else stays."""
    expected = tmp_path / f'expected_{name}'
    restore(
        model, source, expected, segment=3, codec='libx264', lossless=False)
    rng = np.random.default_rng(len(name))
    # not forks of this process, whose threads may hold locks
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['dksan_mm.apis', 'pytest', 'tiny_model'])
    output = tmp_path / name
    kills = 0
    for delay in [*rng.uniform(.02, .15, 15), None]:
        started = context.Event()
        child = context.Process(
            target=restore_in_child, args=(model, source, output, started))
        child.start()
        assert started.wait(120)
        child.join(delay)  # the last one is waited for
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
        if child.exitcode != -signal.SIGKILL:
            break
        kills += 1
    assert child.exitcode == 0 and kills >= 3
    if name == 'out':
        assert listing(output) == listing(expected)
        assert all(
            data(output / file) == data(expected / file)
            for file in listing(output))
    else:
        assert data(output) == data(expected)
    assert listing(tmp_path) == sorted([expected.name, name])


def test_a_finished_output_stays(tmp_path, model, source, folder):
    """As for one who repeats the command with --resume until it succeeds."""
    output = tmp_path / 'out.mkv'
    restore(model, source, output)

    def written():  # when it was read does not matter
        found = os.stat(output)
        return found.st_ino, found.st_size, found.st_mtime_ns

    before = written()
    summary = restore(model, source, output, resume=True)
    assert (summary.restored, summary.reused) == (0, 0)
    assert summary.was_there
    assert written() == before
    assert listing(tmp_path) == ['out.mkv']
    other = write_video(tmp_path / 'other.mkv', make_frames(4, SIZE))
    with pytest.raises(ValueError, match='or be the finished result'):
        restore(model, other, output, resume=True)


def test_other_settings_are_refused(tmp_path, model, source, monkeypatch):
    output = tmp_path / 'out.mkv'
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stop):
            restore(model, source, output)
    other = write_video(tmp_path / 'other.mkv', make_frames(23, SIZE, seed=1))
    cases = [
        ('options.segment 7 instead of 5', source, dict(segment=7)),
        ('options.scene_threshold 0.5 instead of null', source,
         dict(scene_threshold=.5)),
        ('encoder.codec "libx264" instead of "ffv1"', source,
         dict(codec='libx264')),
        ('source.sha256 "', other, {}),
        ('; tile 9 instead of null', source, dict(tile=9, tile_overlap=2)),
    ]
    for message, path, options in cases:
        with pytest.raises(ValueError, match=message):
            restore(model, path, output, resume=True, **options)
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(torch, 'get_num_threads', lambda: threads + 1)
        with pytest.raises(ValueError, match='hardware.threads'):
            restore(model, source, output, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'Z80')
        with pytest.raises(ValueError, match='hardware.name "cpu, Z80" inst'):
            restore(model, source, output, resume=True)
    with torch.no_grad():
        weight = next(model.parameters())
        saved = weight.clone()
        weight.add_(1e-3)
        with pytest.raises(ValueError, match='model.weights_sha256'):
            restore(model, source, output, resume=True)
        weight.copy_(saved)
    # the default, named
    defaults = dict(compile=False, batch=1)
    assert restore(model, source, output, resume=True, **defaults).reused


def test_overwrite(tmp_path, model, source, undisturbed, monkeypatch):
    output = tmp_path / 'out.mkv'
    output.write_text('precious')
    with pytest.raises(ValueError, match='out.mkv already exists; choose'):
        restore(model, source, output)
    with pytest.raises(ValueError, match='or be the finished|a video'):
        restore(model, source, output, resume=True)
    assert listing(tmp_path) == ['out.mkv']
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stop):
            restore(model, source, output, overwrite=True)
    assert output.read_text() == 'precious'
    summary = restore(model, source, output, overwrite=True, resume=True)
    assert summary.reused
    assert data(output) == data(undisturbed)
    assert restore(model, source, output, overwrite=True).reused == 0
    assert listing(tmp_path) == ['out.mkv']


def test_folders_are_overwritten_with_care(tmp_path, model, source):
    output = tmp_path / 'out'
    output.mkdir()
    restore(model, source, output)  # it was empty
    with pytest.raises(ValueError, match='already exists'):
        restore(model, source, output)
    (output / '00000099.png').write_bytes(b'of a longer video')
    restore(model, source, output, overwrite=True)
    assert len(listing(output)) == 23
    (output / 'notes.txt').write_text('')
    with pytest.raises(ValueError, match='found notes.txt; choose another'):
        restore(model, source, output, overwrite=True)
