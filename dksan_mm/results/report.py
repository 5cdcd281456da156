"""Makes the report, a page and figures, from result files."""
import html
import json
import os
import os.path as osp
import re
import shutil
from typing import Dict, List, Mapping, Optional, Sequence, Set

from dksan_mm.utils.faults import is_write_error
from dksan_mm.utils.files import output_error
from .files import Result, check_same_data
from .report_data import View, make_group
from .report_figures import figure, number_names
from .report_summary import system_names

TEMPLATE = osp.join(osp.dirname(__file__), 'report_template')
SCRIPTS = ('elements.js', 'plot.js', 'slider.js', 'page.js')
#: Name of a file in each report: only a folder that has it is ever replaced.
MARK = '.dksan_mm_report'


def write_report(results: Sequence[Result],
                 out: str,
                 ground_truth: Optional[Mapping[str, str]] = None,
                 max_frames: int = 1,
                 title: str = 'Video super-resolution') -> List[str]:
    """Write ``out/index.html`` and ``out/figures/*.png``.

    The page holds everything it shows. The folder is built under
    ``out.partial``; an earlier report at ``out`` is then replaced.

    Args:
        results (Sequence[Result]): Results, as :func:`read_results` returns
            them, in the order to show; the first is the baseline.
        out (str): The folder.
        ground_truth (Mapping[str, str], optional): Maps a data set's name to
            the folder of its ground truth; '' stands for all others. Default:
            the folders that the results name.
        max_frames (int): Frames to show of each sequence. Default: 1.
        title (str): The page's heading.

    Returns:
        list[str]: Notes on what could not be shown, each with the cure.

    Raises:
        ValueError: Results of one data set are of different data, pictures
            do not fit together, or ``max_frames`` is negative.
        FileExistsError: ``out`` exists and is no report.
        OutputError: It cannot be written.
    """
    if max_frames < 0:
        raise ValueError(f'max_frames must be at least 0, found {max_frames}')
    out = osp.normpath(out)
    check_same_data(results)
    for result in results:
        if result.metrics.get('PSNR') is None:
            raise ValueError(
                f'{result.file} must hold PSNR for the report, found '
                f'{sorted(result.metrics)}; test with a config of this '
                'repository')
    check_replaceable(out)
    partial = f'{out}.partial'
    try:
        _new_folder(partial)
        try:
            notes = _build(results, partial, dict(ground_truth or {}),
                           max_frames, title)
            _replace(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if is_write_error(error):
            raise output_error(out, error, 'then run it again') from error
        raise
    return notes


def check_replaceable(out: str) -> None:
    """Raise FileExistsError unless a report may be written to ``out``."""
    ours = osp.isfile(osp.join(out, MARK))
    empty = osp.isdir(out) and not os.listdir(out)
    if osp.lexists(out) and not ours and not empty:
        raise FileExistsError(
            f'{out} must not exist, be empty or be an earlier report, found '
            f'something else (no {MARK} in it); choose another folder')


def _new_folder(partial: str) -> None:
    """Make a folder to build in; remove what a killed run left there."""
    check_replaceable(partial)
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(osp.join(partial, 'figures'))
    with open(osp.join(partial, MARK), 'w') as file:
        file.write('Made by tools/report.py, which may replace this folder.\n')


def _replace(partial: str, out: str) -> None:
    """Put a finished report in place of an earlier one."""
    old = f'{out}.old'
    check_replaceable(old)
    shutil.rmtree(old, ignore_errors=True)
    if osp.isdir(out):
        os.rename(out, old)
    try:
        os.rename(partial, out)
    except OSError:
        if osp.isdir(old):
            os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _build(results: Sequence[Result], folder: str, ground_truth: Dict[str,
                                                                      str],
           max_frames: int, title: str) -> List[str]:
    """Write the page and figures into a folder; return the notes."""
    groups: Dict[str, List[Result]] = {}
    for result in results:
        groups.setdefault(result.dataset.name, []).append(result)
    written: Set[str] = set()
    parts = []
    for name, group in groups.items():
        prefix = f'{name}_' if len(groups) > 1 else ''
        numbers = number_names(system_names(group))
        notes: Dict[str, None] = {}

        def save_figure(view: View) -> None:
            if view.places:
                stem = f'{prefix}{view.sequence}_{view.frame}'
                path = _figure_path(folder, stem, written)
                labels = [numbers.get(x, x) for x in view.labels]
                figure(view._replace(labels=labels)).save(path)
                for number, system in zip(labels, view.labels):
                    if number != system:
                        notes[f'{number} of the figures is {system}: their '
                              'font lacks letters of the name.'] = None

        gt_folder = ground_truth.get(
            name, ground_truth.get('', group[0].dataset.gt_folder))
        part = make_group(group, gt_folder, max_frames, save_figure)
        part['notes'] += notes
        parts.append(part)
    page = render({'title': title, 'groups': parts})
    with open(osp.join(folder, 'index.html'), 'w', encoding='utf-8') as file:
        file.write(page)
    return [note for part in parts for note in part['notes']]


def _figure_path(folder: str, stem: str, written: Set[str]) -> str:
    """Return a figure's path, with a safe name: names come from files."""
    stem = re.sub(r'[^\w.-]', '_', stem).lstrip('.') or 'figure'
    while stem in written:
        stem += '_'
    written.add(stem)
    return osp.join(folder, 'figures', f'{stem}.png')


def render(payload: dict) -> str:
    """Return the page: the template with styles, scripts and data inside.

    The data is JSON in which every '<' is escaped: no name can end the element
    that holds the data, and the scripts show it as text only.
    """
    data = json.dumps(payload, ensure_ascii=True, allow_nan=False)
    parts = {
        'title': html.escape(payload['title']),
        'style': _template('style.css'),
        'script': '\n'.join(map(_template, SCRIPTS)),
        'data': data.replace('<', '\\u003c')
    }
    return re.sub(r'<!--(title|style|script|data)-->',
                  lambda match: parts[match.group(1)], _template('page.html'))


def _template(name: str) -> str:
    with open(osp.join(TEMPLATE, name), encoding='utf-8') as file:
        return file.read()
