"""Windows rendered from photographs."""
import os.path as osp

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from raw_material import as_bytes, photograph

from dksan_mm.datasets import (PhotoWindowDataset, SeededConcatDataset,
                               SeededInfiniteSampler, VideoSRDataset)
from dksan_mm.datasets.camera import CameraMotion, Scaled, film, render
from dksan_mm.datasets.photographs import (Photograph, PhotographCache,
                                           reduce_until_sharp)
from dksan_mm.datasets.reduction import reduce_frame

STILL = dict(
    speed=0, acceleration=0, turn=0, zoom=0, shakes=(0, ), still_ratio=0)
PACK = [
    dict(type='TemporalReverse', keys=['img'], reverse_ratio=0.5),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5),
    dict(type='PackInputs')
]


@pytest.fixture
def folder(tmp_path):
    """Three photographs, one of them in a folder below."""
    path = tmp_path / 'photographs'
    (path / 'more').mkdir(parents=True)
    for name in ('astronaut.png', 'coffee.png', 'more/chelsea.png'):
        image = photograph(osp.basename(name))[:300, :400]
        Image.fromarray(image).save(path / name)
    return path


def make(folder, **kwargs):
    return PhotoWindowDataset(
        **{
            'data_root': str(folder),
            'scale': 4,
            'gt_size': 48,
            'num_input_frames': 5,
            'windows_per_photograph': 2,
            **kwargs
        })


def test_a_window(folder):
    dataset = make(folder)
    assert len(dataset) == 6
    for index in range(6):
        sample = dataset[index]
        assert len(sample['img']) == 5
        assert {frame.shape for frame in sample['img']} == {(12, 12, 3)}
        assert {frame.dtype for frame in sample['img']} == {np.dtype('uint8')}
        assert sample['gt'].shape == (48, 48, 3)
        assert osp.isfile(sample['gt_path'][0])
        # the LR frame of the HR frame is the converters'
        np.testing.assert_array_equal(sample['img'][2],
                                      reduce_frame(sample['gt'], 4))


def test_frames_differ_by_a_motion_that_can_be_found(folder):
    """Of a moving camera, each frame is the one before, shifted."""
    motion = dict(STILL, speed=4)
    dataset = make(
        folder, gt_size=96, motion=motion, object_ratio=0, step=(1, 1))
    shifts = []
    for index in range(6):
        rng = np.random.default_rng(index)
        frames = [
            cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
            for frame in dataset._render(rng, index % 3)
        ]
        found = np.array([
            cv2.phaseCorrelate(a, b, cv2.createHanningWindow((96, 96), 5))[0]
            for a, b in zip(frames, frames[1:])
        ])
        assert np.ptp(found, axis=0).max() < 1.5  # an even motion
        shifts.append(found.mean(0))
    assert np.abs(shifts).max() > 2
    assert np.std(shifts, axis=0).min() > 0.5


def test_still_camera(folder):
    frames = make(
        folder, motion=STILL,
        object_ratio=0)._render(np.random.default_rng(0), 0)
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame, frames[0])


def test_object_hides_a_part_and_moves(folder):
    """With a camera that stands, what changes is near the object's edge, and
    far from it nothing does."""
    image = photograph()
    background = Scaled(np.zeros_like(image), 1.)
    motion = CameraMotion(**dict(STILL, speed=3))
    moved = 0
    for seed in range(8):
        frames = list(
            render(
                np.random.default_rng(seed), background, (80, 64), 5, motion,
                Scaled(np.full_like(image, 255), 1.)))
        shares = [np.mean(frame > 127) for frame in frames]
        assert 0.005 < shares[2] < 0.6  # seen in the middle frame
        assert frames[2].min() == 0
        edge = (frames[2] > 10) & (frames[2] < 245)
        assert edge.any()  # soft
        moved += (frames[0] != frames[4]).any()
    assert moved > 4


@pytest.mark.parametrize('frames, size', [(7, (64, 48)), (24, (160, 120)),
                                          (7, (320, 240)), (24, (340, 200)),
                                          (5, (400, 400))])
def test_camera_stays_inside(frames, size):
    """Corners of all frames, also of those larger than the photograph."""
    image = np.zeros((240, 320, 3), np.uint8)
    motion = CameraMotion(speed=20, turn=0.01, zoom=0.01, shakes=(3, ))
    for seed in range(50):
        views = film(
            np.random.default_rng(seed), Scaled(image, 1.1), size, frames,
            motion)
        for view in views:
            matrix = view.matrix(size)
            for x in (0, size[0] - 1):
                for y in (0, size[1] - 1):
                    point = matrix @ (x, y, 1)
                    assert (point > -1).all()
                    assert (point < (320, 240)).all()


@pytest.mark.parametrize('side, step', [(400, 400 / 384), (300, 300 / 384)])
def test_photograph_smaller_than_the_view(side, step):
    """The camera stays at the middle and sees all of it."""
    image = np.zeros((side, side, 3), np.uint8)
    for seed in range(5):
        views = film(
            np.random.default_rng(seed), Scaled(image, 1.2), (384, 384), 7,
            CameraMotion(turn=0, zoom=0))
        for view in views:
            middle = (side - 1) / 2
            assert view == pytest.approx((middle, middle, step, 0))


