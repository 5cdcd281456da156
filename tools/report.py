"""Write a page to look at: tables, plots, sliders and zoomed crops.

    python tools/test.py CONFIG CHECKPOINT --result-dir DIR --save-frames
    python tools/report.py work_dirs/results/bicubic work_dirs/results/dksan \
        -o report

report/index.html is one file that needs no network; report/figures has a
figure for each shown frame, in the style of the paper's Figures 5 and 6. The
first system named is the baseline for the others.
"""
import argparse
import os.path as osp
from typing import Dict, List

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.results.files import read_results
from dksan_mm.results.report import write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a page with tables, plots, sliders and crops')
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULT_DIR',
        help='folder that tools/test.py --result-dir wrote; with '
        '--save-frames it has pictures')
    parser.add_argument(
        '-o',
        '--out',
        default='report',
        help='folder to write; default: report')
    parser.add_argument(
        '--gt',
        action='append',
        default=[],
        metavar='[NAME=]DIR',
        help='folder of the ground truth, of the data set NAME or of all; '
        'default: the one that the results name')
    parser.add_argument(
        '--max-frames',
        type=int,
        default=1,
        metavar='N',
        help='frames to show of each sequence, spread evenly; default: 1, '
        'the middle one; 0: no pictures')
    parser.add_argument(
        '--title',
        default='Video super-resolution',
        help='heading of the page')
    add_debug_argument(parser)
    return parser.parse_args()


def read_folders(arguments: List[str]) -> Dict[str, str]:
    """Read [NAME=]DIR arguments; the name '' stands for all data sets."""
    folders = {}
    for argument in arguments:
        name, _, folder = argument.rpartition('=')
        if osp.isdir(argument):  # its own name may hold a '='
            name, folder = '', argument
        if not osp.isdir(folder):
            raise ValueError('--gt must be [NAME=]DIR with a folder that '
                             f'exists, found {argument!r}')
        folders[name] = folder
    return folders


def main(args: argparse.Namespace) -> None:
    notes = write_report(
        read_results(args.results), args.out, read_folders(args.gt),
        args.max_frames, args.title)
    for note in notes:
        print(f'report.py: {note}')
    page = osp.join(args.out, 'index.html')
    print(f'{page}: {osp.getsize(page) / 1e6:.1f} MB')


if __name__ == '__main__':
    run_tool(parse_args, main)
