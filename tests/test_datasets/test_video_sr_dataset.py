"""The data set: samples, and faults found before training."""
import os.path as osp
import shutil
from itertools import islice

import mmcv
import numpy as np
import pytest
from raw_material import write_dataset

from dksan_mm.datasets import (CopyFrames, LoadFrames, SeededInfiniteSampler,
                               VideoSRDataset)

PIPELINE = [
    dict(type='GenerateFrameIndices', interval_list=[1], frames_per_clip=9999),
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=2)),
    dict(type='PairedRandomCrop', gt_patch_size=16),
    dict(type='CopyFrames', keys=['img', 'gt']),
    dict(
        type='Flip',
        keys=['img', 'gt'],
        flip_ratio=0.5,
        direction='horizontal'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs')
]
VAL_PIPELINE = [
    dict(type='GenerateFrameIndiceswithPadding', padding='reflection'),
    dict(type='PackInputs')
]
WHOLE_PIPELINE = [
    VAL_PIPELINE[0], *PIPELINE[1:3],
    dict(type='CopyFrames', keys=['img', 'gt']), VAL_PIPELINE[1]
]


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path, dict(train={'000': 9, '001': 7}))
    return tmp_path


def make_dataset(folder, pipeline=PIPELINE, **kwargs):
    return VideoSRDataset(
        **{
            **dict(
                data_root=str(folder),
                data_prefix=dict(img='train/BIx2', gt='train/GT'),
                ann_file='meta_info_train.txt',
                scale=2,
                pipeline=pipeline),
            **kwargs
        })


def test_sample(folder):
    dataset = make_dataset(folder)
    assert len(dataset) == 16
    sample = dataset[0]
    assert sample['inputs'].shape == (7, 3, 8, 8)
    assert sample['data_samples'].gt_img.shape == (3, 16, 16)


def test_lr_and_hr_patches_belong_together(folder):
    dataset = make_dataset(folder)
    for index in range(6):
        sample = dataset[index]
        hr = sample['data_samples'].gt_img.float()
        means = hr.unflatten(1, (8, 2)).unflatten(3, (8, 2)).mean((2, 4))
        np.testing.assert_allclose(
            sample['inputs'][3], means, rtol=0, atol=0.51)


def make_maps(folder):
    """Return a copy of a data set in memory maps."""
    maps = folder / 'maps'
    for kind in ('BIx2', 'GT'):
        (maps / 'train' / kind).mkdir(parents=True)
        for sequence in sorted((folder / 'train' / kind).iterdir()):
            frames = [
                mmcv.imread(str(path), channel_order='rgb')
                for path in sorted(sequence.iterdir())
            ]
            np.save(maps / 'train' / kind / f'{sequence.name}.npy', frames)
    shutil.copy(folder / 'meta_info_train.txt', maps)
    return maps


def assert_same_samples(first, second):
    assert len(first) == len(second)
    for index in range(0, 6 * len(first), 5):
        a, b = first[index], second[index]
        assert a['inputs'].equal(b['inputs'])
        assert a['data_samples'].gt_img.equal(b['data_samples'].gt_img)
        names = [[path[-12:] for path in s['data_samples'].img_path]
                 for s in (a, b)]
        assert names[0] == names[1]


@pytest.mark.parametrize('pipeline', [PIPELINE, WHOLE_PIPELINE])
@pytest.mark.parametrize('ann_file', ['meta_info_train.txt', ''])
def test_memory_maps_give_the_same_samples(folder, pipeline, ann_file):
    """Crops, flips and all; and the maps stay as they are."""
    maps = make_maps(folder)
    before = (maps / 'train/GT/000.npy').read_bytes()
    sets = [
        make_dataset(root, pipeline, ann_file=ann_file)
        for root in (folder, maps)
    ]
    for dataset in sets:
        dataset.augmentation_seed = 3
    assert_same_samples(*sets)
    assert_same_samples(*sets)
    assert (maps / 'train/GT/000.npy').read_bytes() == before


def test_only_what_is_needed_is_read(folder, monkeypatch):
    """Seven LR frames and one HR frame, the middle one, for a sample."""
    dataset = make_dataset(folder)
    read = []

    def load(self, filename):
        read.append(osp.relpath(filename, folder / 'train'))
        return original(self, filename)

    original = LoadFrames._load_image
    monkeypatch.setattr(LoadFrames, '_load_image', load)
    dataset[12]
    assert len(read) == 8
    assert [name[:4] for name in read].count('BIx2') == 7
    assert read[7] == read[3].replace('BIx2', 'GT')


