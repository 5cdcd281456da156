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

shows by how much B is above A on the same frames, and whether the difference
is significant.
"""
import argparse
from typing import Dict, List, Optional, Tuple

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.results.files import read_results
from dksan_mm.results.paired import compare_pair, pair_results
from dksan_mm.results.public import PUBLIC_SETS
from dksan_mm.results.tables import make_tables
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
        'first, with a bootstrap interval')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the random draws of --paired; default: 0')
    add_debug_argument(parser)
    args = parser.parse_args()
    latex_asked = args.format == 'latex' or (args.out or '').endswith('.tex')
    if args.paired and (len(args.results) != 2 or args.paper or latex_asked):
        parser.error('--paired must have two RESULTs, is Markdown, and stands '
                     'without --paper')
    return args


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
    default = 'latex' if (args.out or '').endswith('.tex') else 'markdown'
    if args.paired:
        write(args.out, *paired(args))
        return
    results, names = read_results(args.results), read_names(args.system)
    if args.paper:
        tables, left_out = [
            make_public_table(results, args.paper, args.metric, names)
        ], []
    else:
        tables, left_out = make_tables(results, args.metric or 'PSNR', names)
    text = FORMATS[args.format or default](tables, left_out)
    write(args.out, text, len(tables))


if __name__ == '__main__':
    run_tool(parse_args, main)
