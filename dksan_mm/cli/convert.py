"""Shared by the converters in tools/dataset_converters."""
import argparse
import os.path as osp
import sys
from typing import TYPE_CHECKING, Callable, Optional

from . import add_debug_argument, imports, run_tool, whole_number

if TYPE_CHECKING:
    from dksan_mm.datasets.splits import Splits

# choices of conversion, whose modules are imported only when the work begins
CROPS = ('bottom-right', 'centre')
STORAGES = ('png', 'memmap')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that all converters share."""
    parser.add_argument(
        '--scale',
        type=int,
        default=16,
        choices=(2, 4, 8, 16),
        help='HR size divided by LR size. Default: 16')
    parser.add_argument(
        '--crop',
        choices=CROPS,
        default=CROPS[0],
        help='where HR frames are cropped to a multiple of the scale (1080 '
        'rows become 1072). Default: %(default)s')
    parser.add_argument(
        '--storage',
        choices=STORAGES,
        default=STORAGES[0],
        help='one PNG per frame, or one memory map per sequence, which trains '
        'faster and takes 3 bytes per pixel. Default: %(default)s')
    parser.add_argument(
        '--crf',
        type=int,
        help='make LR frames from HR frames compressed by H.264 at this '
        'quality, 0 to 51 (libx264, medium); HR frames stay as they are. '
        'Default: no compression')
    parser.add_argument(
        '--workers',
        type=whole_number(),
        default=2,
        help='number of processes. Default: 2')
    parser.add_argument(
        '--check',
        action='store_true',
        help='verify the finished data set, list every fault and, if there '
        'is one, end with 1; nothing is converted')
    add_debug_argument(parser)


def convert_or_check(args: argparse.Namespace, out: str, name: str,
                     make_splits: Callable[[], 'Splits']) -> None:
    """Convert; or, with ``--check``, verify and exit with 1 if there is a
    fault."""
    with imports():
        from dksan_mm.datasets.conversion import convert
        from dksan_mm.datasets.layout import Settings
    if args.check:
        _check(out, args.workers)
        return
    settings = Settings(name, args.scale, args.crop, args.storage, args.crf)
    convert(out, make_splits(), settings, args.workers)
    print(f'{out}: complete')


def _check(out: str, workers: int) -> None:
    with imports():
        from dksan_mm.datasets.verification import verify
    faults = verify(out, workers)
    for fault in faults:
        print(fault)
    print(f'{out}: {len(faults)} faults')
    if faults:
        sys.exit(1)


def main_numbered(name: str, description: str, split_folder: str,
                  default_out: Optional[str]) -> None:
    """Run the converter of a data set of numbered sequences.

    Args:
        name (str): Name of the data set, as in ``<name>_train.txt``.
        description (str): Description of the program.
        split_folder (str): Where the split files are.
        default_out (str): Default output, the folder that the configs read.
    """

    def parse_args() -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument(
            'sources',
            nargs='*',
            help='folders that directly hold the HR sequences, 000 or '
            'video_000, each a folder of frames or a video')
        parser.add_argument(
            '--out',
            default=default_out,
            help='folder to write. Default: %(default)s')
        parser.add_argument(
            '--splits',
            nargs='+',
            default=['train', 'val', 'test'],
            choices=('train', 'val', 'test'),
            help='splits to make. Default: all')
        parser.add_argument(
            '--split-folder',
            default=split_folder,
            help=f'folder of {name}_train.txt, ... Default: %(default)s')
        add_arguments(parser)
        args = parser.parse_args()
        if not args.sources and not args.check:
            parser.error('name at least one folder of sequences')
        return args

    def make_splits(args: argparse.Namespace) -> 'Splits':
        from dksan_mm.datasets.splits import numbered_splits
        files = {
            split: osp.join(args.split_folder, f'{name}_{split}.txt')
            for split in args.splits
        }
        return numbered_splits(args.sources, files)

    def main(args: argparse.Namespace) -> None:
        convert_or_check(args, args.out, name, lambda: make_splits(args))

    run_tool(parse_args, main)
