"""The metric tOF: how well restored frames move."""
from typing import Any, Dict, Mapping, NamedTuple, Optional

import cv2
import numpy as np
from mmagic.registry import METRICS
from torch import Tensor

from .frame_metric import FrameMetric, sample_key, to_rgb

_CURE = ("a process must get whole sequences in order: set the data loader's "
         "sampler=dict(type='SequenceSampler'), or leave SequenceTOF out "
         '(tools/test.py --no-temporal)')


class _Frame(NamedTuple):
    sequence: str
    number: int
    gt: np.ndarray
    pred: np.ndarray


@METRICS.register_module()
class SequenceTOF(FrameMetric):
    """tOF: how much the motion between restored frames differs from the motion
    between HR frames, in pixels; lower is better.

    From Chu et al., "Learning temporal coherence via self-supervision for
    GAN-based video generation" (TecoGAN), SIGGRAPH 2020: the dense optical
    flow (Farneback) from the previous frame to this one is computed for HR and
    for restored frames; the frame's tOF is the mean length of the difference
    between the two flows. It was chosen because it needs no learned weights,
    and because it shows flicker and wobbling edges, which the PSNR of single
    frames hardly does. Flow parameters and the norm are those of the authors'
    code; unlike there, the whole frame counts.

    Flow is computed on 8-bit grey images, so here, and only here, restored
    frames are rounded. The value is None for a sequence's first frame. The two
    flows of a 1920x1072 frame take about a second on one core of a current
    server; leave the metric out if that is too much. It keeps only the
    previous frame.

    Args:
        **kwargs: ``prefix`` and other arguments of MMagic's sample-wise
        metrics.

    Raises:
        ValueError: While testing: a process does not get whole sequences in
            order, or frame names are not numbers.
    """

    metric = 'tOF'
    _previous: Optional[_Frame] = None

    def measure(self, gt: Tensor, pred: Tensor,
                sample: Mapping[str, Any]) -> Dict[str, Optional[float]]:
        """Return the frame's tOF, None for the first of a sequence."""
        sequence, name = sample_key(sample)
        grey = [
            cv2.cvtColor(to_rgb(image, sample), cv2.COLOR_RGB2GRAY)
            for image in (gt, pred)
        ]
        before, now = self._previous, _Frame(sequence, _number(name), *grey)
        self._previous = now
        if before is None or before.sequence != sequence:
            return dict(tOF=None)
        if now.number != before.number + 1:
            raise ValueError(
                f'{sequence}/{name}: the frame before it must be number '
                f'{now.number - 1}, found {before.number}; {_CURE}')
        difference = _flow(before.gt, now.gt) - _flow(before.pred, now.pred)
        length = np.sqrt(np.square(difference, dtype=np.float64).sum(-1))
        return dict(tOF=float(length.mean()))

    def evaluate(self, size: Optional[int] = None) -> Dict[str, float]:
        """Evaluate as :class:`FrameMetric`, and check that only the first
        frame of a sequence lacks a predecessor."""
        metrics = super().evaluate(size)
        self._previous = None
        for sequence, frames in self.frame_results.items():
            for frame in frames[1:]:
                if frame['tOF'] is None:
                    raise ValueError(
                        f'{sequence}/{frame["frame"]}: the frame before it '
                        f'was not in the same process; {_CURE}')
        return metrics


def _number(name: str) -> int:
    try:
        return int(name)
    except ValueError:
        raise ValueError(
            f'a frame must be named by its number for SequenceTOF, found '
            f'{name!r}; rename the frames, or leave the metric out') from None


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow between (H, W) uint8 images, (H, W, 2) in pixels."""
    # pyramid factor, levels, window, iterations, polynomial's size and sigma
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5,
                                        1.2, 0)
