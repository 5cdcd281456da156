"""The data set: samples, and faults found before training."""
import os.path as osp
from itertools import islice

import mmcv
import numpy as np
import pytest
from conftest import write_dataset

from dksan_mm.datasets import SeededInfiniteSampler, VideoSRDataset

PIPELINE = [
    dict(type='GenerateFrameIndices', interval_list=[1], frames_per_clip=9999),
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=2)),
    dict(type='PairedRandomCrop', gt_patch_size=16),
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


def test_window_is_mirrored_at_the_ends(folder):
    dataset = make_dataset(folder, VAL_PIPELINE, test_mode=True)

    def window(index):
        paths = dataset[index]['data_samples'].img_path
        return [int(osp.basename(path)[:8]) for path in paths]

    assert window(0) == [3, 2, 1, 0, 1, 2, 3]
    assert window(8) == [5, 6, 7, 8, 7, 6, 5]
    assert window(9) == [3, 2, 1, 0, 1, 2, 3]  # the next sequence


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
    with pytest.raises(TypeError, match='must be a VideoSRDataset.*got list'):
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
    (lambda f: (f / 'meta_info_train.txt').write_text('007 9\n'), {},
     FileNotFoundError, 'names sequence 007, but .*007 does not exist'),
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


def test_checks_of_frames_can_be_left_out(folder):
    rewrite(folder / 'train/GT/001/00000005.png', (32, 50))
    assert len(make_dataset(folder, check_frames=False)) == 16


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_unreadable_image_is_named(folder, content):
    path = folder / 'train/GT/000/00000004.png'
    dataset = make_dataset(folder)
    whole = path.read_bytes()
    # None: the header survives
    path.write_bytes(whole[:40] if content is None else content)
    dataset.pipeline.transforms[0].transform = lambda results: {
        **results, 'img_path': [str(path)],
        'gt_path': [str(path)]
    }
    with pytest.raises(ValueError, match='00000004.png must be a readable im'):
        dataset[4]
