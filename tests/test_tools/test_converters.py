"""The converters, from the downloaded layouts, and what reads their data."""
import io
import json
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
from commands import ROOT, run
from mmengine.config import Config
from raw_material import make_frames, write_dataset, write_folder, write_video

from dksan_mm.datasets.splits import read_split
from dksan_mm.engine.cli import use_data_root
from dksan_mm.video.storage import read_frame

CONVERTERS = 'tools/dataset_converters'
VID3OC = f'{CONVERTERS}/vid3oc/preprocess_vid3oc_dataset.py'
INTVID = f'{CONVERTERS}/intvid/preprocess_intvid_dataset.py'
VIDEOS = f'{CONVERTERS}/videos/preprocess_videos.py'
SIZE = (66, 68)


def convert(tool, *args, check=True):
    """Run a converter as a user does, but for the start of Python."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = sys.argv
    sys.argv = [tool, *map(str, args)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(f'{ROOT}/{tool}', run_name='__main__')
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            code, _ = 1, err.write(end.code)
    finally:
        sys.argv = argv
    if check:
        assert code == 0, out.getvalue() + err.getvalue()
    return SimpleNamespace(
        returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def write_sequences(root, name, frames, write, split, count):
    """Write a split's sequences, all alike but for their numbers."""
    for entry in read_split(f'{ROOT}/configs/splits/{split}.txt')[:count]:
        number = int(entry.sequence)
        write(root / name.format(number), np.roll(frames, number, 2))


def aim(path, frames):
    return write_folder(path, frames, '{:04d}.png', 1)


def ntire(path, frames):
    return write_folder(path, frames, '{:06d}.png', 0)


def eight(path, frames):
    return write_folder(path, frames, '{:08d}.jpg', 3)


@pytest.mark.parametrize('name, write', [
    ('video_{:03d}', aim),
    ('{:03d}', ntire),
    ('{:03d}', eight),
    ('video_{:03d}.mp4', write_video),
])
def test_layouts_of_vid3oc(tmp_path, name, write):
    frames = make_frames(8, SIZE)
    write_sequences(tmp_path / 'val', name, frames, write, 'vid3oc_val', 16)
    out = tmp_path / 'out'
    stdout = convert(VID3OC, tmp_path / 'val', '--out', out, '--splits', 'val',
                     'test', '--scale', 4).stdout
    assert f'{out}: complete' in stdout
    for split in ('val', 'test'):
        lines = (out / f'meta_info_{split}.txt').read_text().split('\n')
        assert lines[:-1] == [f'{number:03d} 8' for number in range(50, 66)]
    assert not (out / 'test').exists()
    hr = read_frame(str(out / 'val/GT'), '057', '00000005')
    assert hr.shape == (64, 68, 3)
    expected = np.roll(frames, 57, 2)[5, :64].astype(int)
    assert np.abs(hr - expected).mean() < 6  # JPEG, YUV
    assert json.loads((out / 'metadata.json').read_text())['name'] == 'vid3oc'
    assert ': 0 faults' in convert(VID3OC, '--out', out, '--check').stdout


def test_missing_sequences(tmp_path):
    write_sequences(tmp_path / 'val', 'video_{:03d}', make_frames(7, SIZE),
                    aim, 'vid3oc_val', 15)
    result = convert(
        VID3OC,
        tmp_path / 'val',
        '--out',
        tmp_path / 'out',
        '--splits',
        'val',
        '--scale',
        4,
        check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        'preprocess_vid3oc_dataset.py: the sequences of ')
    assert 'found no 065 (1 of 16 are missing)' in result.stderr
    assert not (tmp_path / 'out').exists()


def test_intvid_has_fourteen_frames(tmp_path):
    """The first 14 by default; others by other split files."""
    frames = make_frames(20, SIZE)
    write_sequences(tmp_path / 'val', '{:03d}', frames, ntire, 'intvid_val',
                    10)
    (tmp_path / 'splits').mkdir()
    for split in ('val', 'test'):
        (tmp_path / f'splits/intvid_{split}.txt').write_text('052 4 14\n')
    for out, args, start in (('out', [], 0),
                             ('other', ['--split-folder',
                                        tmp_path / 'splits'], 4)):
        convert(INTVID, tmp_path / 'val', '--out', tmp_path / out, '--splits',
                'val', 'test', '--scale', 4, *args)
        lines = (tmp_path / out / 'meta_info_test.txt').read_text()
        assert '052 14\n' in lines and len(
            lines.split('\n')) == (2 if args else 11)
        for index in (0, 13):
            np.testing.assert_array_equal(
                read_frame(
                    str(tmp_path / out / 'val/GT'), '052', f'{index:08d}'),
                np.roll(frames, 52, 2)[start + index, :64])
    metadata = json.loads((tmp_path / 'other/metadata.json').read_text())
    assert metadata['sequences']['val/052']['first_frame'] == 4


def test_intvid_with_fewer_frames_than_fourteen(tmp_path):
    write_sequences(tmp_path / 'val', '{:03d}', make_frames(13, SIZE), ntire,
                    'intvid_val', 10)
    result = convert(
        INTVID,
        tmp_path / 'val',
        '--out',
        tmp_path / 'out',
        '--splits',
        'test',
        '--scale',
        4,
        '--workers',
        1,
        check=False)
    assert result.returncode == 1
    assert 'must have 14 frames from number 0 on' in result.stderr
    assert 'found 13' in result.stderr


