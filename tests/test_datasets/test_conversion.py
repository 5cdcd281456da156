"""Raw material made into data sets."""
import json
import os
import os.path as osp
import signal
import subprocess
import sys
import time
from itertools import product
from math import ceil, floor

import numpy as np
import pytest
import skimage
from commands import ROOT
from raw_material import (make_frames, scene, write_folder, write_image,
                          write_video)

from dksan_mm.datasets import conversion
from dksan_mm.datasets.conversion import convert
from dksan_mm.datasets.layout import Settings, to_json
from dksan_mm.datasets.reduction import reduce_frame
from dksan_mm.datasets.splits import Entry, named_splits
from dksan_mm.datasets.verification import verify
from dksan_mm.utils.files import OutputError
from dksan_mm.video import storage
from dksan_mm.video.clips import Clip
from dksan_mm.video.compression import compress
from dksan_mm.video.folders import read_image
from dksan_mm.video.storage import read_frame


def matlab_imresize(image, scale):
    """The oracle: imresize(image, 1 / scale, 'bicubic') of doubles, pixel by
    pixel from its definition; x and u are MATLAB's, counted from 1."""

    def cubic(t):
        t = abs(t)
        if t <= 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0.

    def contributions(size):
        out = []
        for x in range(1, ceil(size / scale) + 1):
            u = x * scale + 0.5 * (1 - scale)
            left = floor(u - 4 * scale / 2)
            taps = range(left, left + 4 * scale + 2)
            weights = [cubic((u - tap) / scale) / scale for tap in taps]
            total = sum(weights)
            mirrored = [*range(size), *reversed(range(size))]
            out.append([(mirrored[(tap - 1) % (2 * size)], weight / total)
                        for tap, weight in zip(taps, weights) if weight])
        return out

    rows, columns = (contributions(side) for side in image.shape[:2])
    image = image.astype(np.float64)
    half = np.zeros((len(rows), *image.shape[1:]))
    for y, taps in enumerate(rows):
        for index, weight in taps:
            half[y] += weight * image[index]
    out = np.zeros((len(rows), len(columns), image.shape[2]))
    for x, taps in enumerate(columns):
        for index, weight in taps:
            out[:, x] += weight * half[:, index]
    return out


def photograph():
    path = osp.join(osp.dirname(skimage.__file__), 'data', 'astronaut.png')
    return read_image(path)


@pytest.mark.parametrize('scale', [2, 4, 8, 16])
def test_lr_is_matlabs_imresize(scale):
    """To the grey level, on a photograph and on noise, by the definition."""
    images = (photograph()[:16 * 19, :16 * 23],
              np.random.default_rng(0).integers(
                  0, 256, (48, 80, 3), dtype=np.uint8))
    for image in images:
        expected = matlab_imresize(image, scale)
        np.testing.assert_array_equal(
            reduce_frame(image, scale),
            np.clip(np.floor(expected + 0.5), 0, 255))


@pytest.mark.parametrize('scale', [2, 4, 8, 16])
def test_lr_of_ties(scale):
    """Values halfway between two grey levels go up, as MATLAB's do."""
    stripes = np.zeros((6 * scale, 6 * scale, 3), np.uint8)
    stripes[:, ::2] = 1  # a level apart
    expected = matlab_imresize(stripes, scale)
    assert (expected[:, 2:-2] == 0.5).all()
    for image in (stripes, stripes.transpose(1, 0, 2)):
        lr = reduce_frame(np.ascontiguousarray(image), scale)
        assert (lr[2:-2, 2:-2] == 1).all()


def test_sides_that_are_no_multiples():
    for shape in ((33, 32, 3), (32, 47, 3)):
        with pytest.raises(ValueError, match='multiples of scale = 16, got'):
            reduce_frame(np.zeros(shape, np.uint8), 16)


def test_lr_of_a_constant_is_the_constant():
    for value in (0, 1, 127, 255):
        image = np.full((64, 96, 3), value, np.uint8)
        assert (reduce_frame(image, 16) == value).all()


def make_set(out, splits, **settings):
    convert(
        str(out), splits, Settings(**{
            'name': 'tiny',
            'scale': 4,
            **settings
        }))
    return out


def splits_of(**sources):
    return named_splits({
        split: [Clip(path) for path in paths]
        for split, paths in sources.items()
    })


