"""Tables 1 to 3 of the paper: our results beside its numbers."""
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from .averages import rows_of
from .files import Result, check_same_data
from .paper import ABLATION, COMPARISON, HARDWARE, TABLES, PaperTable
from .tables_columns import (CONFIGS, Column, column_of, config_stem,
                             describe_data, describe_weights, our_column,
                             paper_column, unit)


@dataclass
class Table:
    """One table, with everything that a format needs to write it.

    Attributes:
        title (str): Caption.
        metric (str): Key of the results, such as 'PSNR'.
        scale (int): Scaling factor.
        sequences (list[str]): Rows, in order.
        columns (list[Column]): Columns, grouped by system.
        notes (list[str]): Lines below the table.
    """

    title: str
    metric: str
    scale: int
    sequences: List[str]
    columns: List[Column]
    notes: List[str]


def make_tables(
        results: Sequence[Result],
        metric: str = 'PSNR',
        names: Optional[Dict[str,
                             str]] = None) -> Tuple[List[Table], List[str]]:
    """Return the paper's tables, ours beside the paper's numbers.

    Data other than the paper's (another scale, sequences, numbers of frames,
    or a name that differs in more than its case) give tables that say so in
    their title, without its numbers. Only results of data with exactly one
    name stand in one table.

    Args:
        results (Sequence[Result]): Results, as :func:`read_results` returns
            them.
        metric (str): Metric to show. Default: 'PSNR'.
        names (dict, optional): Maps a system name or config stem to a column.

    Returns:
        tuple[list[Table], list[str]]: Tables 1 to 3, then tables of other
            data; and, if any result is of the paper's data, a line for each of
            the paper's tables that is left out.

    Raises:
        ValueError: Results of one data set are of different data, two
            results claim one column, or none holds the metric.
    """
    check_same_data(results)
    check_metric(results, metric)
    groups: Dict[str, List[Result]] = {}
    for result in results:
        groups.setdefault(result.dataset.name, []).append(result)
    tables, left_out = [], []
    on_papers_data = any(name.casefold() == paper.dataset for name in groups
                         for paper in TABLES)
    for paper in TABLES:
        made = len(tables)
        for name, group in groups.items():
            if name.casefold() != paper.dataset:
                continue
            columns = assign(group, paper.columns, names)
            if any(column in columns for column in paper.columns):
                tables.append(_table(columns, paper.columns, paper, metric))
        if on_papers_data and len(tables) == made:
            left_out.append(
                f'Table {paper.number} is left out: no result of '
                f'{", ".join(paper.columns)} on {paper.dataset}. Write them '
                'with tools/test.py CONFIG CHECKPOINT --result-dir DIR.')
    published = {(paper.dataset, paper.columns) for paper in TABLES}
    for name, group in groups.items():
        for layout in (COMPARISON, ABLATION):
            if (name.casefold(), layout) in published:
                continue
            columns = assign(group, layout, names)
            # DKSAN alone, which the comparison shows, is no ablation
            if set(columns) - ({'DKSAN'} if layout is ABLATION else set()):
                tables.append(_table(columns, layout, None, metric))
    return tables, left_out


def check_metric(results: Sequence[Result], metric: str) -> None:
    """Raise ValueError for a metric that no result has."""
    known = sorted({key for result in results for key in result.metrics})
    if metric not in known:
        raise ValueError(f'metric must be one of {known}, the keys of the '
                         f'results, found {metric!r}')


def assign(group: Sequence[Result], layout: Sequence[str],
           names: Optional[Dict[str, str]]) -> Dict[str, Result]:
    """Return a dict from column to result for one layout; systems in neither
    layout are further columns of the comparison."""
    columns: Dict[str, Result] = {}
    others = set(ABLATION) - set(COMPARISON)
    for result in group:
        column = column_of(result, names)
        further = layout is COMPARISON and column not in others
        if column not in layout and not further:
            continue
        if column in columns:
            first, second = (f'{r.system} ({config_stem(r)})'
                             for r in (columns[column], result))
            raise ValueError(
                f'one result must go in the column {column!r} of '
                f'{result.dataset.name}, found {first} and {second}; '
                'leave one out or rename it with --system NAME=COLUMN')
        columns[column] = result
    ordered = [*layout, *(c for c in columns if c not in layout)]
    return {c: columns[c] for c in ordered if c in columns}