def test_object_is_of_another_photograph(folder):
    dataset = make(folder, object_ratio=1)
    photographs, drawn = dataset._photographs, []

    class Noting:

        def __getitem__(self, index):
            drawn.append(index)
            return photographs[index]

    dataset._photographs = Noting()
    for seed in range(30):
        dataset._render(np.random.default_rng(seed), seed % 3)
    pairs = set(zip(drawn[::2], drawn[1::2]))
    assert pairs == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}


class TestSeeds:

    def draws(self, dataset, seed, count, workers=0, skip=0):
        loader = dict(
            dataset=dataset,
            batch_size=2,
            num_workers=workers,
            sampler=dict(type='SeededInfiniteSampler', seed=seed),
            collate_fn=dict(type='pseudo_collate'))
        loader = Runner.build_dataloader(loader)
        if skip:
            loader.sampler.skip(skip)
        found = []
        for batch in loader:
            found += [
                as_bytes(dict(inputs=x, data_samples=y))
                for x, y in zip(batch['inputs'], batch['data_samples'])
            ]
            if len(found) >= count:
                return found[:count]

    def test_samples_depend_on_seed_and_index_alone(self, folder):
        found = self.draws(make(folder, pipeline=PACK), 1, 16)
        assert len(set(found)) == 16
        # workers, what was drawn before, and memory change nothing
        assert found == self.draws(make(folder, pipeline=PACK), 1, 16, 2)
        assert found[6:] == self.draws(
            make(folder, pipeline=PACK), 1, 10, skip=6)
        assert found == self.draws(
            make(folder, pipeline=PACK, cache_bytes=0), 1, 16)
        assert found != self.draws(make(folder, pipeline=PACK), 2, 16)

    def test_two_processes_draw_what_one_does(self, folder, monkeypatch):
        alone = self.draws(make(folder, pipeline=PACK), 1, 12)
        for rank in range(2):
            monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info',
                                lambda: (rank, 2))
            dataset = make(folder, pipeline=PACK)
            sampler = SeededInfiniteSampler(dataset, seed=1)
            indices = iter(sampler)
            own = [as_bytes(dataset[next(indices)]) for _ in range(6)]
            assert own == alone[rank::2]

    def test_global_generators_are_left_alone(self, folder):
        dataset = make(folder)
        dataset.augmentation_seed = 3
        np.random.seed(0)
        before = np.random.get_state()[1].copy()
        dataset[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before)


def sequence_set(root):
    """Write a data set of one sequence."""
    rng = np.random.default_rng(0)
    for index in range(6):
        hr = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for name, frame in (('GT', hr), ('BIx4', reduce_frame(hr, 4))):
            path = root / name / '000'
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path / f'{index:08d}.png')
    (root / 'meta.txt').write_text('000 6\n')


def test_mixed_with_real_sequences(folder, tmp_path):
    """In one batch, each as often as it has samples, and seeded."""
    sequence_set(tmp_path / 'set')
    meta = dict(dataset_type='mixed', task_name='vsr')
    parts = [
        dict(
            type='PhotoWindowDataset',
            data_root=str(folder),
            metainfo=meta,
            scale=4,
            gt_size=48,
            num_input_frames=5,
            windows_per_photograph=2,
            pipeline=PACK),
        dict(
            type='VideoSRDataset',
            data_root=str(tmp_path / 'set'),
            data_prefix=dict(img='BIx4', gt='GT'),
            ann_file='meta.txt',
            metainfo=meta,
            scale=4,
            num_input_frames=5,
            pipeline=[
                dict(
                    type='GenerateFrameIndices',
                    interval_list=[1],
                    frames_per_clip=9999),
                dict(type='LoadFrames', key='img', channel_order='rgb'),
                dict(type='LoadFrames', key='gt', channel_order='rgb'),
                dict(type='SetValues', dictionary=dict(scale=4)),
                dict(type='PairedRandomCrop', gt_patch_size=48),
                dict(type='PackInputs')
            ])
    ]
    mixed = SeededConcatDataset(parts)
    assert [type(d)
            for d in mixed.datasets] == [PhotoWindowDataset, VideoSRDataset]
    assert len(mixed) == 12
    mixed.augmentation_seed = 5
    samples = [mixed[index] for index in range(12)]
    batch = pseudo_collate(samples)
    stacked = type(samples[0]['data_samples']).stack(batch['data_samples'])
    assert stacked.gt_img.shape == (12, 3, 48, 48)
    assert torch.stack(batch['inputs']).shape == (12, 5, 3, 12, 12)
    # a second draw of the same sample differs, the same draw does not
    for index in (0, 8):
        again = as_bytes(mixed[index + 12])
        assert again != as_bytes(samples[index])
        assert again == as_bytes(mixed[index + 12])