def test_windows_can_be_reversed(folder):
    pipeline = [
        PIPELINE[0],
        dict(type='TemporalReverse', keys=['img_path'], reverse_ratio=1),
        PIPELINE[1], PIPELINE[2], PIPELINE[-1]
    ]
    plain = make_dataset(folder, [*PIPELINE[:3], PIPELINE[-1]])[4]
    turned = make_dataset(folder, pipeline)[4]
    assert turned['inputs'].equal(plain['inputs'].flip(0))
    assert turned['data_samples'].gt_img.equal(plain['data_samples'].gt_img)


def test_a_copy_does_not_keep_the_frame():
    frame = np.zeros((40, 60, 3), np.uint8)
    crop = frame[:8, :8]
    results = CopyFrames(['img', 'gt'])(dict(img=[crop, crop], gt=crop))
    for copy in (*results['img'], results['gt']):
        assert copy.base is None and copy.flags.owndata
        np.testing.assert_array_equal(copy, crop)


def map_damages(maps):
    path = maps / 'train/GT/001.npy'
    return {
        'cut':
        lambda: path.write_bytes(path.read_bytes()[:-5]),
        'text':
        lambda: path.write_text('no map'),
        'float':
        lambda: np.save(path, np.zeros((7, 32, 48, 3))),
        'short':
        lambda: np.save(path,
                        np.load(path)[:-1]),
        'size':
        lambda: np.save(path,
                        np.load(path)[:, :-2]),
        'both':
        lambda: shutil.copytree(maps / '../train/GT/001', maps / 'train/GT/001'
                                ),
    }


@pytest.mark.parametrize('damage, message', [
    ('cut', '001.npy must be a whole .npy file'),
    ('text', '001.npy must be a whole .npy file'),
    ('float', r'001.npy must hold frames, .*found \(7, 32, 48, 3\) float64'),
    ('short', '001.npy must hold frames 00000000.png to .* found 6 files'),
    ('size', r'sequence 001: HR frames must be 2 times'),
    ('both', 'sequence 001 must be stored once .* found .*001 and .*001.npy'),
])
def test_faults_of_memory_maps_are_found_at_once(folder, damage, message):
    maps = make_maps(folder)
    map_damages(maps)[damage]()
    with pytest.raises(ValueError, match=message):
        make_dataset(maps)


def test_window_is_mirrored_at_the_ends(folder):
    dataset = make_dataset(folder, VAL_PIPELINE, test_mode=True)

    def window(index):
        paths = dataset[index]['data_samples'].img_path
        return [int(osp.basename(path)[:8]) for path in paths]

    assert window(0) == [3, 2, 1, 0, 1, 2, 3]
    assert window(8) == [5, 6, 7, 8, 7, 6, 5]
    assert window(9) == [3, 2, 1, 0, 1, 2, 3]  # the next sequence


def test_annotations_of_other_systems(folder):
    (folder / 'bom.txt').write_bytes(b'\xef\xbb\xbf000 9\r\n\r\n')
    assert len(make_dataset(folder, ann_file='bom.txt')) == 9
    (folder / 'size.txt').write_text('000 (16,24,3)\n')
    assert len(make_dataset(folder, ann_file='size.txt')) == 9


def test_without_annotation_and_by_frames(folder):
    assert len(make_dataset(folder, ann_file='')) == 16
    (folder / 'frames.txt').write_text(
        '000/00000004.png (32, 48, 3)\n001/00000003.png (32, 48, 3)\n')
    dataset = make_dataset(folder, ann_file='frames.txt')
    assert [dataset.get_data_info(i)['key']
            for i in range(2)] == ['000/00000004', '001/00000003']


