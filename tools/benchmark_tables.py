"""Print Tables 1, 2 and 3 of the paper, ours beside the paper's numbers.

    python tools/benchmark_tables.py work_dirs/results/* -o tables.md

RESULT is a directory that tools/test.py --result-dir wrote, or one of its
.json files. A system's column is the name given by tools/test.py --system, or
else follows from its config's name (edvr_..., dksan_wo-dksa_...); --system
NAME=COLUMN changes it. Systems that are not in the paper (BasicVSR++) get
further columns.

    python tools/benchmark_tables.py work_dirs/results/* --paper reds4

prints the results on one public x4 set beside the numbers that MMagic
publishes for it.

    python tools/benchmark_tables.py work_dirs/results/A \\
        work_dirs/results/B --paired

shows by how much B is above A on the same frames and, from 6 sequences on,
whether the difference is significant.
"""
import argparse
from typing import Dict, List, Optional, Sequence, Tuple

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.results.files import Result, read_results
from dksan_mm.results.paired import compare_pair, pair_results
from dksan_mm.results.public import PUBLIC_SETS
from dksan_mm.results.tables import make_tables
from dksan_mm.results.tables_columns import config_stem
from dksan_mm.results.tables_formats import latex, markdown, paired_markdown
from dksan_mm.results.tables_public import make_public_table
from dksan_mm.utils.files import write_whole

FORMATS = {'markdown': markdown, 'latex': latex}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print Tables 1, 2 and 3 of the paper with our results '
        'beside its numbers')
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULT',
        help='folder, or .json file in it, that tools/test.py --result-dir '
        'wrote')
    parser.add_argument(
        '-o',
        '--out',
        metavar='FILE',
        help='file to write the tables to; default: the terminal')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        help='format of the tables; default: latex if FILE ends in .tex, else '
        'markdown')
    parser.add_argument(
        '--metric',
        help="metric to show, a key of the results such as PSNR_Y or SSIM; "
        "default: PSNR, or the one of --paper's protocol")
    parser.add_argument(
        '--paper',
        choices=PUBLIC_SETS,
        metavar='SET',
        help='print the table of one public set beside published numbers: '
        f'{", ".join(PUBLIC_SETS)}')
    parser.add_argument(
        '--system',
        action='append',
        default=[],
        metavar='NAME=COLUMN',
        help='put the results of the system or config NAME in COLUMN')
    parser.add_argument(
        '--paired',
        action='store_true',
        help='compare two results frame by frame: the second against the '
        'first, with a sign-flip test over sequences')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the random draws of --paired, which more than 16 '
        'sequences need; default: 0')
    add_debug_argument(parser)
    args = parser.parse_args()
    if args.format is None:
        is_tex = (args.out or '').endswith('.tex')
        args.format = 'latex' if is_tex else 'markdown'
    if args.paired:
        check_paired(parser, args)
    return args


def check_paired(parser: argparse.ArgumentParser,
                 args: argparse.Namespace) -> None:
    """End the tool if --paired stands with what it has no use for."""
    if len(args.results) != 2:
        parser.error('--paired must have two RESULTs, found '
                     f'{len(args.results)}')
    for option, value in (('--paper', args.paper), ('--system', args.system)):
        if value:
            parser.error(f'--paired must stand without {option}; leave one of '
                         'them out')
    if args.format == 'latex':
        parser.error('--paired writes Markdown only; pass --format markdown, '
                     'also for a FILE that ends in .tex')


def read_names(arguments: List[str]) -> Dict[str, str]:
    """Read NAME=COLUMN arguments."""
    names = {}
    for argument in arguments:
        name, separator, column = argument.partition('=')
        if not (separator and name and column):
            raise ValueError('--system must be NAME=COLUMN, such as '
                             f'"dksan_small=DKSAN", found {argument!r}')
        names[name] = column
    return names


def check_names(names: Dict[str, str], results: Sequence[Result]) -> None:
    """Raise ValueError for a name of --system that no result has."""
    known = {r.system for r in results} | {config_stem(r) for r in results}
    for name in names:
        if name not in known:
            raise ValueError(
                '--system must name a system or a config of the results '
                f'({", ".join(sorted(known))}), found {name!r}')


def paired(args: argparse.Namespace) -> Tuple[str, int]:
    """Return the comparisons of two results, and how many there are."""
    pairings = [
        compare_pair(first, second, args.metric or 'PSNR', seed=args.seed)
        for first, second in pair_results(*(read_results([source])
                                            for source in args.results))
    ]
    return paired_markdown(pairings), len(pairings)


def write(out: Optional[str], text: str, tables: int) -> None:
    """Write tables to a file, or print them."""
    if out:
        write_whole(out, text.encode())
        print(f'{out}: {tables} table(s)')
    else:
        print(text, end='')


def main(args: argparse.Namespace) -> None:
    if args.paired:
        write(args.out, *paired(args))
        return
    results, names = read_results(args.results), read_names(args.system)
    check_names(names, results)
    if args.paper:
        tables, left_out = [
            make_public_table(results, args.paper, args.metric, names)
        ], []
    else:
        tables, left_out = make_tables(results, args.metric or 'PSNR', names)
    text = FORMATS[args.format](tables, left_out)
    write(args.out, text, len(tables))


if __name__ == '__main__':
    run_tool(parse_args, main)
