"""Writes and reads the result files of tools/test.py --result-dir.

A data set has one NAME.json, with everything, and one NAME.csv, with only the
metrics, so that the CSV of a repeated test has the same bytes.
"""
import csv
import glob
import io
import json
import math
import os
import os.path as osp
from typing import Any, Dict, List, Mapping, Sequence

from dksan_mm.utils.files import write_whole

SCHEMA = 1

_KEYS = {
    'schema': int,
    'system': str,
    'config': str,
    'dataset': dict,
    'scale': int,
    'parameters': int,
    'hardware': str,
    'software': dict,
    'metrics': dict,
    'sequences': dict,
    'frames': dict,
}
_NOT_FINITE = ('inf', '-inf', 'nan')
_CURE = 'write it anew with tools/test.py --result-dir'


def write_result(folder: str, result: Mapping[str, Any]) -> None:
    """Write ``result`` as NAME.csv and NAME.json, where NAME is the data
    set's.

    Strict JSON has neither infinity nor NaN: they become the strings 'inf',
    '-inf' and 'nan'. The contents of both files are made before either is
    written, and an earlier JSON file is removed first, so that files of
    different tests never stand side by side.

    Raises:
        OutputError: The disk is full, the folder read-only, ...
    """
    path = osp.join(folder, result['dataset']['name'])
    table = _to_csv(result).encode()
    text = json.dumps(_encode(result), indent=1, allow_nan=False)
    before = f'{path}.json'
    if osp.isfile(before):
        os.remove(before)
    write_whole(f'{path}.csv', table)
    write_whole(before, f'{text}\n'.encode())


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


def _to_csv(result: Mapping[str, Any]) -> str:
    """Return the metrics of frames, then of sequences, then the average."""
    names = list(result['metrics'])
    rows = [['sequence', 'frame', *names]]

    def add(sequence: str, frame: str, values: Mapping[str, Any]) -> None:
        cells = ['' if values[n] is None else repr(values[n]) for n in names]
        rows.append([sequence, frame, *cells])

    for sequence, frames in result['frames'].items():
        for values in frames:
            add(sequence, values['frame'], values)
    for sequence, values in result['sequences'].items():
        add(sequence, 'mean', values)
    add('average', 'mean', result['metrics'])
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def read_result(path: str) -> Dict[str, Any]:
    """Read a NAME.json.

    Returns:
        dict: The result as written, with infinities as floats, and ``file``,
            its path.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no result; the message says why.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'the result {path} does not exist; {_CURE}')
    try:
        with open(path, encoding='utf-8') as file:
            result = json.load(file, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f'{path} must be a JSON file of results, found: '
                         f'{error}; {_CURE}') from error
    fault = _find_fault(result)
    if fault:
        raise ValueError(f'{path} must be a result of schema {SCHEMA}, found '
                         f'{fault}; {_CURE}')
    for key in ('metrics', 'sequences', 'frames'):
        result[key] = _decode(result[key])
    result['file'] = path
    return result


def _find_fault(result: Any) -> str:
    """Return what is wrong with a result, '' if nothing is."""
    if not isinstance(result, dict) or 'schema' not in result:
        return "no 'schema'"
    if result['schema'] != SCHEMA:
        return f"schema {result['schema']!r}"
    for key, kind in _KEYS.items():
        value = result.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            return f'{result.get(key)!r} as {key!r}'
    for key in ('name', 'gt_crc'):
        if not isinstance(result['dataset'].get(key), str):
            return f'no {key!r} of the data set'
    frames, names = result['frames'], set(result['metrics'])
    if not frames or frames.keys() != result['sequences'].keys():
        return 'frames of other sequences than their means'
    for sequence, members in frames.items():
        if not members or not all(
                isinstance(frame, dict) and set(frame) == {'frame', *names}
                for frame in members):
            return f'frames of {sequence!r} without some of {sorted(names)}'
        if not isinstance(result['sequences'][sequence], dict) or set(
                result['sequences'][sequence]) != names:
            return f'a mean of {sequence!r} without some of {sorted(names)}'
        for values in (*members, result['sequences'][sequence]):
            fault = _find_value_fault(values, sequence)
            if fault:
                return fault
    return _find_value_fault(result['metrics'], 'the average')


def _find_value_fault(values: Mapping[str, Any], where: str) -> str:
    """Return the first metric that is not a number, '' if there is none."""
    for name, value in values.items():
        number = isinstance(value,
                            (int, float)) and not isinstance(value, bool)
        if name == 'frame':
            if not isinstance(value, str):
                return f'a frame {value!r} of {where!r}'
        elif not (number or value is None or value in _NOT_FINITE):
            return f'{value!r} as {name} of {where!r}'
    return ''


def _refuse_constant(name: str) -> None:
    """Called for constants that only Python's JSON has."""
    raise ValueError(f'{name} instead of the string {name.lower()!r}')


def read_results(sources: Sequence[str]) -> List[Dict[str, Any]]:
    """Read result files, and all those in result folders.

    Returns:
        list[dict]: Results as from :func:`read_result`, each also with
            ``folder``, the folder of its file.

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
        for path in paths:
            result = read_result(path)
            result['folder'] = osp.dirname(path)
            results.append(result)
    return results


def check_same_data(results: Sequence[Mapping[str, Any]]) -> None:
    """Check that all results of a data set have the same frames.

    Raises:
        ValueError: Two results with the same data set name differ in scale,
            sequences, frames or pixels of the ground truth; the message names
            both files.
    """
    firsts: Dict[str, Mapping[str, Any]] = {}
    for result in results:
        name = result['dataset']['name']
        first = firsts.setdefault(name, result)
        difference = _difference(first, result)
        if difference:
            raise ValueError(
                f'results of {name!r} must be of the same data, found '
                f'{_file(first)} and {_file(result)} with {difference}; test '
                'both on one copy of the data, or compare them apart')


def _file(result: Mapping[str, Any]) -> str:
    return result.get('file', f"a result of {result['system']}")


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return how the data of two results differ, '' if they agree."""
    if first['scale'] != second['scale']:
        return f"scales {first['scale']} and {second['scale']}"
    ours, theirs = first['frames'], second['frames']
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
    crcs = [result['dataset']['gt_crc'] for result in (first, second)]
    if crcs[0] != crcs[1]:
        return ('other pixels in the ground truth (gt_crc '
                f'{" and ".join(crcs)})')
    return ''
