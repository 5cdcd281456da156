"""tOF: motion that is right, wrong, or cannot be told."""
import cv2
import numpy as np
import pytest
import torch

from dksan_mm.evaluation import SequenceTOF

SIZE = (80, 112)


def scene(seed=0):
    """Return a smooth pattern to move a window over."""
    noise = np.random.default_rng(seed).integers(
        0, 256, (SIZE[0] + 40, SIZE[1] + 40, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2)
    return (blurred - blurred.min()) * (255 / np.ptp(blurred))


def frames(motion, count=3):
    """Return frames of the scene; motion is (down, right) a frame."""
    picture, result = scene(), []
    for t in range(count):
        top, left = 20 - t * motion[0], 20 - t * motion[1]
        view = picture[top:top + SIZE[0], left:left + SIZE[1]]
        result.append(torch.from_numpy(view.transpose(2, 0, 1).copy()))
    return result


def measure(gt, pred, sequence='a', numbers=None, metric=None):
    metric = metric or SequenceTOF()
    for number, pair in zip(numbers or range(len(gt)), zip(gt, pred)):
        sample = dict(
            key=f'{sequence}/{number:08d}',
            gt_img=pair[0],
            output=dict(pred_img=pair[1]))
        metric.process(None, [sample])
    return metric


def values(metric):
    return [result['tOF'] for result in metric.results]


def test_right_motion_is_zero_whatever_the_brightness():
    gt = frames((1, 2))
    assert values(measure(gt, gt)) == [None, 0, 0]
    darker = values(measure(gt, [0.8 * frame for frame in gt]))
    assert max(darker[1:]) < 0.1


def test_wrong_motion_is_its_error_in_pixels():
    """A restored clip that stands still or moves the other way."""
    gt = frames((3, 4))
    for motion, error in (((0, 0), 5), ((3, 1), 3), ((3, 4), 0)):
        found = values(measure(gt, frames(motion)))[1:]
        np.testing.assert_allclose(found, error, atol=0.35)


def test_flicker_is_seen_where_psnr_sees_nothing():
    """The same error a frame, still or from frame to frame another."""
    gt = frames((0, 0), 4)
    rng = np.random.default_rng(1)
    noise = [
        torch.from_numpy(
            cv2.GaussianBlur(
                rng.normal(0, 60, (*SIZE, 3)).astype(np.float32), (0, 0),
                2).transpose(2, 0, 1).copy()) for _ in range(4)
    ]
    still = values(measure(gt, [frame + noise[0] for frame in gt]))
    wobbling = values(measure(gt, [f + n for f, n in zip(gt, noise)]))
    assert max(still[1:]) < 0.01 and min(wobbling[1:]) > 0.1


def test_sequences_do_not_meet():
    gt = frames((1, 2))
    metric = measure(gt, gt)
    measure(gt[:1], gt[:1], 'b', [3], metric)
    assert values(metric)[3] is None
    # one frame: nothing to tell, and nothing in the average
    assert set(metric.evaluate()) == {'tOF', 'tOF/a'}
    assert metric.frame_results['b'] == [dict(frame='00000003', tOF=None)]


@pytest.mark.parametrize('numbers', [[0, 2, 3], [0, 1, 0], [5, 4, 3]])
def test_frames_out_of_order_are_refused(numbers):
    gt = frames((1, 2))
    with pytest.raises(ValueError, match='SequenceSampler'):
        measure(gt, gt, numbers=numbers)


def test_names_must_be_numbers():
    metric = SequenceTOF()
    frame = frames((0, 0), 1)[0]
    with pytest.raises(ValueError, match="found 'first'"):
        metric.process(
            None,
            [dict(key='a/first', gt_img=frame, output=dict(pred_img=frame))])


def test_sequence_torn_between_processes_is_refused():
    """Its second half has no frame before it."""
    gt = frames((1, 2), 4)
    metric = measure(gt[:2], gt[:2])
    metric._previous = None  # another process
    measure(gt[2:], gt[2:], numbers=[2, 3], metric=metric)
    with pytest.raises(ValueError, match='a/00000002.*SequenceSampler'):
        metric.evaluate()
