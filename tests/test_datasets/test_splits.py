"""Splits: files that ship with the configs, and of one's own videos."""
import os.path as osp

import pytest
from commands import ROOT
from raw_material import make_frames, write_folder, write_video

from dksan_mm.datasets.splits import (Entry, expand, limit, named_splits,
                                      numbered_splits, read_split,
                                      split_by_file, split_by_ratio)
from dksan_mm.video.clips import Clip


@pytest.mark.parametrize('name, first, last, span', [
    ('vid3oc_train', '000', '049', (0, None)),
    ('vid3oc_val', '050', '065', (0, None)),
    ('vid3oc_test', '050', '065', (0, None)),
    ('intvid_train', '000', '049', (0, None)),
    ('intvid_val', '050', '059', (0, 14)),
    ('intvid_test', '050', '059', (0, 14)),
])
def test_splits_of_the_paper(name, first, last, span):
    entries = read_split(osp.join(ROOT, 'configs/splits', f'{name}.txt'))
    assert [entry.sequence for entry in entries] == [
        f'{number:03d}' for number in range(int(first),
                                            int(last) + 1)
    ]
    assert {entry[1:] for entry in entries} == {span}


def test_split_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('# all\n\n050\n051 3 14  # a part\n')
    assert read_split(str(path)) == [Entry('050'), Entry('051', 3, 14)]
    assert Entry('051', 3, 14).clip('x') == Clip('x', 3, 17, True)