def files_below(folder):
    """Return every file with what is in it."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = osp.join(root, name)
            with open(path, 'rb') as file:
                found[osp.relpath(path, folder)] = file.read()
    return found


def test_layout(tmp_path):
    frames = make_frames(8, (70, 67))
    source = write_folder(tmp_path / 'a clip', frames, '{:06d}.png', 100)
    out = make_set(tmp_path / 'out', splits_of(train=[source]))
    assert (out / 'meta_info_train.txt').read_text() == 'a_clip 8\n'
    for index, frame in enumerate(frames):
        name = f'{index:08d}'
        hr = read_frame(str(out / 'train/GT'), 'a_clip', name)
        # 70x67 is cropped to 68x64
        np.testing.assert_array_equal(hr, frame[:68, :64])
        np.testing.assert_array_equal(
            read_frame(str(out / 'train/BIx4'), 'a_clip', name),
            reduce_frame(hr, 4))
    assert len(files_below(out)) == 2 * 8 + 2
    metadata = json.loads((out / 'metadata.json').read_text())
    assert metadata['name'] == 'tiny' and metadata['scale'] == 4
    assert metadata['crop'] == 'bottom-right, to a multiple of 4'
    assert 'imresize(x, 1/4' in metadata['kernel']
    assert metadata['tool'].startswith('dksan_mm ')
    assert len(metadata['sequences']['train/a_clip'].pop('fingerprint')) == 64
    digests = metadata['sequences']['train/a_clip'].pop('sha256')
    assert {*map(len, digests.values())} == {64} and len(digests) == 2
    assert metadata['sequences'] == {
        'train/a_clip':
        dict(
            frames=8,
            width=64,
            height=68,
            source='a clip',
            first_frame=0,
            stop=None)
    }


def test_crop_in_the_centre(tmp_path):
    frames = make_frames(7, (70, 67))
    out = make_set(
        tmp_path / 'out',
        splits_of(train=[write_folder(tmp_path / 'v', frames)]),
        crop='centre')
    np.testing.assert_array_equal(
        read_frame(str(out / 'train/GT'), 'v', '00000002'), frames[2, 1:69,
                                                                   1:65])


def test_test_split_shares_the_folder_of_val(tmp_path):
    """Whether it is named, with the same frames, or not at all."""
    source = write_folder(tmp_path / '050', make_frames(9))
    whole = {'050': Clip(source)}
    for name, splits in (('a', dict(val=whole, test=dict(whole))),
                         ('b', dict(val=whole))):
        out = make_set(tmp_path / name, splits)
        assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ['val']
        assert (out / 'meta_info_test.txt').read_text() == '050 9\n'
        assert (out / 'meta_info_val.txt').read_text() == '050 9\n'
    part = dict(val=whole, test={'050': Entry('050', 1, 7).clip(source)})
    out = make_set(tmp_path / 'c', part)
    assert (out / 'meta_info_test.txt').read_text() == '050 7\n'
    np.testing.assert_array_equal(
        read_frame(str(out / 'test/GT'), '050', '00000000'),
        read_frame(str(out / 'val/GT'), '050', '00000001'))
    assert verify(str(out)) == []


def test_processes_and_videos(tmp_path):
    clips = [
        write_video(tmp_path / name / 'v.mp4', make_frames(8, (64, 80)))
        for name in ('a', 'b', 'c')
    ]
    splits = splits_of(train=clips[:2], val=clips[2:])
    one = make_set(tmp_path / 'one', splits)
    assert (one / 'meta_info_train.txt').read_text() == 'v 8\nv_2 8\n'
    convert(str(tmp_path / 'two'), splits, Settings('tiny', 4), workers=2)
    assert files_below(one) == files_below(tmp_path / 'two')


def test_memory_map_holds_the_same_pixels(tmp_path):
    sources = [
        write_folder(tmp_path / name, make_frames(8, seed=seed))
        for seed, name in enumerate('ab')
    ]
    png = make_set(tmp_path / 'png', splits_of(train=sources))
    mapped = make_set(
        tmp_path / 'map', splits_of(train=sources), storage='memmap')
    assert sorted(os.listdir(mapped / 'train/GT')) == ['a.npy', 'b.npy']
    for kind, sequence, frame in product(('GT', 'BIx4'), 'ab', range(8)):
        np.testing.assert_array_equal(
            *(read_frame(str(out / 'train' / kind), sequence, f'{frame:08d}')
              for out in (png, mapped)))
    assert np.load(mapped / 'train/GT/a.npy').shape == (8, 68, 64, 3)
    assert verify(str(mapped)) == []


def forbid_reading(monkeypatch):

    def read(clip):
        raise AssertionError(f'{clip} is read')

    monkeypatch.setattr(conversion, 'read_clip', read)


@pytest.mark.parametrize('kind', storage.STORAGES)
def test_second_run_does_nothing(tmp_path, monkeypatch, kind):
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    out = make_set(tmp_path / 'out', splits, storage=kind)
    before = files_below(out)
    forbid_reading(monkeypatch)
    make_set(out, splits, storage=kind)
    assert files_below(out) == before


def test_second_run_does_what_is_missing(tmp_path):
    sources = [
        write_folder(tmp_path / name, make_frames(8, seed=seed))
        for seed, name in enumerate('ab')
    ]
    splits = splits_of(train=sources)
    out = make_set(tmp_path / 'out', splits)
    before = files_below(out)
    lost = out / 'train/BIx4/b/00000003.png'
    times = {
        path: os.stat(out / path).st_mtime_ns
        for path in before if path.endswith('.png')
    }
    lost.unlink()
    make_set(out, splits)
    assert files_below(out) == before
    changed = [
        path for path, t in times.items()
        if os.stat(out / path).st_mtime_ns != t
    ]
    assert changed == ['train/BIx4/b/00000003.png']


def test_more_splits_later(tmp_path, monkeypatch):
    train = splits_of(train=[write_folder(tmp_path / 'a', make_frames())])
    val = splits_of(val=[write_folder(tmp_path / 'b', make_frames(9, seed=1))])
    out = make_set(tmp_path / 'out', train)
    make_set(out, val)
    assert files_below(out) == files_below(
        make_set(tmp_path / 'at once', {
            **train,
            **val
        }))
    assert verify(str(out)) == []


def test_other_frames_are_converted_anew(tmp_path):
    first = write_folder(tmp_path / 'a/v', make_frames(8, seed=0))
    second = write_folder(tmp_path / 'b/other', make_frames(8, seed=1))
    out = make_set(tmp_path / 'out', dict(val=dict(v=Clip(first))))
    make_set(out, dict(val=dict(v=Clip(second))))
    assert verify(str(out)) == []
    np.testing.assert_array_equal(
        read_frame(str(out / 'val/GT'), 'v', '00000001'),
        make_frames(8, seed=1)[1, :68, :64])


def stopped(source):
    """Return a whole source, and one of the same name that ends a run."""
    wrong = write_folder(source.parent / 'wrong/000', make_frames(seed=1))
    (source.parent / 'wrong/000/0004.png').write_bytes(b'x')
    return write_folder(source, make_frames()), wrong


@pytest.mark.parametrize('earlier', [False, True])
def test_frames_of_two_sources_are_not_mixed(tmp_path, earlier):
    """After a stopped run on another folder, whose sequence has the same
    name; also if that run was one of an earlier version."""
    source, wrong = stopped(tmp_path / '000')
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='0004.png must be a readable image'):
        make_set(out, splits_of(train=[wrong]))
    assert (out / 'train/GT/000/00000003.png').exists()
    if earlier:
        note = out / '.conversion/train/000.json.origin'
        fields = json.loads(note.read_text())
        del fields['fingerprint']
        note.write_bytes(to_json(fields))
    splits = splits_of(train=[source])
    make_set(out, splits)
    assert files_below(out) == files_below(
        make_set(tmp_path / 'expected', splits))


def replace_frame(tmp_path):
    """Replace one in the middle, after which others are replaced."""
    write_image(str(tmp_path / 'v/0004.png'), scene((70, 67), 5))


def replace_video(tmp_path):
    write_video(tmp_path / 'v.mp4', make_frames(seed=5))


@pytest.mark.parametrize('write, name, replace', [
    (write_folder, 'v', replace_frame),
    (write_video, 'v.mp4', replace_video),
])
def test_corrected_sources_are_converted_anew(tmp_path, monkeypatch, write,
                                              name, replace):
    told = []
    monkeypatch.setattr(conversion, 'print_log',
                        lambda text, *args: told.append(text))
    splits = splits_of(train=[write(tmp_path / name, make_frames())])
    out = make_set(tmp_path / 'out', splits)
    before = files_below(out)
    replace(tmp_path)
    make_set(out, splits)
    assert files_below(out) != before
    assert files_below(out) == files_below(
        make_set(tmp_path / 'expected', splits))
    assert len(told) == 1 and 'train/v is converted anew' in told[0]


def test_moved_sources_are_the_same(tmp_path, monkeypatch):
    first, second = (
        write_folder(tmp_path / name / 'v', make_frames()) for name in 'ab')
    out = make_set(tmp_path / 'out', splits_of(train=[first]))
    before = files_below(out)
    forbid_reading(monkeypatch)
    make_set(out, splits_of(train=[second]))
    assert files_below(out) == before


def test_a_set_of_an_earlier_version_is_accepted(tmp_path, monkeypatch):
    """It has no fingerprints. What is missing cannot be added to it: the
    sequence is converted anew."""
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    out = make_set(tmp_path / 'out', splits)
    whole = files_below(out)
    metadata = json.loads((out / 'metadata.json').read_text())
    del metadata['sequences']['train/v']['fingerprint']
    (out / 'metadata.json').write_bytes(to_json(metadata))
    before = files_below(out)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        make_set(out, splits)
    assert files_below(out) == before
    write_image(str(out / 'train/GT/v/00000002.png'), scene((68, 64), 5))
    (out / 'train/GT/v/00000003.png').unlink()
    make_set(out, splits)
    assert files_below(out) == whole


@pytest.mark.parametrize('change', [
    dict(scale=2),
    dict(crop='centre'),
    dict(storage='memmap'),
    dict(name='other'),
])
def test_other_settings_are_refused(tmp_path, change):
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    out = make_set(tmp_path / 'out', splits)
    before = files_below(out)
    with pytest.raises(FileExistsError, match='out must be of the same sett'):
        make_set(out, splits, **change)
    assert files_below(out) == before


def test_other_sequences_are_refused(tmp_path):
    """They would stand beside the new ones, unnoticed."""
    a, b = ([write_folder(tmp_path / name, make_frames())] for name in 'ab')
    out = make_set(tmp_path / 'out', splits_of(train=a))
    before = files_below(out)
    with pytest.raises(FileExistsError, match='same sequences.*train/a there'):
        make_set(out, splits_of(train=b))
    assert files_below(out) == before
    make_set(out, splits_of(train=a, val=b))
    assert verify(str(out)) == []


def test_target_in_use(tmp_path):
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/kept.txt').write_text('kept')
    with pytest.raises(FileExistsError, match='out must be new, empty or a d'):
        make_set(tmp_path / 'out', splits)
    assert files_below(tmp_path / 'out') == {'kept.txt': b'kept'}


# stays in the middle of the second sequence until a file is gone
SCRIPT = '''
import os, sys, time
from dksan_mm.cli import imports
with imports():
    from dksan_mm.datasets import conversion
    from dksan_mm.datasets.layout import Settings
    from dksan_mm.video.clips import Clip

out, first, second, kind, workers, stay = sys.argv[1:]
read_clip = conversion.read_clip

def read_half(clip):
    for number, frame in enumerate(read_clip(clip)):
        while number == 4 and clip.path == second and os.path.exists(stay):
            time.sleep(.01)
        yield frame

conversion.read_clip = read_half
conversion.convert(out, dict(train=dict(a=Clip(first), b=Clip(second))),
                   Settings('tiny', 4, storage=kind), int(workers))
'''


@pytest.fixture
def sources(tmp_path):
    return [
        write_folder(tmp_path / name, make_frames(seed=seed))
        for seed, name in enumerate('ab')
    ]


@pytest.fixture
def start():
    """Return what starts a run in processes of its own; it stays in the
    middle until ``<out>.stay`` is gone, or the test is over."""
    runs = []

    def start(out, sources, kind, workers=1):
        stay = out.with_suffix('.stay')
        stay.touch()
        runs.append(
            subprocess.Popen([
                sys.executable, '-W', 'ignore', '-c', SCRIPT,
                str(out), *sources, kind,
                str(workers),
                str(stay)
            ],
                             cwd=ROOT,
                             stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL,
                             text=True))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
        run.communicate()


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize('kind', storage.STORAGES)
def test_killed_run_goes_on(tmp_path, sources, start, kind):
    """kill -9 in the middle: no half file under a final name, no data set
    yet; the next run ends as if nothing had happened."""
    splits = splits_of(train=sources)
    out = tmp_path / 'out'
    process = start(out, sources, kind)
    started = 'train/GT/b/*.png'
    if kind == 'memmap':
        started = 'train/GT/b.npy.*.partial'
    wait_for(lambda: any(out.glob(started)))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / 'meta_info_train.txt').exists()
    assert not (out / 'metadata.json').exists()
    for path in files_below(out):
        if path.endswith('.png'):
            assert read_image(str(out / path)).size
        elif path.endswith('.npy'):
            assert len(np.load(out / path)) == 8
    make_set(out, splits, storage=kind)
    undisturbed = make_set(tmp_path / 'whole', splits, storage=kind)
    assert files_below(out) == files_below(undisturbed)


@pytest.mark.parametrize('kind, path', [
    ('png', 'train/GT/v/00000003.png'),
    ('png', 'train/BIx4/v/00000005.png'),
    ('png', 'meta_info_train.txt'),
    ('png', 'metadata.json'),
    ('memmap', 'train/GT/v.npy'),
])
def test_full_disk(tmp_path, kind, path):
    """A real ENOSPC, of /dev/full: an error that names the file and the cure;
    nothing under the final name; the next run goes on."""
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    expected = files_below(make_set(tmp_path / 'ok', splits, storage=kind))
    out = make_set(tmp_path / 'out', splits, storage=kind)
    for name in ('metadata.json', path):
        (out / name).unlink(missing_ok=True)
    # in place of a data set that was not finished
    settings = json.dumps(Settings('tiny', 4, storage=kind).metadata())
    (out / '.conversion').mkdir()
    (out / '.conversion/settings.json').write_text(settings)
    origin = to_json(conversion._origin(splits['train']['v']))
    (out / '.conversion/train').mkdir()
    (out / '.conversion/train/v.json.origin').write_bytes(origin)
    partial = out / f'{path}.partial'
    if kind == 'memmap':
        partial = out / f'{path}.{os.getpid()}.partial'
    os.symlink('/dev/full', partial)
    with pytest.raises(
            OutputError,
            match=f'{osp.basename(path)} could not'
            '.*No space left.*free disk space.*goes on'):
        make_set(out, splits, storage=kind)
    assert not (out / path).exists()
    assert not os.path.lexists(partial)
    assert files_below(make_set(out, splits, storage=kind)) == expected


@pytest.mark.parametrize('kind', ['png', 'memmap'])
def test_frames_compressed_before_they_are_reduced(tmp_path, kind):
    """All frames as one video, cropped before; GT is as without."""
    frames = make_frames(9, (70, 67))
    splits = splits_of(val=[write_folder(tmp_path / 'v', frames)])
    out = make_set(tmp_path / 'out', splits, storage=kind, crf=33)
    plain = make_set(tmp_path / 'plain', splits, storage=kind)
    hr = np.ascontiguousarray(frames[:, :68, :64])
    for index, compressed in enumerate(compress(hr, 33)):
        name = 'v', f'{index:08d}'
        np.testing.assert_array_equal(
            read_frame(str(out / 'val/GT'), *name), hr[index])
        lr = read_frame(str(out / 'val/BIx4'), *name)
        np.testing.assert_array_equal(lr, reduce_frame(compressed, 4))
        assert (lr != read_frame(str(plain / 'val/BIx4'), *name)).any()
    assert index == 8
    metadata = json.loads((out / 'metadata.json').read_text())
    assert 'crf 33' in metadata['compression']
    # neither taken for the other
    for settings in ({}, dict(crf=32)):
        with pytest.raises(FileExistsError, match='same settings.*crf 33'):
            make_set(out, splits, storage=kind, **settings)
    before = files_below(out)
    assert files_below(make_set(out, splits, storage=kind, crf=33)) == before


def test_crf_exception(tmp_path):
    with pytest.raises(ValueError, match='crf must be from 0 to 51, got 52'):
        make_set(tmp_path / 'out', {}, crf=52)


def test_read_only_target(tmp_path, monkeypatch):

    def makedirs(path, **kwargs):
        raise OSError(30, 'Read-only file system', path)

    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    monkeypatch.setattr(storage.os, 'makedirs', makedirs)
    with pytest.raises(OutputError, match='could not be written.*Read-only'):
        make_set(tmp_path / 'out', splits)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('frames, size, message', [
    (6, (70, 67), 'v must have at least 7 frames.* found 6'),
    (8, (70, 60), 'v must be at least 64 pixels .* found 60x70'),
])
def test_sources_that_are_refused(tmp_path, frames, size, message):
    source = write_folder(tmp_path / 'v', make_frames(frames, size))
    with pytest.raises(ValueError, match=message):
        make_set(tmp_path / 'out', splits_of(train=[source]))
    assert not (tmp_path / 'out/metadata.json').exists()


def test_damaged_frame_leaves_no_data_set(tmp_path):
    source = write_folder(tmp_path / 'v', make_frames())
    (tmp_path / 'v/0004.png').write_bytes(b'x')
    with pytest.raises(ValueError, match='0004.png must be a readable image'):
        make_set(tmp_path / 'out', splits_of(train=[source]))
    assert not (tmp_path / 'out/meta_info_train.txt').exists()
    write_image(str(tmp_path / 'v/0004.png'), scene((70, 67)))
    out = make_set(tmp_path / 'out', splits_of(train=[source]))
    assert verify(str(out)) == []


@pytest.mark.parametrize('settings, message', [
    (dict(crop='top'), "crop must be one of bottom-right, centre, got 'top'"),
    (dict(storage='zip'), "storage must be one of png, memmap, got 'zip'"),
    (dict(scale=0), 'scale must be at least 1, got 0'),
    (dict(name='a/b'), "name .*must be of letters.* got 'a/b'"),
])
def test_settings_that_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make_set(tmp_path / 'out', {}, **settings)


def children_of(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return [int(word) for word in file.read().split()]


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def test_a_killed_worker_ends_the_run(tmp_path, sources, start):
    """As the OOM killer does: an error at once, and the rest resumable."""
    out = tmp_path / 'out'
    process = start(out, sources, 'memmap', workers=2)
    wait_for(lambda: any(out.glob('train/GT/b.npy.*.partial')))
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    error = process.communicate(timeout=600)[1]
    assert process.returncode == 1
    assert 'a process that converts was killed' in error
    assert 'fewer --workers' in error
    splits = splits_of(train=sources)
    make_set(out, splits, storage='memmap')
    whole = make_set(tmp_path / 'whole', splits, storage='memmap')
    assert files_below(out) == files_below(whole)


def test_workers_end_with_their_parent(tmp_path, sources, start):
    out = tmp_path / 'out'
    process = start(out, sources, 'memmap', workers=2)
    wait_for(lambda: any(out.glob('train/GT/b.npy.*.partial')))
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    # beside what is left of it
    splits = splits_of(train=sources)
    make_set(out, splits, storage='memmap')
    wait_for(lambda: not any(map(is_alive, workers)))
    whole = make_set(tmp_path / 'whole', splits, storage='memmap')
    assert files_below(out) == files_below(whole)


def test_two_runs_at_once(tmp_path, sources, start, monkeypatch):
    """The second one waits, and says so."""
    out = tmp_path / 'out'
    first = start(out, sources, 'png', workers=2)
    wait_for(lambda: any(out.glob('train/GT/*')))
    said = []

    def hear(text, *args):
        said.append(text)
        out.with_suffix('.stay').unlink()

    monkeypatch.setattr(conversion, 'print_log', hear)
    splits = splits_of(train=sources)
    make_set(out, splits, storage='png')
    assert first.wait() == 0
    assert len(said) == 1 and (
        f'another run writes it (process {first.pid} on ' in said[0])
    assert not (tmp_path / 'out.lock').exists()
    whole = make_set(tmp_path / 'whole', splits, storage='png')
    assert files_below(out) == files_below(whole)


@pytest.mark.parametrize('kind', storage.STORAGES)
def test_wrong_pixels_are_no_whole_sequence(tmp_path, kind):
    splits = splits_of(train=[write_folder(tmp_path / 'v', make_frames())])
    out = make_set(tmp_path / 'out', splits, storage=kind)
    expected = files_below(out)
    path = next(path for path in sorted(expected) if 'GT' in path)
    data = bytearray(expected[path])
    data[-40] ^= 255
    (out / path).write_bytes(data)
    make_set(out, splits, storage=kind)
    assert files_below(out) == expected
