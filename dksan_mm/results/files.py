"""Writes and reads the result files of tools/test.py --result-dir.

A data set has one NAME.json, with everything, and one NAME.csv, with only the
metrics, so that the CSV of a repeated test has the same bytes.
"""
import csv
import glob
import io
import json
import math
import os.path as osp
import shutil
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import (Any, Dict, List, Mapping, Optional, Sequence, Type,
                    TypeVar, Union, get_args, get_origin)

from dksan_mm.utils.files import remove, write_whole
from .averages import Frames, Values

SCHEMA = 1
T = TypeVar('T')

_NOT_FINITE = ('inf', '-inf', 'nan')
_CURE = 'write it anew with tools/test.py --result-dir'


@dataclass
class DataFacts:
    """The data that a result is of.

    Attributes:
        name (str): Name of the data set.
        gt_folder, lr_folder, annotation (str): Where it was.
        metadata (dict, optional): What its converter wrote down; None if
            there is nothing.
        gt_crc (str): Checksum of the ground truth's pixels.
    """

    name: str
    gt_folder: str
    lr_folder: str
    annotation: str
    metadata: Optional[Dict[str, Any]]
    gt_crc: str


@dataclass
class Result:
    """The result of a system on a data set. Its fields are the keys of the
    JSON file, which also has its ``schema``.

    Attributes:
        system (str): Display name.
        named (bool): Whether ``system`` was given at test time.
        config (str): Path of the config.
        checkpoint, checkpoint_sha256 (str, optional): Name and hash of the
            checkpoint's file; None if there is none.
        iterations (int, optional): How long it was trained, if known.
        dataset (DataFacts): The data.
        scale (int): Scaling factor.
        parameters (int): Number of parameters.
        seconds_per_frame (float, optional): Median time of the forward pass.
        hardware (str): Where it ran.
        software (dict): Versions of packages.
        self_ensemble (dict, optional): ``spatial`` (int), the number of flips
            and transpositions, and ``temporal`` (bool); None for single runs.
        metrics (dict): ``{metric: average}``.
        sequences (dict): ``{sequence: {metric: mean}}``.
        frames (dict): ``{sequence: [{'frame': name, metric: value}]}``.
        file (str): The JSON file that it was read from; '' if none.
    """

    system: str
    named: bool
    config: str
    checkpoint: Optional[str]
    checkpoint_sha256: Optional[str]
    iterations: Optional[int]
    dataset: DataFacts
    scale: int
    parameters: int
    seconds_per_frame: Optional[float]
    hardware: str
    software: Dict[str, str]
    self_ensemble: Optional[Dict[str, Any]]
    metrics: Values
    sequences: Dict[str, Values]
    frames: Frames
    file: str = ''

    @property
    def place(self) -> str:
        """Its file, or else its system, for messages."""
        return self.file or f'a result of {self.system}'

    @property
    def folder(self) -> str:
        """The folder of its file."""
        return osp.dirname(self.file)


def write_result(folder: str, result: Result) -> None:
    """Write ``result`` as NAME.csv and NAME.json, where NAME is the data
    set's.

    Strict JSON has neither infinity nor NaN: they become the strings 'inf',
    '-inf' and 'nan'. The contents of both files are made before either is
    written, and an earlier JSON file is removed first, so that files of
    different tests never stand side by side; see also :func:`remove_result`.

    Raises:
        OutputError: The disk is full, the folder read-only, ...
    """
    path = osp.join(folder, result.dataset.name)
    table = _to_csv(result).encode()
    values = dict(schema=SCHEMA, **_encode(asdict(result)))
    del values['file']
    text = json.dumps(values, indent=1, allow_nan=False)
    remove(f'{path}.json')
    write_whole(f'{path}.csv', table)
    write_whole(f'{path}.json', f'{text}\n'.encode())