@pytest.mark.parametrize('text, message', [
    ('050\n051 14\n', "line 2, must be a sequence.*'051 14'"),
    ('050 x 14\n', "line 1, must be a sequence.*'050 x 14'"),
    ('050\n050\n', 'line 2, must name another sequence, found 050 again'),
    ('# none\n', 'must name at least one sequence, found none'),
])
def test_split_files_that_are_refused(tmp_path, text, message):
    (tmp_path / 'a.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_split(str(tmp_path / 'a.txt'))


def test_numbered_splits(tmp_path):
    for number in range(3):
        write_folder(tmp_path / 'raw' / f'video_{number:03d}', make_frames(1))
    (tmp_path / 'train.txt').write_text('000\n002\n')
    (tmp_path / 'val.txt').write_text('001 2 5\n')
    raw = str(tmp_path / 'raw')
    files = {
        split: str(tmp_path / f'{split}.txt')
        for split in ('train', 'val')
    }
    assert numbered_splits([raw], files) == dict(
        train={
            '000': Clip(f'{raw}/video_000'),
            '002': Clip(f'{raw}/video_002')
        },
        val={'001': Clip(f'{raw}/video_001', 2, 7, True)})
    (tmp_path / 'val.txt').write_text('001\n007\n008\n')
    with pytest.raises(
            ValueError,
            match=r'val.txt must all be in .*found no 007, 008 '
            r'\(2 of 3'):
        numbered_splits([raw], files)


def test_folders_of_videos_and_of_folders(tmp_path):
    video = write_video(tmp_path / 'all/b.mp4', make_frames(2, (64, 64)))
    frames = write_folder(tmp_path / 'all/a', make_frames(2))
    (tmp_path / 'all/notes.txt').write_text('')
    assert expand([str(tmp_path / 'all')]) == [frames, video]
    assert expand([video, frames]) == [video, frames]
    with pytest.raises(FileNotFoundError, match='none must be a video'):
        expand([str(tmp_path / 'none')])


def names(splits):
    return {split: list(clips) for split, clips in splits.items()}


@pytest.mark.parametrize('kwargs, val', [
    (dict(ratio=0.25), ['d', 'e']),
    (dict(ratio=0.2), ['e']),
    (dict(count=3), ['c', 'd', 'e']),
])
def test_split_by_ratio(tmp_path, kwargs, val):
    paths = [write_folder(tmp_path / name, make_frames(1)) for name in 'abcde']
    splits = split_by_ratio(paths, **kwargs)
    assert names(splits) == dict(
        train=[n for n in 'abcde' if n not in val], val=val)


def test_single_video_is_split_in_time(tmp_path):
    path = write_folder(tmp_path / 'v', make_frames(40))
    splits = split_by_ratio([path])
    assert splits == dict(
        train=dict(v=Clip(path, 0, 30)), val=dict(v=Clip(path, 30, 40)))
    assert limit(splits, dict(train=20, val=20)) == dict(
        train=dict(v=Clip(path, 0, 20)), val=dict(v=Clip(path, 30, 40)))
    short = write_folder(tmp_path / 'short', make_frames(27))
    with pytest.raises(ValueError, match='at least 28 frames.*found 27'):
        split_by_ratio([short])


def test_split_by_file(tmp_path):
    paths = [write_folder(tmp_path / n, make_frames(1)) for n in 'abc']
    (tmp_path / 'val.txt').write_text('b 0 7\n')
    splits = split_by_file(paths, str(tmp_path / 'val.txt'))
    assert names(splits) == dict(train=['a', 'c'], val=['b'])
    assert splits['val']['b'] == Clip(paths[1], 0, 7, True)
    (tmp_path / 'val.txt').write_text('d\n')
    with pytest.raises(ValueError, match='found d; there are a, b, c'):
        split_by_file(paths, str(tmp_path / 'val.txt'))


def test_names_are_different(tmp_path):
    paths = [
        write_folder(tmp_path / name, make_frames(1))
        for name in ('x/a b', 'y/a b', 'z/a.b')
    ]
    splits = named_splits(dict(train=[Clip(path) for path in paths], val=[]))
    assert names(splits) == dict(train=['a_b', 'a_b_2', 'a_b_3'])
    with pytest.raises(ValueError, match='at least one video'):
        named_splits(dict(train=[]))


@pytest.mark.parametrize('paths, kwargs, message', [
    ([], {}, 'at least one video'),
    (['a', 'b'], dict(ratio=1.), 'ratio .*must be above 0 and below 1, got 1'),
    (['a', 'b'], dict(count=2), 'from 1 to 1 of 2 .* got 2'),
    (['a', 'b'], dict(count=0), 'from 1 to 1 of 2 .* got 0'),
])
def test_split_by_ratio_exception(paths, kwargs, message):
    with pytest.raises(ValueError, match=message):
        split_by_ratio(paths, **kwargs)


def test_frames_are_in_one_split(tmp_path):
    for name in ('a', 'b'):
        write_folder(tmp_path / name, make_frames(1))
    a, b = str(tmp_path / 'a'), str(tmp_path / 'b')
    (tmp_path / 'link').symlink_to(a)
    for again in (a, f'{b}/../a', str(tmp_path / 'link')):
        with pytest.raises(ValueError, match='a must be in one split|link mu'):
            named_splits(dict(train=[Clip(a)], val=[Clip(b), Clip(again)]))
    with pytest.raises(ValueError, match='in one split'):
        named_splits(dict(train=[Clip(a, 0, 9)], val=[Clip(a, 8, 20)]))
    named_splits(dict(train=[Clip(a, 0, 8)], val=[Clip(a, 8, 20), Clip(b)]))


@pytest.mark.parametrize('content', [
    b'\xef\xbb\xbf050\r\n051\r\n',
    '050\n051'.encode('utf-8-sig'),
])
def test_split_files_of_other_systems(tmp_path, content):
    (tmp_path / 'a.txt').write_bytes(content)
    assert read_split(str(tmp_path / 'a.txt')) == [Entry('050'), Entry('051')]


def test_split_file_of_another_encoding(tmp_path):
    (tmp_path / 'a.txt').write_bytes('0\xe9'.encode('latin-1'))
    with pytest.raises(ValueError, match='a.txt must be text in UTF-8'):
        read_split(str(tmp_path / 'a.txt'))
