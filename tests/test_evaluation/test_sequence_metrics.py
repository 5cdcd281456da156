"""PSNR and SSIM by sequence."""
import numpy as np
import pytest
import torch
from mmagic.evaluation import PSNR
from mmagic.registry import METRICS
from skimage.metrics import peak_signal_noise_ratio


def make_samples(sequences, seed=0):
    """Return data samples as the evaluator gets them, by sequence."""
    rng = np.random.default_rng(seed)
    samples = []
    for sequence, noise in sequences:
        truth = rng.integers(0, 256, (3, 24, 32))
        image = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255)
        samples.append(
            dict(
                gt_img=torch.from_numpy(truth).float(),
                gt_path=[f'data/GT/{sequence}/00000000.png'],
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
