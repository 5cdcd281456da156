"""Metrics of frames, and their means by sequence and over sequences."""
from statistics import fmean
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

Values = Dict[str, Optional[float]]
# {sequence: [{'frame': name, metric: value, ...}, ...]}
Frames = Dict[str, List[Dict[str, Any]]]

#: Tables list sequences singly up to this number.
MOST_ROWS = 200


def merge_frames(parts: Sequence[Sequence[Mapping[str, Any]]]) -> Frames:
    """Merge the measurements of several processes, sorted, without the frames
    that a sampler gave out twice."""
    frames = {
        (result['sequence'], result['frame']): result
        for part in parts
        for result in part
    }
    merged: Frames = {}
    for sequence, frame in sorted(frames):
        values = dict(frames[sequence, frame])
        del values['sequence']
        merged.setdefault(sequence, []).append(values)
    return merged


def average_frames(frames: Frames) -> Tuple[Values, Dict[str, Values]]:
    """Average over frames, and then over sequences without weights.

    Sums are exact before rounding, so they do not depend on the order. None
    (not measured) is left out; the mean of nothing is None.

    Args:
        frames (dict): ``{sequence: [{'frame': name, metric: value}, ...]}``.

    Returns:
        tuple[dict, dict]: ``{metric: average}`` and ``{sequence: {metric:
        mean}}``.
    """
    names = metric_names(frames)
    sequences = {
        sequence: {
            name: _mean([frame[name] for frame in members])
            for name in names
        }
        for sequence, members in frames.items()
    }
    overall = {
        name: _mean([means[name] for means in sequences.values()])
        for name in names
    }
    return overall, sequences


def rows_of(sequences: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sequences to list in a table: all, or none if there are more
    than anybody reads, such as the 7824 clips of Vimeo-90K."""
    return sequences if len(sequences) <= MOST_ROWS else {}


def metric_names(frames: Frames) -> List[str]:
    """Return the metrics that frames have, in order."""
    first = next(iter(frames.values()), [{}])[0]
    return [name for name in first if name != 'frame']


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    values = [value for value in values if value is not None]
    return fmean(values) if values else None