def _table(columns: Dict[str, Result], layout: Sequence[str],
           paper: Optional[PaperTable], metric: str) -> Table:
    """Return one table; ``paper`` is the paper's table that it repeats, if
    any."""
    any_result = next(iter(columns.values()))
    what = describe_data(any_result)
    theirs = paper is not None and _is_papers(any_result, paper)
    notes = [provenance(c, result) for c, result in columns.items()]
    kind = 'Ablation studies' if layout is ABLATION else 'Comparison'
    title = f'{kind}, not the paper\'s data: {what}'
    if paper:
        title = (f'Table {paper.number}. {paper.title}' if theirs else
                 f'Table {paper.number}, not the paper\'s data: {what}. The '
                 f'paper: {len(paper.psnr)} sequences of {paper.frames} '
                 f'frames, x{paper.scale}')
        notes += _missing(columns, layout, paper.dataset)
    shown: List[Column] = []
    for name in dict.fromkeys([*(layout if paper else ()), *columns]):
        if theirs and metric.startswith('PSNR') and name in layout:
            shown.append(paper_column(paper, name))
        shown.append(our_column(columns.get(name), name, metric))
    if theirs:
        notes += _paper_notes(paper, columns, metric)
    return Table(f'{title} ({metric}{unit(metric)})', metric, any_result.scale,
                 sorted(rows_of(any_result.sequences)), shown, notes)


def _is_papers(result: Result, paper: PaperTable) -> bool:
    """Return whether sequences, their lengths and scale are the paper's."""
    lengths = {name: len(f) for name, f in result.frames.items()}
    return (result.scale == paper.scale and lengths == {
        name: paper.frames
        for name in paper.psnr
    })


def provenance(column: str, result: Result) -> str:
    """Return the note that says where a column of ours comes from."""
    return (f'{column}, ours: {config_stem(result)}, '
            f'{describe_weights(result)}.')


def _missing(columns: Dict[str, Result], layout: Sequence[str],
             dataset: str) -> List[str]:
    """Return a note for each result that a table lacks."""
    return [
        f'{name}, ours: no result on {dataset}; it comes from tools/test.py '
        f'configs/{CONFIGS[name]}_vid3oc_x16.py with --result-dir.'
        for name in layout if name not in columns
    ]


def _paper_notes(paper: PaperTable, columns: Dict[str, Result],
                 metric: str) -> List[str]:
    """Return notes that a reader needs to compare with the paper."""
    if not metric.startswith('PSNR'):
        return ['The paper gives PSNR only.']
    notes = [
        '"paper" is what the paper prints, "ours" was measured with this '
        'repository (the paper\'s own heading is "DKSAN (ours)").',
        'The paper does not say in which colour space, nor with which border '
        f'crop, it measures PSNR. It names its hardware ({HARDWARE}) for '
        'training, and none for its seconds per frame.'
    ]
    bicubic = columns.get('Bicubic')
    if bicubic and metric in bicubic.metrics and 'Bicubic' in paper.columns:
        index = paper.columns.index('Bicubic')
        gap = bicubic.metrics[metric] - paper.average[index]
        notes.append(
            'Sequences, their lengths and scale are the paper\'s; whether '
            'the frames are, bicubic shows, which needs no training: ours '
            f'minus paper\'s {gap:+.2f} dB.')
    if paper.number == 3:
        notes.append('The paper\'s ten videos of "w/o DKSA" average 31.34, '
                     'where it prints 31.32.')
    return notes
