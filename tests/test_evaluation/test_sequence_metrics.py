"""PSNR and SSIM by sequence, and what all metrics by sequence share."""
import cv2
import numpy as np
import pytest
import skimage
import torch
from mmagic.datasets.transforms import PackInputs
from mmagic.evaluation import PSNR, Evaluator, niqe
from mmagic.models import DataPreprocessor
from mmagic.registry import METRICS
from skimage.metrics import peak_signal_noise_ratio

from dksan_mm.evaluation import SequenceQuality, frame_metric
from dksan_mm.evaluation.frame_metric import (channel_order, join_frames,
                                              sample_key, to_rgb)


def make_samples(sequences, seed=0, size=(24, 32)):
    """Return data samples as the evaluator gets them, by sequence."""
    rng = np.random.default_rng(seed)
    samples = []
    counts = {}
    for sequence, noise in sequences:
        frame = counts[sequence] = counts.get(sequence, -1) + 1
        truth = rng.integers(0, 256, (3, *size))
        image = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255)
        samples.append(
            dict(
                gt_img=torch.from_numpy(truth).float(),
                gt_path=[f'data/GT/{sequence}/{frame:08d}.png'],
                output=dict(pred_img=torch.from_numpy(image).float())))
    return samples


@pytest.mark.parametrize('name', ['SequencePSNR', 'SequenceSSIM'])
def test_average_is_the_unweighted_mean_over_sequences(name):
    metric = METRICS.build(dict(type=name))
    samples = make_samples([('a', 5), ('b', 20), ('b', 30), ('b', 40)])
    metric.process(None, samples[:2])
    metric.process(None, samples[2:])
    key = metric.metric
    values = [result[key] for result in metric.results]
    results = metric.compute_metrics(metric.results)
    assert set(results) == {key, f'{key}/a', f'{key}/b'}
    assert results[f'{key}/a'] == pytest.approx(values[0])
    assert results[f'{key}/b'] == pytest.approx(np.mean(values[1:]))
    assert results[key] == pytest.approx((values[0] + np.mean(values[1:])) / 2)


def test_frames_are_measured_as_mmagic_and_skimage_do():
    samples = make_samples([('a', 10)])
    metric, reference = METRICS.build(dict(type='SequencePSNR')), PSNR()
    for m in (metric, reference):
        m.process(None, samples)
    assert metric.results[0]['PSNR'] == reference.results[0]['PSNR']
    assert metric.results[0]['PSNR'] == pytest.approx(
        peak_signal_noise_ratio(
            samples[0]['gt_img'].numpy(),
            samples[0]['output']['pred_img'].numpy(),
            data_range=255),
        abs=1e-3)


def test_quality_has_what_the_two_metrics_of_validation_have():
    samples = make_samples([('a', 10), ('a', 0), ('b', 30)], size=(43, 50))
    quality = SequenceQuality(prefix='set')
    quality.process(None, samples)
    found = quality.evaluate()
    for name in ('PSNR', 'SSIM'):
        metric = METRICS.build(dict(type=f'Sequence{name}', prefix='set'))
        metric.process(None, samples)
        for key, value in metric.evaluate().items():
            assert found[key] == pytest.approx(value, abs=1e-5)
    assert list(quality.frame_results['b'][0]) == [
        'frame', 'PSNR', 'SSIM', 'PSNR_Y', 'SSIM_Y', 'PSNR_crop16',
        'SSIM_crop16', 'PSNR_Y_crop16', 'SSIM_Y_crop16'
    ]
    assert found['set/PSNR/a'] == found['set/PSNR'] == float('inf')


def test_small_frames_lack_what_cannot_be_told():
    quality = SequenceQuality(color_spaces=['RGB'])
    quality.process(None, make_samples([('a', 10)], size=(34, 50)))
    assert set(quality.evaluate()) == {
        'PSNR', 'PSNR/a', 'SSIM', 'SSIM/a', 'PSNR_crop16', 'PSNR_crop16/a'
    }
    assert quality.frame_results['a'][0]['SSIM_crop16'] is None


@pytest.mark.parametrize('kwargs, message', [
    (dict(crop_borders=[-1]), 'crop_borders must be'),
    (dict(crop_borders=[]), 'crop_borders must be'),
    (dict(color_spaces=['BGR']), 'color_spaces must be'),
])
def test_quality_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SequenceQuality(**kwargs)


