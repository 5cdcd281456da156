"""Tables of the public x4 sets: our results beside MMagic's numbers."""
from typing import Dict, Optional, Sequence

from .averages import rows_of
from .files import Result, check_same_data
from .paper import COMPARISON
from .public import (PUBLIC_SETS, SCALE, PublicSet, Published, describe_suffix,
                     protocol_metric)
from .tables import Table, assign, check_metric, provenance
from .tables_columns import Column, describe_amount, our_column, unit


def make_public_table(results: Sequence[Result],
                      name: str,
                      metric: Optional[str] = None,
                      names: Optional[Dict[str, str]] = None) -> Table:
    """Return the table of one public set: our results, and MMagic's numbers,
    labelled as published.

    Args:
        results (Sequence[Result]): Results, as :func:`read_results` returns
            them, of any data sets; those of this set are used.
        name (str): A key of :data:`dksan_mm.results.public.PUBLIC_SETS`.
        metric (str, optional): The protocol's PSNR or SSIM. Default: None,
            PSNR.
        names (dict, optional): Maps a system name or config stem to a column.

    Raises:
        ValueError: There is no such set; there is no result on it; the
            protocol does not have this metric; or a result is of other data:
            another scale, or other numbers of sequences or frames.
    """
    metric = protocol_metric(name, metric)
    public = PUBLIC_SETS[name]
    ours = [r for r in results if r.dataset.name == name]
    if not ours:
        found = sorted({result.dataset.name for result in results})
        raise ValueError(
            f'one result must be of {name}, found those of '
            f'{", ".join(found)}; write it with tools/test.py CONFIG '
            f'CHECKPOINT --dataset {name} --result-dir DIR')
    check_same_data(ours)
    check_metric(ours, metric)
    for result in ours:
        _check_amount(result, name, public)
    columns = assign(ours, COMPARISON, names)
    first = ours[0]
    shown = [_published_column(row, metric) for row in public.published]
    shown += [our_column(result, c, metric) for c, result in columns.items()]
    notes = [
        f'{public.title}: {describe_suffix(public.suffix)}, the unweighted '
        'mean over sequences.',
        '"published" is what MMagic 1.2.0 prints in its metafiles, measured '
        'by others; "ours" was measured with this repository.'
    ]
    notes += [_source(row) for row in public.published]
    notes += [provenance(c, result) for c, result in columns.items()]
    return Table(
        f'{public.title}: {describe_amount(first)} ({metric}{unit(metric)})',
        metric, SCALE, sorted(rows_of(first.sequences)), shown, notes)


def _check_amount(result: Result, name: str, public: PublicSet) -> None:
    """Raise ValueError if a result is not of the published data."""
    sequences = len(result.sequences)
    frames = sum(map(len, result.frames.values()))
    wanted = '' if public.frames is None else f' and {public.frames} frames'
    if (result.scale != SCALE or sequences != public.sequences
            or public.frames not in (None, frames)):
        raise ValueError(
            f'a result of {name} must be of {public.sequences} sequences'
            f'{wanted}, x{SCALE}, to stand beside published numbers, found '
            f'{sequences} sequences and {frames} frames, x{result.scale}, '
            f'in {result.place}; test on the whole '
            'set, or print the table without --paper')


def _published_column(row: Published, metric: str) -> Column:
    value = row.psnr if metric.startswith('PSNR') else row.ssim
    return Column(row.system, 'published', {'Average': value})


def _source(row: Published) -> str:
    """Return the note on the source of a published number."""
    return (f'{row.system}, published: {row.model}, "{row.dataset}", in '
            f'configs/{row.metafile}/metafile.yml of MMagic 1.2.0.')
