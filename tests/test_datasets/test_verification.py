"""A finished data set, verified: every fault is listed."""
import json
import os
import os.path as osp

import numpy as np
import pytest
from raw_material import make_frames, write_folder, write_image

from dksan_mm.datasets.conversion import convert
from dksan_mm.datasets.layout import Settings
from dksan_mm.datasets.splits import expand, split_by_ratio
from dksan_mm.datasets.verification import verify
from dksan_mm.video.folders import read_image


def make_set(folder, storage='png', crf=None):
    for seed, name in enumerate('abc'):
        write_folder(folder / 'raw' / name, make_frames(8, seed=seed))
    out = str(folder / 'out')
    convert(out, split_by_ratio(expand([str(folder / 'raw')])),
            Settings('tiny', 4, storage=storage, crf=crf))
    return out


@pytest.fixture
def data(tmp_path):
    return make_set(tmp_path)


@pytest.mark.parametrize('storage', ['png', 'memmap'])
def test_no_fault(tmp_path, storage):
    out = make_set(tmp_path, storage)
    assert verify(out) == verify(out, workers=2) == []


def edit(path, change):
    image = read_image(path).copy()
    write_image(path, change(image))


def brighten(image):
    image[5, 7, 1] ^= 4
    return image


def test_every_fault_is_listed(data):
    edit(osp.join(data, 'train/BIx4/a/00000002.png'), brighten)
    os.remove(osp.join(data, 'train/GT/a/00000005.png'))
    os.rename(
        osp.join(data, 'train/BIx4/b/00000007.png'),
        osp.join(data, 'train/BIx4/b/00000009.png'))
    edit(osp.join(data, 'train/GT/b/00000001.png'), lambda x: x[:-4])
    os.truncate(osp.join(data, 'val/GT/c/00000003.png'), 200)
    os.makedirs(osp.join(data, 'val/GT/stray'))
    with open(osp.join(data, 'meta_info_val.txt'), 'w') as file:
        file.write('c 9\n')
    os.remove(osp.join(data, 'meta_info_test.txt'))
    faults = verify(data)
    expected = [
        'meta_info_val.txt: "c 9", but metadata.json has 8 frames',
        'meta_info_test.txt: missing',
        'val/GT/stray: not in metadata.json',
        'train/GT/a/00000005.png: missing',
        'BIx4/a/00000002: not the reduction of its HR frame, differs by up '
        'to 4 grey levels',
        'BIx4/b/00000007.png: missing',
        'BIx4/b/00000009.png: too much',
        'GT/b/00000001: 64x64 instead of 64x68',
        'val/GT/c/00000003.png must be a readable image',
    ]
    assert len(faults) == len(expected)
    for text in expected:
        assert any(text in fault for fault in faults), text


def test_lr_of_another_size(data):
    edit(osp.join(data, 'val/BIx4/c/00000000.png'), lambda x: x[:, :-1])
    assert [f'{data}/val/BIx4/c/00000000: 15x17 instead of 16x17'
            ] == verify(data)


def test_faults_of_memory_maps(tmp_path):
    data = make_set(tmp_path, 'memmap')
    frames = np.load(osp.join(data, 'train/BIx4/a.npy'))
    frames[3, 0, 0, 0] ^= 1
    np.save(osp.join(data, 'train/BIx4/a.npy'), frames)
    path = osp.join(data, 'train/GT/b.npy')
    os.truncate(path, osp.getsize(path) // 2)
    faults = verify(data)
    assert len(faults) == 2
    assert 'BIx4/a/00000003: not the reduction' in faults[0]
    assert 'b.npy must be a whole .npy file' in faults[1]


@pytest.mark.parametrize('storage', ['png', 'memmap'])
def test_compressed_set(tmp_path, storage):
    """LR frames are not what HR frames reduce to; a change is found."""
    data = make_set(tmp_path, storage, crf=30)
    assert verify(data) == verify(data, workers=2) == []
    if storage == 'png':
        edit(osp.join(data, 'train/BIx4/a/00000002.png'), brighten)
    else:
        frames = np.load(osp.join(data, 'train/BIx4/a.npy'))
        frames[3, 0, 0, 0] ^= 1
        np.save(osp.join(data, 'train/BIx4/a.npy'), frames)
    assert verify(data) == [
        f'{data}/train/BIx4/a: not as the converter wrote it, by the SHA-256 '
        'of its files'
    ]


def test_unfinished_set(tmp_path):
    with pytest.raises(FileNotFoundError, match='no metadata.json'):
        verify(str(tmp_path))


def test_damaged_metadata(data):
    with open(osp.join(data, 'metadata.json'), 'w') as file:
        file.write(json.dumps({})[:-1])
    with pytest.raises(ValueError, match='metadata.json must be JSON'):
        verify(data)
