"""Writes tables as Markdown, for GitHub, or as LaTeX, with booktabs."""
import math
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from .averages import rows_of
from .paired import LEAST_SEQUENCES, LEVEL, Pairing
from .tables import Table
from .tables_columns import LOWER_IS_BETTER, Column, unit

_LATEX = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '"': r'\textquotedbl{}',
    **{
        letter: f'\\{letter}'
        for letter in '&%$#_{}'
    }
}


class Cell(NamedTuple):
    """A cell's plain text, and whether it is the best of its row."""

    text: str
    bold: bool = False


def show_value(value: Optional[float], metric: str) -> str:
    """Return a metric's value as text: PSNR to 0.01, others to 0.0001; '-' for
    None, 'nan' for not a number and the infinity sign for equal frames."""
    if value is None:
        return '-'
    if math.isinf(value):
        return '\u221e' if value > 0 else '-\u221e'
    return f'{value:.2f}' if metric.startswith('PSNR') else f'{value:.4f}'


def best_of(texts: Sequence[str], metric: str) -> List[bool]:
    """Return which of a row's values are the best of at least two.

    Values are compared as printed, so that equal numbers are marked alike.
    """
    numbers = [
        None if text in ('-', 'nan') else float(text.replace('\u221e', 'inf'))
        for text in texts
    ]
    there = [number for number in numbers if number is not None]
    if len(there) < 2:
        return [False] * len(numbers)
    best = (min if metric in LOWER_IS_BETTER else max)(there)
    return [number == best for number in numbers]


def value_row(table: Table, name: str) -> List[Cell]:
    """Return the values of one sequence or of 'Average'. The best value is
    bold, separately for the paper's, for other published and for our columns.
    """
    texts = [
        show_value(column.values.get(name), table.metric)
        for column in table.columns
    ]
    bold = [False] * len(texts)
    for source in ('paper', 'published', 'ours'):
        which = [
            i for i, column in enumerate(table.columns)
            if column.source == source
        ]
        marks = best_of([texts[i] for i in which], table.metric)
        for i, mark in zip(which, marks):
            bold[i] = mark
    return [Cell(text, mark) for text, mark in zip(texts, bold)]


def rows(table: Table) -> List[List[Cell]]:
    """Return all rows below the headings, each with its name and scale."""
    body = [[Cell(name),
             Cell(f'x{table.scale}'), *value_row(table, name)]
            for name in [*table.sequences, 'Average']]
    for name, key in (('Parameters', 'parameters'),
                      ('Runtime (s/f)', 'seconds'), ('Hardware', 'hardware')):
        body.append([
            Cell(name),
            Cell('-'), *(Cell(getattr(c, key)) for c in table.columns)
        ])
    return body


def escape_markdown(text: str) -> str:
    """Return text escaped so that GitHub shows it literally, also in a table
    cell."""
    text = re.sub(r'&(?=#?\w+;)', '&amp;', ' '.join(text.split()))
    # an underscore between letters or digits is not markup
    text = re.sub(r'(?<!\w)_|_(?!\w)', r'\\_',
                  re.sub(r'([\\`*\[\]|~])', r'\\\1', text))
    return text.replace('<', '&lt;')


def markdown(tables: Sequence[Table], left_out: Sequence[str]) -> str:
    """Return tables as Markdown, with the lines on tables left out."""
    blocks = []
    for table in tables:
        head = ['Video', 'Scale'
                ] + [f'{c.system}, {c.source}' for c in table.columns]
        lines = [f'**{escape_markdown(table.title)}**', '']
        lines.append(_markdown_row(map(escape_markdown, head)))
        lines.append(
            _markdown_row(['---', '---'] + ['---:'] * len(table.columns)))
        for row in rows(table):
            lines.append(
                _markdown_row(
                    _emphasise(cell, escape_markdown, '**{}**')
                    for cell in row))
        lines.append('')
        lines += [f'- {escape_markdown(note)}' for note in table.notes]
        blocks.append('\n'.join(lines))
    if left_out:
        blocks.append('\n'.join(f'- {escape_markdown(x)}' for x in left_out))
    return '\n\n'.join(blocks) + '\n'


def paired_markdown(pairings: Sequence[Pairing]) -> str:
    """Return paired comparisons as Markdown, one table each."""
    blocks = []
    for pairing in pairings:
        first, second = map(escape_markdown, pairing.systems)
        what = f'{pairing.metric}{unit(pairing.metric)}'
        lines = [
            f'**{escape_markdown(pairing.dataset)}: {second} against {first} '
            f'({escape_markdown(what)})**', '',
            _markdown_row(
                ['Sequence', 'Frames', first, second, f'{second} - {first}']),
            _markdown_row(['---'] + 4 * ['---:'])
        ]
        rows_shown = rows_of(pairing.sequences)
        values = [(name, *row) for name, row in rows_shown.items()]
        counts, *means = zip(*pairing.sequences.values())
        values.append(
            ('Average', sum(counts), *(sum(m) / len(m) for m in means)))
        for name, count, *pair in values:
            texts = [show_value(value, pairing.metric) for value in pair]
            lines.append(
                _markdown_row([
                    escape_markdown(name),
                    str(count), *texts, f'{pair[1] - pair[0]:+.3f}'
                ]))
        blocks.append('\n'.join([*lines, '', *_paired_notes(pairing)]))
    return '\n\n'.join(blocks) + '\n'


