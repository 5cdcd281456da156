"""Names, tables and curves of the report, for which no pictures are needed."""
import math
from typing import List, Optional, Sequence

from .files import Result
from .tables_columns import (column_of, config_stem, describe_weights,
                             show_count, show_seconds)
from .tables_formats import best_of, show_value

#: Metrics that the summary shows; others fold away.
SHOWN = ('PSNR', 'SSIM', 'LPIPS', 'tOF')


def system_names(results: Sequence[Result]) -> List[str]:
    """Return a distinct display name for each result.

    This is the result's system name or, if that is only the config's name, its
    column in the tables. The folder is added to names that are still
    ambiguous.
    """
    names = [
        column_of(r) if r.system == config_stem(r) else r.system
        for r in results
    ]
    for extras in ([r.system for r in results], [r.folder for r in results]):
        names = [
            f'{name} ({extra})'
            if names.count(name) > 1 and extra != name else name
            for name, extra in zip(names, extras)
        ]
    return names


def summary(results: Sequence[Result], names: Sequence[str]) -> dict:
    """Return the report's first table, of all systems: the measured metrics of
    :data:`SHOWN`, with the best in bold, parameters and time."""
    metrics = [metric for metric in SHOWN if metric in _measured(results)]
    others = [[
        show_count(result.parameters),
        show_seconds(result.seconds_per_frame)
    ] for result in results]
    return _table(results, names, metrics, ['Parameters', 's/frame'], others)


def folded(results: Sequence[Result], names: Sequence[str]) -> dict:
    """Return tables, by title, of what the summary leaves out: further metrics
    (luma, border crops), if there are any; hardware and weights."""
    metrics = [m for m in _measured(results) if m not in SHOWN]
    tables = {}
    if metrics:
        tables['Other measures'] = _table(results, names, metrics)
    tables['Hardware and weights'] = _table(
        results, names, [], ['Hardware', 'Weights'],
        [[result.hardware, describe_weights(result)] for result in results])
    return tables


def _measured(results: Sequence[Result]) -> List[str]:
    """Return the metrics that any of the results has."""
    return list(dict.fromkeys(key for r in results for key in r.metrics))


def _table(results: Sequence[Result],
           names: Sequence[str],
           metrics: Sequence[str],
           head: Sequence[str] = (),
           others: Optional[Sequence[Sequence[str]]] = None) -> dict:
    """Return a table of metrics, with the best in bold, and of other texts."""
    columns = []
    for metric in metrics:
        texts = [show_value(r.metrics.get(metric), metric) for r in results]
        columns.append(list(zip(texts, best_of(texts, metric))))
    rows = []
    for i, name in enumerate(names):
        cells = [column[i] for column in columns]
        texts = others[i] if others else []
        rows.append({
            'name': name,
            'cells': [*cells, *((text, False) for text in texts)]
        })
    # unlike 'PSNR_Y_crop16', 'PSNR Y crop16' can break into lines
    shown = [metric.replace('_', ' ') for metric in metrics]
    return {'head': ['System', *shown, *head], 'rows': rows}


def about_data(result: Result) -> List[List[str]]:
    """Return a data set's facts and metadata, as names and texts."""
    data = result.dataset
    facts = [['ground truth', data.gt_folder],
             ['low resolution', data.lr_folder],
             ['annotation', data.annotation],
             ['checksum of the ground truth', data.gt_crc]]
    if data.metadata is None:
        return facts + [['metadata', 'none beside the data']]
    return facts + [[str(k), str(value)] for k, value in data.metadata.items()]


def series(result: Result, sequence: str) -> List[object]:
    """Return the PSNR of each frame in dB for JSON; 'inf' where equal, 'nan'
    where a frame is."""
    values = [row['PSNR'] for row in result.frames[sequence]]
    return [value if math.isfinite(value) else str(value) for value in values]