def sent_through_mmagic(order):
    """Return a data sample, a reddish frame restored as a bluish one, after
    MMagic's packing and preprocessing of files read in an order."""
    truth = np.zeros((20, 30, 3), np.uint8)
    truth[..., 0], truth[..., 1] = 200, 60
    images = dict(
        img=[truth, truth],
        gt=[truth],
        key='050/00000019',
        img_channel_order=order,
        gt_channel_order=order)
    packed = PackInputs(meta_keys=['key']).transform(images)
    preprocessor = DataPreprocessor(mean=[0.] * 3, std=[255.] * 3)
    data = preprocessor(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
    restored = torch.zeros(1, 3, 20, 30)
    restored[:, 2], restored[:, 1] = 180 / 255, 60 / 255
    samples = data['data_samples']
    restored = preprocessor.destruct(restored, samples)
    sample = samples.split()[0].to_dict()
    sample['output'] = dict(pred_img=restored[0])
    return sample


def test_luma_is_of_the_right_channels():
    """MMagic's preprocessor turns RGB files' channels around in tests."""
    sample = sent_through_mmagic('rgb')
    assert channel_order(sample) == 'BGR'
    assert to_rgb(sample['gt_img'], sample)[3, 5].tolist() == [200, 60, 0]
    pred = sample['output']['pred_img']
    assert to_rgb(pred, sample)[3, 5].tolist() == [0, 60, 180]
    quality = SequenceQuality(crop_borders=[0])
    quality.process(None, [sample])
    found = quality.results[0]
    # BT.601: 65.481 for red, 24.966 for blue, of 255
    error = (65.481 * 200 - 24.966 * 180) / 255
    assert found['PSNR_Y'] == pytest.approx(
        20 * np.log10(255 / error), abs=1e-4)
    assert found['PSNR'] == pytest.approx(
        10 * np.log10(255**2 / ((200**2 + 180**2) / 3)), abs=1e-4)
    assert (found['sequence'], found['frame']) == ('050', '00000019')


def test_mmagics_luma_agrees():
    metric = METRICS.build(dict(type='SequencePSNR', convert_to='Y'))
    quality = SequenceQuality(crop_borders=[0])
    for m in (metric, quality):
        m.process(None, [sent_through_mmagic('rgb')])
    assert metric.results[0]['PSNR'] == pytest.approx(
        quality.results[0]['PSNR_Y'], abs=1e-4)


@pytest.mark.parametrize('sample, expected', [
    (dict(key='050/00000019', gt_path=['x/GT/051.npy']), ('050', '00000019')),
    (dict(gt_path=['x/GT/051/00000018.png']), ('051', '00000018')),
    (dict(gt_path='x/GT/051/00000018.png'), ('051', '00000018')),
])
def test_sample_key(sample, expected):
    assert sample_key(sample) == expected


def test_sample_without_a_name():
    with pytest.raises(KeyError, match='meta_keys'):
        sample_key(dict(img_path='a/b.png'))


def test_result_does_not_depend_on_how_frames_are_dealt_out(monkeypatch):
    """Two processes, one frame given to both, in any order: the same bits."""
    samples = make_samples([('b', 20), ('a', 5), ('b', 30), ('b', 41),
                            ('a', 7)])
    metric = METRICS.build(dict(type='SequenceSSIM'))
    metric.process(None, samples)
    one, frames = metric.evaluate(), metric.frame_results
    assert list(frames) == ['a', 'b']
    assert [f['frame'] for f in frames['b']] == [f'{i:08d}' for i in range(3)]

    first, second = (
        METRICS.build(dict(type='SequenceSSIM')) for _ in range(2))
    first.process(None, samples[::-2])
    second.process(None, samples[3::-2] + samples[:1])
    monkeypatch.setattr(
        frame_metric, 'all_gather_object',
        lambda own: [first.results, list(second.results)])
    assert second.evaluate() == one and second.frame_results == frames
    assert join_frames([second]) == frames


def test_frames_left_out_are_noticed():
    metric = METRICS.build(dict(type='SequencePSNR'))
    metric.size = 3
    metric.process(None, make_samples([('a', 5), ('a', 5)]))
    with pytest.raises(RuntimeError, match='all 3 frames .* found 2'):
        metric.evaluate()
    del metric.size
    with pytest.raises(RuntimeError, match='found 0'):
        metric.evaluate()


def test_wrong_scale_is_said():
    sample = make_samples([('a', 5)])[0]
    sample['output']['pred_img'] = sample['output']['pred_img'][:, 1:]
    metric = METRICS.build(dict(type='SequencePSNR'))
    with pytest.raises(ValueError, match='a/00000000.*(3, 23, 32)'):
        metric.process(None, [sample])


def test_evaluator_of_mmagic_takes_them():
    evaluator = Evaluator([
        dict(type='SequenceQuality', prefix='set'),
        dict(type='SequenceTOF', prefix='set')
    ])
    evaluator.process(
        make_samples([('a', 5), ('a', 9)], size=(43, 50)), None,
        evaluator.metrics)
    found = evaluator.evaluate()
    assert {'set/PSNR', 'set/tOF', 'set/tOF/a'} < set(found)
    frames = join_frames(evaluator.metrics)['a']
    assert frames[0]['tOF'] is None and frames[1]['tOF'] > 0
    assert frames[1]['frame'] == '00000001' and frames[1]['PSNR'] > 0


def test_niqe():
    """MMagic's number; a scene is more natural than noise or its blur; small
    frames and flat ones have none."""
    image = np.ascontiguousarray(
        skimage.data.astronaut()[:200, :200].transpose(2, 0, 1))

    def measure(image):
        pred = torch.from_numpy(np.ascontiguousarray(image)).float()
        sample = dict(gt_img_output_channel_order='RGB')
        return METRICS.build(dict(type='SequenceNIQE')).measure(
            pred, pred, sample)['NIQE']

    natural = measure(image)
    expected = niqe(image[::-1].transpose(1, 2, 0), 0, 'HWC', 'gray')
    assert natural == pytest.approx(float(expected))
    noise = np.random.default_rng(0).integers(0, 256, image.shape)
    blurred = cv2.blur(image.transpose(1, 2, 0), (15, 15)).transpose(2, 0, 1)
    assert natural < min(measure(noise), measure(blurred))
    assert measure(image[:, :191, :191]) is None
    assert measure(np.zeros_like(image)) is None
