"""Base of the metrics here: one number per frame, averaged by sequence, the
same for any number of processes."""
import os.path as osp
from typing import (Any, Dict, Iterator, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple)

import numpy as np
from mmagic.evaluation.metrics.base_sample_wise_metric import \
    BaseSampleWiseMetric
from mmagic.evaluation.metrics.metrics_utils import obtain_data
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from dksan_mm.results.averages import Frames, average_frames, merge_frames


def sample_key(sample: Mapping[str, Any]) -> Tuple[str, str]:
    """Return the names of a data sample's sequence and frame.

    They are taken from the data set's ``key``, such as ``050/00000019``, if
    the pipeline keeps it (``PackInputs(meta_keys=['key'])``); this works for
    any storage. Otherwise they are the folder and the stem of the HR frame's
    path.

    Args:
        sample (Mapping): A data sample, as a dict.

    Returns:
        tuple[str, str]: For example ``('050', '00000019')``, or
            ``('00001/0266', 'im4')`` for a frame of a clip.

    Raises:
        KeyError: The sample has neither.
    """
    key = sample.get('key')
    if key is None:
        if 'gt_path' not in sample:
            raise KeyError(
                "a data sample must have 'key' or 'gt_path' to tell its "
                "sequence, found neither; add meta_keys=['key'] to PackInputs")
        path = sample['gt_path']
        path = osp.splitext(path if isinstance(path, str) else path[0])[0]
        folder, frame = osp.split(path)
        return osp.basename(folder), frame
    sequence, frame = osp.split(key)
    return sequence, frame


class Frame(NamedTuple):
    """A restored frame and its HR frame, (C, H, W) in [0, 255]."""
    sequence: str
    name: str
    gt: Tensor
    pred: Tensor


def split_sample(sample: Mapping[str, Any],
                 gt_key: str = 'gt_img',
                 pred_key: str = 'pred_img',
                 device: str = 'cpu') -> Iterator[Frame]:
    """Yield the frames of a tested data sample: a single one or, if the
    network restores whole sequences, those of the sequence in order.

    Args:
        sample (Mapping): A data sample, as a dict.
        gt_key, pred_key (str): Keys of the HR and the restored images, (C, H,
            W) or (T, C, H, W).
        device (str): Device to move them to. Default: 'cpu'.

    Raises:
        KeyError: As for :func:`sample_key`.
        ValueError: A restored image does not have the shape of its HR frame.
    """
    gt = obtain_data(sample, gt_key, device)
    pred = obtain_data(sample['output'], pred_key, device)
    if gt.ndim == 4:
        sequence = sample.get('key') or sample_key(sample)[0]
        names = [
            osp.splitext(osp.basename(path))[0] for path in sample['gt_path']
        ]
    else:
        sequence, name = sample_key(sample)
        names = [name]
    if gt.shape != pred.shape or gt.ndim not in (3, 4):
        raise ValueError(
            f'{sequence}/{names[0]}: the restored frame must have the HR '
            f'shape (C, H, W), found {tuple(pred.shape)} against '
            f"{tuple(gt.shape)}; does the model's scale fit the data?")
    pairs = zip(gt, pred) if gt.ndim == 4 else [(gt, pred)]
    for name, pair in zip(names, pairs):
        yield Frame(sequence, name, *pair)


class FrameMetric(BaseSampleWiseMetric):
    """Base of metrics that report the mean over frames for each sequence and,
    as the average, the unweighted mean over sequences.

    MMagic's metrics average over all frames. They also rely on mmengine's
    ``collect_results``, which assumes that every process has every n-th
    sample. Here the numbers of all processes are gathered, whatever the
    sampler, sorted and only then averaged, so that one and two processes give
    the same bits. A metric keeps numbers, never frames.

    A subclass defines ``process_image`` and ``metric`` as in MMagic, or
    :meth:`measure` for several numbers per frame.

    Attributes:
        frame_results (dict): After :meth:`evaluate`, ``{sequence: [{'frame':
            name, metric: value, ...}, ...]}`` of all processes, sorted.
    """

    frame_results: Optional[Frames] = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure a batch of data samples with images, (C, H, W) in [0, 255],
        or sequences of images, (T, C, H, W).

        Raises:
            ValueError: A prediction does not have the shape of its HR frame.
        """
        for sample in data_samples:
            for sequence, name, gt, pred in split_sample(
                    sample, self.gt_key, self.pred_key, self.device):
                values = self.measure(gt, pred,
                                      dict(sample, key=f'{sequence}/{name}'))
                self.results.append(
                    dict(sequence=sequence, frame=name, **values))

    def measure(self, gt: Tensor, pred: Tensor,
                sample: Mapping[str, Any]) -> Dict[str, Optional[float]]:
        """Return the frame's numbers by name; None means "not measurable"."""
        return {self.metric: float(self.process_image(gt, pred, None))}

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Return ``{metric: average, metric/000: ..., metric/001: ...}``."""
        overall, sequences = average_frames(merge_frames([results]))
        metrics = {}
        for name, value in overall.items():
            if value is not None:
                metrics[name] = value
                metrics.update({
                    f'{name}/{sequence}': means[name]
                    for sequence, means in sequences.items()
                    if means[name] is not None
                })
        return metrics

    def evaluate(self, size: Optional[int] = None) -> Dict[str, float]:
        """Return :meth:`compute_metrics` of the frames of all processes, in
        every process, with the prefix.

        Args:
            size (int, optional): Number of samples in the data set. Default:
                None, the number that :meth:`prepare` found.

        Raises:
            RuntimeError: Frames are missing.
        """
        parts = all_gather_object(self.results)
        self.frame_results = merge_frames(parts)
        results = sum(parts, [])
        self.results.clear()
        found = sum(map(len, self.frame_results.values()))
        size = getattr(self, 'size', found) if size is None else size
        # a sample is a frame, or a sequence
        if not found or size not in (found, len(self.frame_results)):
            raise RuntimeError(
                f'{type(self).__name__} must measure all {size} frames of the '
                f'data set, found {found}: the sampler or drop_last leaves '
                "some out; use sampler=dict(type='SequenceSampler')")
        metrics = self.compute_metrics(results)
        prefix = f'{self.prefix}/' if self.prefix else ''
        return {f'{prefix}{name}': value for name, value in metrics.items()}


def channel_order(sample: Mapping[str, Any]) -> str:
    """Return the order of a data sample's channels, 'RGB' or 'BGR'.

    It is noted by MMagic's data preprocessor, which converts HR and restored
    frames to BGR in tests, even if the network works in RGB.
    """
    return (sample.get('gt_img_output_channel_order') or 'BGR').upper()


def to_rgb(image: Tensor, sample: Mapping[str, Any]) -> np.ndarray:
    """Return a data sample's image, (C, H, W) in [0, 255], as 8-bit RGB, (H,
    W, C), rounded, for files and for metrics on 8 bits."""
    array = image.detach().cpu().permute(1, 2, 0).numpy()
    if array.dtype != np.uint8:
        array = np.rint(array.astype(np.float32)).clip(0, 255).astype(np.uint8)
    if channel_order(sample) == 'BGR':
        array = array[..., ::-1]
    return np.ascontiguousarray(array)


def join_frames(metrics: Sequence[BaseMetric]) -> Frames:
    """Return the numbers of all metrics by sequence, frame by frame."""
    joined: Frames = {}
    for metric in metrics:
        found = getattr(metric, 'frame_results', None) or {}
        for sequence, frames in found.items():
            places = joined.setdefault(sequence, [{} for _ in frames])
            for place, values in zip(places, frames):
                place.update(values)
    return joined
