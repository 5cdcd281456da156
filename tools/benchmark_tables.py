"""Print Tables 1, 2 and 3 of the paper, ours beside the paper's numbers.

    python tools/benchmark_tables.py work_dirs/results/* -o tables.md

RESULT is what tools/test.py --result-dir wrote: a directory, or one of its
.json files. A system's column is the name that tools/test.py --system gave it,
or is found by its config's (edvr_..., dksan_wo-dksa_...); --system NAME=COLUMN
names another. Systems that the paper has not (BasicVSR++) are further columns.
"""
import argparse
import sys
from typing import Dict, List

from dksan_mm.datasets.storage import write_whole
from dksan_mm.evaluation.results import read_results
from dksan_mm.evaluation.tables import make_tables
from dksan_mm.evaluation.tables_formats import latex, markdown

FORMATS = {'markdown': markdown, 'latex': latex}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print Tables 1, 2 and 3 of the paper, ours beside it')
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULT',
        help='directory or .json file of tools/test.py --result-dir')
    parser.add_argument(
        '-o', '--out', metavar='FILE', help='write here, not to the terminal')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        help='default: latex if FILE ends in .tex, else markdown')
    parser.add_argument(
        '--metric',
        default='PSNR',
        help='key of the results, such as PSNR_Y or SSIM; default: PSNR')
    parser.add_argument(
        '--system',
        action='append',
        default=[],
        metavar='NAME=COLUMN',
        help='put the result of this system name or config in that column')
    return parser.parse_args()


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


def main() -> None:
    args = parse_args()
    default = 'latex' if (args.out or '').endswith('.tex') else 'markdown'
    try:
        tables, left_out = make_tables(
            read_results(args.results), args.metric, read_names(args.system))
        text = FORMATS[args.format or default](tables, left_out)
        if args.out:
            write_whole(args.out, text.encode())
            print(f'{args.out}: {len(tables)} table(s)')
        else:
            print(text, end='')
    except (OSError, ValueError) as error:
        sys.exit(f'benchmark_tables.py: {error}')


if __name__ == '__main__':
    main()