def _paired_notes(pairing: Pairing) -> List[str]:
    """Return the difference and the verdict, or why there is none."""
    number = len(pairing.sequences)
    notes = [f'- difference {pairing.difference:+.4f}']
    if pairing.interval:
        low, high = pairing.interval
        notes[0] += (f', {LEVEL:.0%} confidence interval {low:+.4f} to '
                     f'{high:+.4f}')
        verdict = '' if pairing.is_significant else 'not '
        notes.append(
            f'- the difference is {verdict}significant: p = '
            f'{pairing.p_value:.2g} by a sign-flip test, in which each of the '
            f'{number} sequences is one observation')
    else:
        are = 'sequence is' if number == 1 else 'sequences are'
        notes.append(f'- {number} {are} too few for a verdict (at least '
                     f'{LEAST_SEQUENCES})')
    if pairing.left_out:
        notes.append(f'- {pairing.left_out} frames are left out: no finite '
                     'number in both')
    return notes


def _markdown_row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _emphasise(cell: Cell, escape: Callable[[str], str], form: str) -> str:
    """Return a cell's escaped text, in bold where it is the best."""
    text = escape(cell.text)
    return form.format(text) if cell.bold else text


def escape_latex(text: str) -> str:
    """Return text escaped so that LaTeX prints it literally, in text mode."""
    text = ''.join(_LATEX.get(letter, letter) for letter in text)
    return text.replace('\u221e', r'$\infty$')


def latex(tables: Sequence[Table], left_out: Sequence[str]) -> str:
    """Return tables as LaTeX, one ``table`` environment each."""
    lines = [
        r'% In the preamble: \usepackage[T1]{fontenc} '
        r'\usepackage{booktabs}'
    ]
    lines += [f'% {" ".join(line.split())}' for line in left_out]
    for table in tables:
        lines += ['', *_latex_table(table)]
    return '\n'.join(lines) + '\n'


def _latex_table(table: Table) -> List[str]:
    """Return one table's lines.

    Hardware is shown as a letter, explained below the table: its names would
    be the widest cells.
    """
    letters: Dict[str, str] = {}
    body = []
    for row in rows(table):
        if row[0].text == 'Hardware':
            row = [
                Cell(_letter(cell.text, letters)) if i > 1 else cell
                for i, cell in enumerate(row)
            ]
        if row[0].text == 'Average':
            body.append(r'\midrule')
        cells = [
            _emphasise(cell, escape_latex, r'\textbf{{{}}}') for cell in row
        ]
        body.append(' & '.join(cells) + r' \\')
    notes = [
        *table.notes,
        *(f'{letter}: {name}.' for name, letter in letters.items())
    ]
    number = len(table.columns)
    return [
        r'\begin{table}[t]', r'\centering\small',
        rf'\caption{{{escape_latex(table.title)}}}',
        rf'\begin{{tabular}}{{ll{"r" * number}}}', r'\toprule',
        *_latex_head(table.columns), r'\midrule', *body, r'\bottomrule',
        r'\end{tabular}', '', r'\smallskip',
        r'\begin{minipage}{\linewidth}\footnotesize',
        *(escape_latex(note) + r'\par'
          for note in notes), r'\end{minipage}', r'\end{table}'
    ]


def _letter(name: str, letters: Dict[str, str]) -> str:
    """Return the letter that stands for a hardware name."""
    if name == '-':
        return name
    return letters.setdefault(name, f'({chr(ord("a") + len(letters))})')


def _latex_head(columns: Sequence[Column]) -> List[str]:
    """Return the two heading lines: systems, then paper and ours."""
    systems = list(dict.fromkeys(c.system for c in columns))
    top, rules, start = [], [], 3
    for system in systems:
        width = sum(c.system == system for c in columns)
        top.append(rf'\multicolumn{{{width}}}{{c}}{{{escape_latex(system)}}}')
        rules.append(rf'\cmidrule(lr){{{start}-{start + width - 1}}}')
        start += width
    sources = ' & '.join(c.source for c in columns)
    return [
        rf' & & {" & ".join(top)} \\', ''.join(rules),
        rf'Video & Scale & {sources} \\'
    ]