class TestPhotographs:

    def test_blurred_ones_are_reduced(self):
        sharp = photograph('coffee.png')
        assert reduce_until_sharp(sharp, 48).shape == sharp.shape
        size = [2 * side for side in sharp.shape[1::-1]]
        large = cv2.resize(sharp, size, interpolation=cv2.INTER_CUBIC)
        reduced = reduce_until_sharp(large, 48)
        assert 0.9 * sharp.shape[1] <= reduced.shape[1] < large.shape[1]
        # but not below what a frame needs
        assert min(reduce_until_sharp(large, 700).shape[:2]) >= 700

    def test_constant_one_stays(self):
        grey = np.full((300, 300, 3), 128, np.uint8)
        assert reduce_until_sharp(grey, 48).shape == grey.shape

    def test_a_step_that_its_sides_do_not_allow(self):
        """It is lowered before the copy is chosen: a reduced copy would be
        enlarged."""
        full = np.zeros((300, 400, 3), np.uint8)
        small = Photograph(full, full[:200, :267])
        pixels, step = small.at(1.8, 256)
        assert pixels is full and step == 300 / 256
        pixels, step = small.at(1.8, 128)
        assert pixels is small.reduced and step == pytest.approx(1.2, rel=0.01)

    def test_memory_is_bounded(self, folder):
        paths = [
            str(folder / name) for name in ('astronaut.png', 'coffee.png')
        ] * 500
        cache = PhotographCache(paths, 48, 3 * 300 * 400 * 4)
        for index in range(1000):
            if index < 40 or index > 990:
                cache[index]
            held = sum(x.full.nbytes + x.reduced.nbytes
                       for x in cache._kept.values())
            assert held == cache._taken <= 3 * 300 * 400 * 4

    def test_one_photograph(self, tmp_path):
        Image.fromarray(photograph()).save(tmp_path / 'a.jpg')
        dataset = make(tmp_path, object_ratio=1)
        assert len(dataset) == 2
        assert len(dataset[0]['img']) == 5

    def test_grey_one(self, tmp_path):
        Image.fromarray(photograph()).convert('L').save(tmp_path / 'a.png')
        frame = make(tmp_path)[0]['gt']
        np.testing.assert_array_equal(frame[..., 0], frame[..., 2])

    def test_none(self, tmp_path):
        with pytest.raises(ValueError, match='must hold photographs.*none'):
            make(tmp_path)
        with pytest.raises(FileNotFoundError, match='nowhere/?, does not'):
            make(tmp_path / 'nowhere')

    def test_small_ones_are_left_out(self, folder, tmp_path, caplog):
        Image.fromarray(photograph()[:40, :200]).save(folder / 'b.png')
        assert len(make(folder)) == 6
        with pytest.raises(ValueError, match='4 files, all of them smaller'):
            make(folder, gt_size=320)

    def test_damaged_ones(self, folder):
        (folder / 'broken.jpg').write_bytes(b'no photograph')
        with pytest.raises(ValueError, match='broken.jpg must be a readable'):
            make(folder)

    def test_truncated_one(self, folder):
        path = folder / 'a.png'
        Image.fromarray(photograph()).save(path)
        path.write_bytes(path.read_bytes()[:20_000])
        dataset = make(folder)
        with pytest.raises(ValueError, match='a.png must be a readable'):
            dataset[0]

    @pytest.mark.parametrize('kind, message', [('deep', '8 bits a channel'),
                                               ('clear', 'must be opaque')])
    def test_others(self, tmp_path, kind, message):
        path = str(tmp_path / 'a.png')
        if kind == 'deep':
            cv2.imwrite(path, photograph().astype(np.uint16) * 256)
        else:
            alpha = np.full((512, 512, 1), 9, np.uint8)
            Image.fromarray(np.concatenate([photograph(), alpha],
                                           2)).save(path)
        dataset = make(tmp_path)
        with pytest.raises(
                ValueError, match=f'a.png must .*{message}|'
                f'a.png {message}'):
            dataset[0]


@pytest.mark.parametrize('kwargs, message', [
    (dict(num_input_frames=4), 'num_input_frames must be odd, got 4'),
    (dict(gt_size=50), 'gt_size must be a multiple of scale = 4, got 50'),
    (dict(windows_per_photograph=0), 'windows_per_photograph must be at'),
    (dict(object_ratio=2), 'object_ratio must be from 0 to 1, got 2'),
    (dict(step=(2, 1)), r'step must be a range'),
    (dict(step=(1, 2)), r'step\[1\] must be at most 1.95, .* got 2; lower it'),
    (dict(motion=dict(speed=-1)), r'motion.speed must be at least 0'),
    (dict(motion=dict(still_ratio=3)), r'motion.still_ratio must be from'),
    (dict(motion=dict(shakes=())), r'motion.shakes must be at least 0'),
])
def test_argument_exception(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(folder, **kwargs)


def test_sampler_wants_seeded_data_sets():
    with pytest.raises(TypeError, match='PhotoWindowDataset.*got list'):
        SeededInfiniteSampler([1, 2])
