"""Make a data set of LR and HR frames from any videos or folders of frames.

    python tools/dataset_converters/videos/preprocess_videos.py OUT \
        --name NAME (--videos PATH ... | --train PATH ... --val PATH ...)

A path is a video, a folder of frames, or a folder of these. The output has the
layout that configs/dksan_vid3oc_x16.py reads, at any scale.
"""
import argparse
import os.path as osp
from typing import TYPE_CHECKING

from dksan_mm.cli import run_tool, whole_number
from dksan_mm.cli.convert import add_arguments, convert_or_check

if TYPE_CHECKING:
    from dksan_mm.datasets.splits import Splits


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make a data set of LR and HR frames from videos')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--name', help="the data set's name. Default: the folder's")
    parser.add_argument(
        '--videos',
        nargs='+',
        default=[],
        help='videos, folders of frames, or folders of such, to be split')
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        '--val-ratio',
        type=float,
        default=0.25,
        help='fraction of --videos to validate on: the last videos, or the '
        'end of a single one. Default: 0.25')
    split.add_argument(
        '--val-count',
        type=int,
        help='number of --videos to validate on, from the last one back; a '
        'single video is split in time')
    split.add_argument(
        '--val-file',
        help='split file with the names of the videos, among --videos, to '
        'validate on')
    parser.add_argument(
        '--train',
        nargs='+',
        default=[],
        help='videos to train on, given with --val instead of --videos')
    parser.add_argument(
        '--val',
        nargs='+',
        default=[],
        help='videos to validate and test on, given with --train instead of '
        '--videos')
    parser.add_argument(
        '--max-frames',
        type=whole_number(),
        help='train on this many frames of each video, from its first on. '
        'Default: all')
    parser.add_argument(
        '--max-val-frames',
        type=whole_number(),
        help='validate and test on this many frames of each video, from its '
        'first on. Default: all')
    add_arguments(parser)
    args = parser.parse_args()
    if bool(args.videos) == bool(args.train or args.val) and not args.check:
        parser.error('give --videos, or --train and --val')
    if not args.name:
        args.name = osp.basename(osp.abspath(args.out))
    return args


def make_splits(args: argparse.Namespace) -> 'Splits':
    """Return the splits that the arguments describe."""
    from dksan_mm.datasets.splits import (expand, limit, named_splits,
                                          split_by_file, split_by_ratio)
    from dksan_mm.video.clips import Clip
    if args.val_file:
        splits = split_by_file(expand(args.videos), args.val_file)
    elif args.videos:
        splits = split_by_ratio(
            expand(args.videos), args.val_ratio, args.val_count)
    else:
        splits = named_splits(
            dict(
                train=[Clip(path) for path in expand(args.train)],
                val=[Clip(path) for path in expand(args.val)]))
    return limit(splits, dict(train=args.max_frames, val=args.max_val_frames))


def main(args: argparse.Namespace) -> None:
    convert_or_check(args, args.out, args.name, lambda: make_splits(args))


if __name__ == '__main__':
    run_tool(parse_args, main)