def test_any_folder_of_videos(tmp_path):
    for seed, name in enumerate('abcd'):
        write_video(tmp_path / f'raw/{name}.mp4', make_frames(8, SIZE, seed))
    out = tmp_path / 'my set'
    convert(VIDEOS, out, '--name', 'mine', '--videos', tmp_path / 'raw',
            '--scale', 2, '--max-frames', 7, '--storage', 'memmap')
    assert (out / 'meta_info_train.txt').read_text() == 'a 7\nb 7\nc 7\n'
    assert (out / 'meta_info_val.txt').read_text() == 'd 8\n'
    assert (out / 'meta_info_test.txt').read_text() == 'd 8\n'
    assert np.load(out / 'train/BIx2/a.npy').shape == (7, 33, 34, 3)
    metadata = json.loads((out / 'metadata.json').read_text())
    assert metadata['name'] == 'mine' and metadata['storage'] == 'memmap'
    assert metadata['compression'] is None
    # the same once more, then with a fault
    convert(VIDEOS, out, '--name', 'mine', '--videos', tmp_path / 'raw',
            '--scale', 2, '--max-frames', 7, '--storage', 'memmap')
    frames = np.load(out / 'val/BIx2/d.npy')
    frames[2] += 1
    np.save(out / 'val/BIx2/d.npy', frames)
    result = convert(VIDEOS, out, '--check', check=False)
    assert result.returncode == 1
    assert 'BIx2/d/00000002: not the reduction' in result.stdout
    assert ': 1 faults' in result.stdout


@pytest.mark.parametrize('args, code, message', [
    (['OUT'], 2, 'give --videos, or --train and --val'),
    (['OUT', '--videos', 'a', '--val', 'b'], 2, 'give --videos, or --train'),
    (['OUT', '--videos', 'none.mp4'], 1, 'videos.py: none.mp4 must'),
    (['OUT', '--check'], 1, 'OUT must be a finished data set, found no meta'),
    (['OUT', '--workers', '0'], 2, "--workers: must be a whole number of at "
     "least 1, got '0'"),
    (['OUT', '--max-frames', '0'], 2, '--max-frames: must be a whole number'),
    (['OUT', '--max-val-frames', '-3'], 2, "least 1, got '-3'"),
])
def test_arguments_that_are_refused(tmp_path, args, code, message):
    args = [arg.replace('OUT', str(tmp_path / 'OUT')) for arg in args]
    result = convert(VIDEOS, *args, check=False)
    assert result.returncode == code
    assert message in result.stderr.replace(f'{tmp_path}/', '')


@pytest.fixture
def small_sets(tmp_path):
    """Return the same data as PNGs and as memory maps."""
    clips = [
        write_folder(tmp_path / name, make_frames(8, (272, 288)))
        for name in ('clip', 'other')
    ]
    for storage in ('png', 'memmap'):
        convert(VIDEOS, tmp_path / storage, '--name', 'tiny', '--train',
                clips[0], '--val', clips[1], '--storage', storage)
    return tmp_path


@pytest.mark.parametrize('workers', [0, 1])
def test_benchmark_of_data_loading(small_sets, workers):
    stdout = run(sys.executable,
                 'tools/analysis_tools/benchmark_dataloader.py',
                 'configs/dksan-small_quickstart_x16.py', '--data-root',
                 small_sets / 'png', small_sets / 'memmap', '--samples', 3,
                 '--repeat', 2, '--workers', workers, '--out',
                 small_sets / 'rates.json').stdout
    rows = json.loads((small_sets / 'rates.json').read_text())['rows']
    assert [row['samples'] for row in rows] == [4 if workers else 3] * 2
    # 3 bytes a pixel, and NumPy's header
    assert rows[1]['bytes_per_hr_frame'] == 272 * 288 * 3 + 128 / 8
    assert rows[0]['bytes_per_hr_frame'] < rows[1]['bytes_per_hr_frame']
    for row in rows:
        assert row['samples_per_second'] == pytest.approx(
            1e3 * row['samples'] / row['median_ms'])
        assert f'| {row["data_root"]}' in stdout


def test_benchmark_of_photographs_and_clips(tmp_path):
    """Several data sets in one, some of them rendered."""
    write_folder(tmp_path / 'photos', make_frames(1, (200, 210)))
    write_dataset(tmp_path, dict(train={'a': 7}), scale=4, size=(52, 56))
    stdout = run(
        sys.executable, 'tools/analysis_tools/benchmark_dataloader.py',
        'configs/dksan-lite_x4.py', '--samples', 3, '--repeat', 1, '--out',
        tmp_path / 'rates.json', '--cfg-options',
        f'train_dataloader.dataset.datasets.0.data_root={tmp_path}/photos',
        f'train_dataloader.dataset.datasets.1.data_root={tmp_path}').stdout
    assert '| configs/dksan-lite_x4.py |' in stdout
    row, = json.loads((tmp_path / 'rates.json').read_text())['rows']
    assert row['samples_per_second'] > 0
    assert row['bytes_per_hr_frame'] is None


def test_data_root(small_sets):
    """Any config tests on a data set of the converter, in either storage,
    with the same result."""
    tables = []
    for storage in ('png', 'memmap'):
        run(sys.executable, 'tools/test.py', 'configs/bicubic_vid3oc_x16.py',
            '--data-root', small_sets / storage, '--work-dir',
            small_sets / 'work', '--result-dir', small_sets / 'results')
        tables.append((small_sets / 'results/tiny.csv').read_bytes())
    assert tables[0] == tables[1]
    with pytest.raises(
            FileNotFoundError,
            match='--data-root must be .* that a converter'):
        use_data_root(
            Config.fromfile(f'{ROOT}/configs/bicubic_vid3oc_x16.py'),
            'nowhere')
