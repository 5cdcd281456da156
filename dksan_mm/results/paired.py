"""Two results of the same frames, compared pair by pair: is a gain real?"""
import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from .files import check_same_data
from .tables import check_metric

_CHUNK = 2**22  # numbers drawn at once


class Pairing(NamedTuple):
    """What the second of two results has more than the first.

    Attributes:
        dataset (str): Name of the data.
        metric (str): Key of the results.
        systems (tuple[str, str]): The two.
        sequences (dict): Sequence to (number of frames, mean of the first, of
            the second).
        difference (float): Unweighted mean over sequences of the frames' mean
            difference.
        over_sequences (tuple[float, float], optional): Interval of it, had
            other sequences been drawn; None for a single one.
        over_frames (tuple[float, float]): Interval of it, had other frames
            of these very sequences been drawn.
        left_out (int): Frames without a finite number in both.
        level (float): Of the intervals, such as 0.95.
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
        """Whether zero lies outside the interval: that over sequences, or,
        of a single one, that over frames."""
        low, high = self.over_sequences or self.over_frames
        return low > 0 or high < 0


def compare_pair(first: Mapping[str, Any],
                 second: Mapping[str, Any],
                 metric: str = 'PSNR',
                 draws: int = 10_000,
                 level: float = 0.95,
                 seed: int = 0) -> Pairing:
    """Compare two results frame by frame, with percentile bootstrap
    intervals of the mean difference.

    Successive frames are alike, so that the interval over frames is too
    narrow; that over sequences is the one to trust.

    Args:
        first (Mapping): As :func:`read_result` returns it.
        second (Mapping): Of the same frames.
        metric (str): Key of both. Default: 'PSNR'.
        draws (int): Bootstrap samples. Default: 10,000.
        level (float): Of the intervals, above 0 and below 1. Default: 0.95.
        seed (int): Of the draws: the same numbers give the same interval.
            Default: 0.

    Raises:
        ValueError: The results are of different data, one of them lacks the
            metric, or no frame has a finite number in both.
    """
    if first['dataset']['name'] != second['dataset']['name']:
        raise ValueError(
            'a pair must be of one data set, found '
            f'{first["dataset"]["name"]} and {second["dataset"]["name"]}')
    check_same_data([first, second])
    for result in (first, second):
        check_metric([result], metric)
    sequences: Dict[str, Tuple[int, float, float]] = {}
    differences: List[np.ndarray] = []
    left_out = 0
    for name, frames in first['frames'].items():
        pairs = [(a[metric], b[metric])
                 for a, b in zip(frames, second['frames'][name])]
        kept = np.array([
            pair for pair in pairs if all(
                v is not None and math.isfinite(v) for v in pair)
        ], float).reshape(-1, 2)
        left_out += len(pairs) - len(kept)
        if len(kept):
            sequences[name] = (len(kept), *kept.mean(0).tolist())
            differences.append(kept[:, 1] - kept[:, 0])
    if not differences:
        raise ValueError(f'{metric} of {first["dataset"]["name"]} must be '
                         'finite in both results for one frame at least, '
                         'found none; compare by another --metric')
    means = np.array([d.mean() for d in differences])
    rng = np.random.default_rng(seed)
    over_sequences = None
    if len(means) > 1:
        over_sequences = _interval(_bootstrap(means, draws, rng), level)
    # a sequence's frames are drawn for themselves, then averaged as above
    frames_drawn = sum(_bootstrap(d, draws, rng) for d in differences)
    systems = first['system'], second['system']
    if systems[0] == systems[1]:
        systems = f'{systems[0]} (1)', f'{systems[1]} (2)'
    return Pairing(first['dataset']['name'], metric, systems, sequences,
                   float(means.mean()), over_sequences,
                   _interval(frames_drawn / len(means), level), left_out,
                   level)


def _bootstrap(values: np.ndarray, draws: int,
               rng: np.random.Generator) -> np.ndarray:
    """Return the means of so many samples drawn with replacement."""
    step = max(_CHUNK // len(values), 1)
    return np.concatenate([
        values[rng.integers(
            len(values), size=(min(step, draws - start), len(values)))].mean(1)
        for start in range(0, draws, step)
    ])


def _interval(means: np.ndarray, level: float) -> Tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pair_results(
    firsts: List[Dict[str, Any]],
    seconds: List[Dict[str,
                       Any]]) -> List[Tuple[Dict[str, Any], Dict[str, Any]]]:
    """Return the results of two folders that are of one data set each.

    Raises:
        ValueError: They have no data set in common.
    """
    by_name = {result['dataset']['name']: result for result in seconds}
    pairs = [(result, by_name[result['dataset']['name']]) for result in firsts
             if result['dataset']['name'] in by_name]
    if not pairs:
        found = [{r['dataset']['name']
                  for r in results} for results in (firsts, seconds)]
        raise ValueError(
            'the two must have a data set in common, found '
            f'{" and ".join(", ".join(sorted(names)) for names in found)}')
    return pairs
