"""Compares two results frame by frame: is a gain real?"""
import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .files import Result, check_same_data
from .tables import check_metric

_CHUNK = 2**22  # numbers drawn at once


class Pairing(NamedTuple):
    """How much the second of two results gains over the first.

    Attributes:
        dataset (str): Name of the data.
        metric (str): The metric compared, a key of the results.
        systems (tuple[str, str]): Names of the two systems.
        sequences (dict): Maps a sequence to (number of frames, mean of the
            first system, mean of the second).
        difference (float): Mean difference of each sequence's frames, averaged
            over sequences without weights.
        over_sequences (tuple[float, float], optional): Its confidence interval
            for a draw of other sequences; None for a single sequence.
        over_frames (tuple[float, float]): Its confidence interval for a draw
            of other frames of the same sequences.
        left_out (int): Number of frames without a finite value in both
            results.
        level (float): Confidence level of the intervals, such as 0.95.
    """

    dataset: str
    metric: str
    systems: Tuple[str, str]
    sequences: Dict[str, Tuple[int, float, float]]
    difference: float
    over_sequences: Optional[Tuple[float, float]]
    over_frames: Tuple[float, float]
    left_out: int
    level: float

    @property
    def is_told(self) -> bool:
        """Whether the difference is significant: zero lies outside the
        interval over sequences, or, for a single one, over frames."""
        low, high = self.over_sequences or self.over_frames
        return low > 0 or high < 0


def compare_pair(first: Result,
                 second: Result,
                 metric: str = 'PSNR',
                 draws: int = 10_000,
                 level: float = 0.95,
                 seed: int = 0) -> Pairing:
    """Compare two results frame by frame, with percentile bootstrap
    intervals of the mean difference.

    Consecutive frames are alike, so the interval over frames is too narrow;
    trust the interval over sequences.

    Args:
        first (Result): A result, as :func:`read_result` returns it.
        second (Result): A result of the same frames.
        metric (str): Metric to compare. Default: 'PSNR'.
        draws (int): Number of bootstrap samples. Default: 10,000.
        level (float): Confidence level, above 0 and below 1. Default: 0.95.
        seed (int): Seed of the draws: the same input gives the same interval.
            Default: 0.

    Raises:
        ValueError: The results are of different data, one of them lacks the
            metric, or no frame has a finite value in both.
    """
    if first.dataset.name != second.dataset.name:
        raise ValueError('a pair must be of one data set, found '
                         f'{first.dataset.name} and {second.dataset.name}')
    check_same_data([first, second])
    for result in (first, second):
        check_metric([result], metric)
    sequences: Dict[str, Tuple[int, float, float]] = {}
    differences: List[np.ndarray] = []
    left_out = 0
    for name, frames in first.frames.items():
        pairs = [(a[metric], b[metric])
                 for a, b in zip(frames, second.frames[name])]
        kept = np.array([
            pair for pair in pairs if all(
                v is not None and math.isfinite(v) for v in pair)
        ], float).reshape(-1, 2)
        left_out += len(pairs) - len(kept)
        if len(kept):
            sequences[name] = (len(kept), *kept.mean(0).tolist())
            differences.append(kept[:, 1] - kept[:, 0])
    if not differences:
        raise ValueError(f'{metric} of {first.dataset.name} must be '
                         'finite in both results for one frame at least, '
                         'found none; compare by another --metric')
    means = np.array([d.mean() for d in differences])
    rng = np.random.default_rng(seed)
    over_sequences = None
    if len(means) > 1:
        over_sequences = _interval(_bootstrap(means, draws, rng), level)
    # frames are drawn within each sequence, then averaged as above
    frames_drawn = sum(_bootstrap(d, draws, rng) for d in differences)
    systems = first.system, second.system
    if systems[0] == systems[1]:
        systems = f'{systems[0]} (1)', f'{systems[1]} (2)'
    return Pairing(first.dataset.name, metric, systems, sequences,
                   float(means.mean()), over_sequences,
                   _interval(frames_drawn / len(means), level), left_out,
                   level)


def _bootstrap(values: np.ndarray, draws: int,
               rng: np.random.Generator) -> np.ndarray:
    """Return the means of ``draws`` samples drawn with replacement."""
    step = max(_CHUNK // len(values), 1)
    return np.concatenate([
        values[rng.integers(
            len(values), size=(min(step, draws - start), len(values)))].mean(1)
        for start in range(0, draws, step)
    ])


def _interval(means: np.ndarray, level: float) -> Tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pair_results(firsts: Sequence[Result],
                 seconds: Sequence[Result]) -> List[Tuple[Result, Result]]:
    """Return pairs of results, one from each list, on the same data set.

    Raises:
        ValueError: The lists have no data set in common.
    """
    by_name = {result.dataset.name: result for result in seconds}
    pairs = [(result, by_name[result.dataset.name]) for result in firsts
             if result.dataset.name in by_name]
    if not pairs:
        found = [{r.dataset.name
                  for r in results} for results in (firsts, seconds)]
        raise ValueError(
            'the two must have a data set in common, found '
            f'{" and ".join(", ".join(sorted(names)) for names in found)}')
    return pairs