def remove_result(folder: str, name: str) -> None:
    """Remove a data set's files and frames of an earlier test, if there are
    any, so that pictures never stand under the numbers of another test."""
    for suffix in ('json', 'csv'):
        remove(osp.join(folder, f'{name}.{suffix}'))
    frames = osp.join(folder, 'frames', name)
    if osp.isdir(frames):
        shutil.rmtree(frames)


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        # a frame may be called 'inf', a number may not
        return {
            key: item if key == 'frame' else _decode(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return float(value) if value in _NOT_FINITE else value


def _to_csv(result: Result) -> str:
    """Return the metrics of frames, then of sequences, then the average."""
    names = list(result.metrics)
    rows = [['sequence', 'frame', *names]]

    def add(sequence: str, frame: str, values: Mapping[str, Any]) -> None:
        cells = ['' if values[n] is None else repr(values[n]) for n in names]
        rows.append([sequence, frame, *cells])

    for sequence, frames in result.frames.items():
        for values in frames:
            add(sequence, values['frame'], values)
    for sequence, values in result.sequences.items():
        add(sequence, 'mean', values)
    add('average', 'mean', result.metrics)
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def read_result(path: str) -> Result:
    """Read a NAME.json.

    Returns:
        Result: The result as written, and ``file``, its path.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no result; the message says why.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'the result {path} does not exist; {_CURE}')
    try:
        with open(path, encoding='utf-8') as file:
            values = json.load(file, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f'{path} must be a JSON file of results, found: '
                         f'{error}; {_CURE}') from error
    try:
        if not isinstance(values, dict) or 'schema' not in values:
            raise ValueError("no 'schema'")
        if values['schema'] != SCHEMA:
            raise ValueError(f'schema {values["schema"]!r}')
        # files of earlier versions do not have 'named'
        result = _make(Result, {'named': False, **values, 'file': path})
        _check_frames(result)
    except ValueError as error:
        raise ValueError(f'{path} must be a result of schema {SCHEMA}, found '
                         f'{error}; {_CURE}') from error
    result.metrics = _decode(result.metrics)
    result.sequences = _decode(result.sequences)
    result.frames = _decode(result.frames)
    return result


def _make(kind: Type[T], values: Dict[str, Any]) -> T:
    """Return a dataclass's object from the values of a file; those that it
    has no field for are left out.

    Raises:
        ValueError: A value is missing or of another type; the message says
            which.
    """
    made = {}
    for f in fields(kind):
        value = values.get(f.name)
        if is_dataclass(f.type) and isinstance(value, dict):
            value = _make(f.type, value)
        elif not _fits(value, f.type):
            raise ValueError(f'{value!r} as {f.name!r}')
        made[f.name] = value
    return kind(**made)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has a type, such as ``Optional[int]``; the elements of
    a dict are not looked at."""
    kinds = get_args(kind) if get_origin(kind) is Union else (kind, )
    kinds = tuple(get_origin(one) or one for one in kinds)
    return isinstance(value, kinds) and (bool in kinds
                                         or not isinstance(value, bool))


def _check_frames(result: Result) -> None:
    """Raise ValueError unless all frames and means have all metrics."""
    frames, names = result.frames, set(result.metrics)
    if not frames or frames.keys() != result.sequences.keys():
        raise ValueError('frames of other sequences than their means')
    for sequence, members in frames.items():
        means = result.sequences[sequence]
        if not members or not all(
                isinstance(frame, dict) and set(frame) == {'frame', *names}
                for frame in members):
            raise ValueError(
                f'frames of {sequence!r} without some of {sorted(names)}')
        if not isinstance(means, dict) or set(means) != names:
            raise ValueError(
                f'a mean of {sequence!r} without some of {sorted(names)}')
        for values in (*members, means):
            _check_values(values, sequence)
    _check_values(result.metrics, 'the average')


def _check_values(values: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for the first metric that is not a number."""
    for name, value in values.items():
        if name == 'frame':
            if not isinstance(value, str):
                raise ValueError(f'a frame {value!r} of {where!r}')
        elif value not in _NOT_FINITE and not _fits(value, Union[int, float,
                                                                 None]):
            raise ValueError(f'{value!r} as {name} of {where!r}')


def _refuse_constant(name: str) -> None:
    """Called for constants that only Python's JSON has."""
    raise ValueError(f'{name} instead of the string {name.lower()!r}')


def read_results(sources: Sequence[str]) -> List[Result]:
    """Read result files, and all those in result folders.

    Raises:
        FileNotFoundError: A source does not exist.
        ValueError: A folder has no results, or a file is no result.
    """
    results = []
    for source in sources:
        paths = [source]
        if osp.isdir(source):
            paths = sorted(glob.glob(osp.join(glob.escape(source), '*.json')))
            if not paths:
                raise ValueError(
                    f'{source} must be a folder with results, NAME.json, '
                    f'found none; {_CURE} {source}')
        results += map(read_result, paths)
    return results


def check_same_data(results: Sequence[Result]) -> None:
    """Check that all results of a data set have the same frames.

    Raises:
        ValueError: Two results with the same data set name differ in scale,
            sequences, frames or pixels of the ground truth; the message names
            both files.
    """
    firsts: Dict[str, Result] = {}
    for result in results:
        name = result.dataset.name
        first = firsts.setdefault(name, result)
        difference = _difference(first, result)
        if difference:
            raise ValueError(
                f'results of {name!r} must be of the same data, found '
                f'{first.place} and {result.place} with {difference}; test '
                'both on one copy of the data, or compare them apart')


def _difference(first: Result, second: Result) -> str:
    """Return how the data of two results differ, '' if they agree."""
    if first.scale != second.scale:
        return f"scales {first.scale} and {second.scale}"
    ours, theirs = first.frames, second.frames
    if ours.keys() != theirs.keys():
        return (f'{len(ours)} and {len(theirs)} sequences, such as '
                f'{min(ours.keys() ^ theirs.keys())} in one of them only')
    for sequence in ours:
        names, others = ([frame['frame'] for frame in result[sequence]]
                         for result in (ours, theirs))
        if names != others:
            return (f'{len(names)} and {len(others)} frames of {sequence}, '
                    f'{names[0]} to {names[-1]} and {others[0]} to '
                    f'{others[-1]}')
    crcs = [result.dataset.gt_crc for result in (first, second)]
    if crcs[0] != crcs[1]:
        return ('other pixels in the ground truth (gt_crc '
                f'{" and ".join(crcs)})')
    return ''
