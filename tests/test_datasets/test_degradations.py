"""Degradations of real video."""
import os.path as osp
from copy import deepcopy

import av
import numpy as np
import pytest
import torch
from commands import ROOT
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from raw_material import as_bytes, make_frames, photograph, write_dataset

from dksan_mm.datasets import RandomH264Compression, RoundFrames
from dksan_mm.datasets.reduction import reduce_frame
from dksan_mm.video.compression import compress

FRAMES = list(make_frames(7, (62, 70)))


def psnr(frames, others):
    error = np.subtract(frames, others, dtype=np.float64)
    return 10 * np.log10(255**2 / np.square(error).mean())


class TestCompress:

    def test_each_frame_is_itself_but_worse_the_higher_the_crf(self):
        found = [list(compress(FRAMES, crf)) for crf in (10, 25, 40)]
        for frames in found:
            assert {(frame.shape, frame.dtype.name)
                    for frame in frames} == {((62, 70, 3), 'uint8')}
            assert len(frames) == 7
        # nearer to its own frame than to the one before or after
        for t in range(1, 6):
            own, before, after = (
                psnr(found[0][t], FRAMES[t + d]) for d in (0, -1, 1))
            assert own > max(before, after) + 5
        first, second, third = (psnr(frames, FRAMES) for frames in found)
        assert first > second + 1 > third + 2

    def test_a_stream(self):
        """A long video is not held in memory as a whole."""
        read = []

        def frames():
            for frame in make_frames(150, (32, 34)):
                read.append(frame)
                yield frame

        stream = compress(frames(), 30)
        next(stream)
        assert len(read) < 100
        assert sum(1 for _ in stream) == 149 == len(read) - 1

    def test_is_what_a_file_holds(self, tmp_path):
        """By a container, as a user compresses, at the same settings."""
        path = str(tmp_path / 'a.mkv')
        with av.open(path, 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.height, stream.width = FRAMES[0].shape[:2]
            stream.pix_fmt, stream.thread_count = 'yuv420p', 1
            stream.options = {
                'crf': '30',
                'preset': 'medium',
                'x264-params': 'cpu-independent=1'
            }
            for frame in FRAMES:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
        with av.open(path) as container:
            expected = [
                image.to_ndarray(format='rgb24')
                for image in container.decode(video=0)
            ]
        np.testing.assert_array_equal(list(compress(FRAMES, 30)), expected)

    @pytest.mark.parametrize('frame, message', [
        (np.zeros((32, 33, 3), np.uint8), 'even sides.*33x32'),
        (np.zeros((32, 32, 3), np.float32), 'got float32.*RoundFrames'),
    ])
    def test_exception(self, frame, message):
        with pytest.raises(ValueError, match=message):
            list(compress([frame], 20))


class TestRandomH264Compression:

    def test_draws_from_numpys_generator_alone(self):
        step = RandomH264Compression(
            dict(crf=[15, 45], preset=['ultrafast', 'medium']), ['img'])
        found = set()
        for seed in (0, 1, 2, 0, 1, 2):
            np.random.seed(seed)
            frames = step(dict(img=FRAMES))['img']
            found.add(np.stack(frames).tobytes())
        assert len(found) == 3

    def test_share(self):
        step = RandomH264Compression(dict(crf=[30, 30], prob=0.5), ['img'])
        np.random.seed(0)
        kept = sum(
            step(dict(img=FRAMES[:2]))['img'][0] is FRAMES[0]
            for _ in range(40))
        assert 10 < kept < 30

    @pytest.mark.parametrize('params', [{}, dict(crf=[30]), dict(crf=[9, 60])])
    def test_exception(self, params):
        with pytest.raises(
                ValueError, match='crf, a range .low, high. from 0'):
            RandomH264Compression(params, ['img'])


def test_round_frames():
    frames = [np.array([[[-3, 0.4, 0.6]]]), np.array([[[254.6, 300, 9]]])]
    found = RoundFrames(['img'])(dict(img=frames))['img']
    assert [frame.dtype.name for frame in found] == ['uint8', 'uint8']
    assert [frame.ravel().tolist() for frame in found] == [[0, 0, 1],
                                                           [255, 255, 9]]


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """Return the training data of dksan-lite-real_x4, of a few frames."""
    folder = tmp_path_factory.mktemp('real')
    (folder / 'photographs').mkdir()
    for name in ('astronaut.png', 'coffee.png'):
        image = Image.fromarray(photograph(name)[:300, :400])
        image.save(folder / 'photographs' / name)
    write_dataset(folder, dict(train={'a': 8}), scale=4, size=(52, 56))
    cfg = Config.fromfile(osp.join(ROOT, 'configs/dksan-lite-real_x4.py'))
    loader = cfg.train_dataloader
    photographs, clips = loader.dataset.datasets
    photographs.update(
        data_root=str(folder / 'photographs'), windows_per_photograph=3)
    clips.data_root = str(folder)
    return loader


class TestRealVideo:

    def test_windows(self, training):
        dataset = DATASETS.build(training.dataset)
        dataset.augmentation_seed = 0
        assert len(dataset) == 6 + 8
        worst = []
        for index in range(28):
            sample = dataset[index]
            assert sample['inputs'].shape == (7, 3, 48, 48)
            assert sample['inputs'].dtype == torch.uint8
            gt = sample['data_samples'].gt_img.numpy()
            assert gt.shape == (3, 192, 192)
            clean = reduce_frame(gt.transpose(1, 2, 0), 4)
            lr = sample['inputs'][3].numpy().transpose(1, 2, 0)
            worst.append(psnr(lr, clean))
        # the same scene at the same place, degraded more or less
        assert min(worst) > 15 and np.ptp(worst) > 10

    def test_hr_frames_are_clean(self, training):
        """Without degradations the LR frames are the converters'; HR frames
        are the same with them and without."""
        clean = deepcopy(training.dataset)
        for dataset in clean.datasets:
            dataset.pipeline = [
                step for step in dataset.pipeline
                if step.type not in ('RandomBlur', 'RandomResize',
                                     'RandomNoise', 'RandomJPEGCompression',
                                     'RandomH264Compression')
            ]
            for step in dataset.pipeline:
                if step.type == 'RandomChoice':
                    step.prob = [1., 0.]
        degraded, clean = map(DATASETS.build, (training.dataset, clean))
        degraded.augmentation_seed = clean.augmentation_seed = 0
        for index in range(14):
            gt = clean[index]['data_samples'].gt_img
            assert torch.equal(degraded[index]['data_samples'].gt_img, gt)
            lr = reduce_frame(gt.numpy().transpose(1, 2, 0), 4)
            found = clean[index]['inputs'][3].numpy().transpose(1, 2, 0)
            # MMagic rounds a half to even, MATLAB upwards
            assert np.abs(found.astype(int) - lr).max() <= 1

    @pytest.mark.parametrize('workers', [0, 2])
    def test_a_sample_depends_on_seed_and_index_alone(self, training, workers):
        """Whatever was drawn before, in whatever process."""
        loader = deepcopy(training)
        loader.update(
            batch_size=1, num_workers=workers, persistent_workers=False)
        batches = iter(Runner.build_dataloader(loader, seed=3))
        found = [next(batches) for _ in range(8)]
        alone = Runner.build_dataloader(loader, seed=3)
        dataset = alone.dataset
        drawn = [index for index, _ in zip(alone.sampler, range(8))]
        np.random.seed(77)
        for index, batch in reversed(list(zip(drawn, found))):
            sample = dataset[index]
            expected = dict(
                inputs=batch['inputs'][0],
                data_samples=batch['data_samples'][0])
            assert as_bytes(sample) == as_bytes(expected)
