"""Compares two results frame by frame: is a gain real?"""
import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .files import Result, check_same_data
from .tables import check_metric

#: Confidence level of the interval; p-values up to 1 - LEVEL are significant.
LEVEL = 0.95
#: Fewest sequences for a verdict: of N no p-value is below 2 / 2**N.
LEAST_SEQUENCES = 6

_MOST_EXACT = 16  # sequences of which all subsets are taken
_DRAWS = 9_999  # subsets drawn of more
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
        p_value (float): Two-sided p-value of no difference, by a sign-flip
            test over sequences.
        interval (tuple[float, float], optional): Confidence interval of the
            difference at :data:`LEVEL`: the values that the same test does
            not reject. None below :data:`LEAST_SEQUENCES` sequences.
        left_out (int): Number of frames without a finite value in both
            results.
    """

    dataset: str
    metric: str
    systems: Tuple[str, str]
    sequences: Dict[str, Tuple[int, float, float]]
    difference: float
    p_value: float
    interval: Optional[Tuple[float, float]]
    left_out: int

    @property
    def is_significant(self) -> bool:
        """Whether zero lies outside the interval; False without one."""
        return self.interval is not None and (self.interval[0] > 0
                                              or self.interval[1] < 0)


def compare_pair(first: Result,
                 second: Result,
                 metric: str = 'PSNR',
                 seed: int = 0) -> Pairing:
    """Compare two results frame by frame, with a sign-flip test over
    sequences.

    Frames of a sequence are alike, so each sequence counts as one observation:
    the mean difference of its frames. The test is exact, for any number of
    sequences, if differences are distributed symmetrically about their mean.

    Args:
        first (Result): A result, as :func:`read_result` returns it.
        second (Result): A result of the same frames.
        metric (str): Metric to compare. Default: 'PSNR'.
        seed (int): Seed of the random draws, which more than 16 sequences
            need: the same input gives the same numbers. Default: 0.

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
    differences: List[float] = []
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
            differences.append(float((kept[:, 1] - kept[:, 0]).mean()))
    if not differences:
        raise ValueError(f'{metric} of {first.dataset.name} must be '
                         'finite in both results for one frame at least, '
                         'found none; compare by another --metric')
    systems = first.system, second.system
    if systems[0] == systems[1]:
        systems = f'{systems[0]} (1)', f'{systems[1]} (2)'
    return Pairing(first.dataset.name, metric, systems, sequences,
                   float(np.mean(differences)),
                   *_sign_flip_test(np.array(differences), seed), left_out)


def _sign_flip_test(values: np.ndarray,
                    seed: int) -> Tuple[float, Optional[Tuple[float, float]]]:
    """Return the p-value of a mean of zero, and the confidence interval.

    Flipping the signs of a subset leaves the sum at least as large if the
    subset's mean is at most zero. So the subset means give both the p-value
    and the interval: it reaches from their k-th smallest to their k-th
    largest (Hartigan, "Using Subsample Values as Typical Values", 1969).
    """
    # rounded, so that means that should be zero are
    means = np.sort(_subset_means(values, seed).round(12))
    total = len(means) + 1  # with no sign flipped
    tail = 1 + min((means <= 0).sum(), (means >= 0).sum())
    k = int((1 - LEVEL) / 2 * total)
    interval = (float(means[k - 1]), float(means[-k])) if k else None
    return min(float(2 * tail / total), 1.), interval


def _subset_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the means of all non-empty subsets of a few values, or else of
    random ones, each value being in half of them."""
    number = len(values)
    if number <= _MOST_EXACT:
        subsets = np.arange(1, 2**number)[:, None] >> np.arange(number) & 1
        return subsets @ values / subsets.sum(1)
    rng = np.random.default_rng(seed)
    step = max(_CHUNK // number, 1)
    means = []
    for start in range(0, _DRAWS, step):
        size = min(step, _DRAWS - start), number
        subsets = rng.integers(2, size=size, dtype=np.int8)
        subsets = subsets[subsets.any(1)]
        means.append(subsets @ values / subsets.sum(1))
    return np.concatenate(means)


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