def collect(dataset, num_ranks, batch, monkeypatch, seed=3, draws=8):
    """Return the first samples that ranks draw, batch by batch."""
    ranks = []
    for rank in range(num_ranks):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info',
            lambda rank=rank: (rank, num_ranks))
        ranks.append(iter(SeededInfiniteSampler(dataset, seed=seed)))
    batches = []
    for _ in range(draws // batch):
        indices = [
            next(rank) for rank in ranks for _ in range(batch // num_ranks)
        ]
        samples = [dataset[index]['inputs'].numpy() for index in indices]
        batches.append(sorted(sample.tobytes() for sample in samples))
    return batches


def test_draws_do_not_depend_on_the_number_of_processes(folder, monkeypatch):
    dataset = make_dataset(folder)
    one = collect(dataset, 1, 4, monkeypatch)
    np.random.seed(99)  # nor on anyone's generator
    assert collect(dataset, 2, 4, monkeypatch) == one
    assert collect(dataset, 4, 4, monkeypatch) == one
    assert collect(dataset, 1, 4, monkeypatch, seed=4) != one


def test_skipping_draws(folder):
    dataset = make_dataset(folder)
    sampler = SeededInfiniteSampler(dataset, seed=0)
    expected = list(islice(sampler, 40))[30:]
    sampler.skip(30)
    assert list(islice(sampler, 10)) == expected


def test_seeding_leaves_the_generators_alone(folder):
    dataset = make_dataset(folder)
    index = next(iter(SeededInfiniteSampler(dataset, seed=0)))
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    dataset[index]
    assert np.random.random() == expected


def test_draws_of_one_sample_differ(folder):
    dataset = make_dataset(folder)
    SeededInfiniteSampler(dataset, seed=0)
    draws = {
        dataset[draw * 16]['inputs'].numpy().tobytes()
        for draw in range(8)
    }
    assert len(draws) > 4


def test_sampler_exception():
    with pytest.raises(TypeError, match='VideoSRDataset, .*got list'):
        SeededInfiniteSampler([1, 2])


def remove(path):
    path.unlink()


def rewrite(path, size):
    mmcv.imwrite(np.zeros((*size, 3), np.uint8), str(path))


@pytest.mark.parametrize('damage, kwargs, error, message', [
    (None, dict(data_root='/nowhere'), FileNotFoundError,
     "folder of 'img' frames, /nowhere/train/BIx2, does not exist"),
    (None, dict(ann_file='no.txt'), FileNotFoundError, 'no.txt does not exis'),
    (lambda f: (f / 'meta_info_train.txt').write_text(''), {}, ValueError,
     'meta_info_train.txt must name at least one sequence, found none'),
    (lambda f:
     (f / 'meta_info_train.txt').write_text('007 9\n'), {}, FileNotFoundError,
     'names sequence 007, but neither .*BIx2/007 nor .*007.npy'),
    (lambda f: (f / 'meta_info_train.txt').write_text('000 -8\n'), {},
     ValueError, "number of frames of 000, .* found '-8'"),
    (lambda f: (f / 'meta_info_train.txt').write_text('000 8.0\n'), {},
     ValueError, "found '8.0'"),
    (lambda f: (f / 'meta_info_train.txt').write_bytes(b'00\xe9 9\n'), {},
     ValueError, 'meta_info_train.txt must be text in UTF-8'),
    (None, dict(scale='abc'), ValueError, "scale must be .* got 'abc'"),
    (lambda f: (f / 'meta_info_train.txt').write_text('000 10\n'), {},
     ValueError, 'to 00000009.png and nothing else, found 9 files.*00000009'),
    (lambda f: (f / 'meta_info_train.txt').write_text('000/00000031.png\n'),
     {}, FileNotFoundError, 'names frame 000/00000031, which .* does not'),
    (lambda f: remove(f / 'train/BIx2/000/00000003.png'), {}, ValueError,
     'BIx2/000 must hold .* is 00000003.png'),
    (lambda f: remove(f / 'train/GT/000/00000008.png'), {}, ValueError,
     'GT/000 must hold .* found 8 files.* is 00000008.png'),
    (None, dict(num_input_frames=9), ValueError,
     r'001 must hold at least 9 frames.*found 7'),
    (None, dict(scale=4), ValueError,
     r'sequence 000: HR frames must be 4 times .*\(48, 32\).*\(24, 16\)'),
    (lambda f: rewrite(f / 'train/GT/001/00000005.png', (32, 50)), {},
     ValueError, r'00000005.png must be \(48, 32\).*found \(50, 32\)'),
    (lambda f: (f / 'train/GT/001/00000005.png').write_bytes(b'x'), {},
     ValueError, 'GT/001/00000005.png must be a readable image'),
])
def test_faults_are_found_at_once(folder, damage, kwargs, error, message):
    if damage:
        damage(folder)
    with pytest.raises(error, match=message):
        make_dataset(folder, **kwargs)


def test_folder_called_like_the_data_set(folder, monkeypatch):
    """mmengine by itself reads a file of that name as annotation."""
    (folder / 'vid3oc').mkdir()
    monkeypatch.chdir(folder)
    metainfo = dict(dataset_type='vid3oc', task_name='vsr')
    assert make_dataset(folder, metainfo=metainfo).metainfo == metainfo


def test_checks_of_frames_can_be_left_out(folder):
    rewrite(folder / 'train/GT/001/00000005.png', (32, 50))
    assert len(make_dataset(folder, check_frames=False)) == 16


@pytest.mark.parametrize('content', [b'', b'no image', 40, -60])
def test_unreadable_image_is_named(folder, content):
    path = folder / 'train/GT/000/00000004.png'
    dataset = make_dataset(folder)
    whole = path.read_bytes()
    # a number: so much of it survives, in each case with the header
    path.write_bytes(whole[:content] if isinstance(content, int) else content)
    dataset.pipeline.transforms[0].transform = lambda results: {
        **results, 'img_path': [str(path)],
        'gt_path': [str(path)]
    }
    with pytest.raises(ValueError, match='00000004.png must be a readable im'):
        dataset[4]
