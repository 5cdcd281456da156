"""Names of systems in result files, and their numbers as text."""
import os.path as osp
import re
from dataclasses import dataclass, field
from typing import Dict, Optional

from .files import Result
from .paper import HARDWARE, PaperTable

#: Metrics for which lower is better; for all others higher is.
LOWER_IS_BETTER = ('tOF', 'LPIPS', 'NIQE')

#: Maps the first part of a config's name to its column. A suffix such as
#: "-small", before the second part, is ignored.
SYSTEMS = {
    'bicubic': 'Bicubic',
    'edvr': 'EDVR',
    'dksan': 'DKSAN',
    'basicvsr-pp': 'BasicVSR++',
}
#: Maps the second part, for ablations of DKSAN.
VARIANTS = {
    'backbone': 'Backbone',
    'wo-align-dksa': 'w/o Alignment & DKSA',
    'wo-dksa': 'w/o DKSA',
}
#: The config that produces each column's result, for the notes.
CONFIGS = {
    'Bicubic': 'bicubic',
    'EDVR': 'edvr',
    'DKSAN': 'dksan',
    **{
        column: f'dksan_{stem}'
        for stem, column in VARIANTS.items()
    }
}
_STEM = re.compile(
    rf'({"|".join(map(re.escape, SYSTEMS))})(?:-[^_]*)?'
    rf'(?:_({"|".join(map(re.escape, VARIANTS))}))?(?:_|$)', re.IGNORECASE)


@dataclass
class Column:
    """One column of numbers.

    Attributes:
        system (str): Heading, such as 'EDVR'.
        source (str): 'paper', 'published' or 'ours'.
        values (dict): Maps a sequence, and 'Average', to the metric's value.
        parameters, seconds, hardware (str): Texts to show; '-' if unknown.
    """

    system: str
    source: str
    values: Dict[str, float] = field(default_factory=dict)
    parameters: str = '-'
    seconds: str = '-'
    hardware: str = '-'


def config_stem(result: Result) -> str:
    """Return the name of a result's config, without folder and ending."""
    return osp.splitext(osp.basename(result.config))[0]


def column_of(result: Result, names: Optional[Dict[str, str]] = None) -> str:
    """Return the column that a result belongs in.

    It is the first of these that applies:

    1. ``names``, by the result's system name or its config's stem;
    2. the system name, if it is a column's (in any case);
    3. the system name as it is, if it was given at test time (``--system``
       of tools/test.py);
    4. the config's stem, by :data:`SYSTEMS` and :data:`VARIANTS`:
       ``dksan-small_wo-dksa_clips_x16`` gives 'w/o DKSA';
    5. the system name as it is.

    In cases 2 and 4, a self-ensemble's column gets a '+' appended, so that it
    never stands beside the paper's single-run numbers.

    Args:
        result (Result): A result, as :func:`read_result` returns it.
        names (dict, optional): Maps a system name or config stem to a column.

    Returns:
        str: The column's heading.
    """
    names, system, stem = names or {}, result.system, config_stem(result)
    for name in (system, stem):
        if name in names:
            return names[name]
    columns = {c.casefold(): c for c in [*CONFIGS, *SYSTEMS.values()]}
    column = columns.get(system.casefold())
    match = _STEM.match(stem)
    if column is None and match and not result.named:
        base, variant = (part and part.lower() for part in match.groups())
        column = SYSTEMS[base]
        if column == 'DKSAN' and variant:
            column = VARIANTS[variant]
    if column is None:
        return system
    return f'{column}+' if result.self_ensemble else column


def paper_column(paper: PaperTable, name: str) -> Column:
    """Return a system's published numbers."""
    index = paper.columns.index(name)
    values = {sequence: row[index] for sequence, row in paper.psnr.items()}
    values['Average'] = paper.average[index]
    hardware = HARDWARE if name in paper.seconds else '-'
    return Column(name, 'paper', values, paper.parameters.get(name, '-'),
                  paper.seconds.get(name, '-'), hardware)


def our_column(result: Optional[Result], name: str, metric: str) -> Column:
    """Return a result's numbers, or a column of dashes."""
    if result is None:
        return Column(name, 'ours')
    values = {
        s: m[metric]
        for s, m in result.sequences.items() if m.get(metric) is not None
    }
    if result.metrics.get(metric) is not None:
        values['Average'] = result.metrics[metric]
    return Column(name, 'ours', values, show_count(result.parameters),
                  show_seconds(result.seconds_per_frame), result.hardware)


def show_count(number: int) -> str:
    """Return a number of parameters as the paper writes it: '29.48M'."""
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if number >= size:
            return f'{number / size:.2f}{letter}'
    return str(number)


def show_seconds(seconds: Optional[float]) -> str:
    """Return seconds with two decimals, or with two digits if they are few;
    '-' for a time that was not measured."""
    if seconds is None:
        return '-'
    return f'{seconds:.2f}' if seconds >= 0.1 else f'{seconds:.2g}'


def unit(metric: str) -> str:
    """Return the text after a metric's name, such as ' in dB'."""
    if metric.startswith('PSNR'):
        return ' in dB'
    return ', lower is better' if metric in LOWER_IS_BETTER else ''


def describe_weights(result: Result) -> str:
    """Return a result's checkpoint, iterations and ensemble in words."""
    parts = [result.checkpoint or 'no checkpoint']
    if result.iterations is not None:
        parts.append(f'{result.iterations} iterations')
    ensemble = result.self_ensemble
    if ensemble:
        parts.append(f'self-ensemble x{ensemble["spatial"]}' + (
            ' and temporal reversal' if ensemble.get('temporal') else ''))
    return ', '.join(parts)


def describe_data(result: Result) -> str:
    """Return a result's data in words: name, amount and scale."""
    return f'{result.dataset.name}, {describe_amount(result)}'


def describe_amount(result: Result) -> str:
    """Return a result's numbers of sequences and frames, and its scale."""
    lengths = sorted({len(frames) for frames in result.frames.values()})
    number = len(result.sequences)
    span = ' to '.join(
        str(n) for n in dict.fromkeys((lengths[0], lengths[-1])))
    return (f'{number} sequence{"s" * (number != 1)} of {span} '
            f'frame{"s" * (lengths[-1] != 1)}, x{result.scale}')
