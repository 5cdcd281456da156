"""Make a data set of LR and HR frames from videos or folders of frames.

    python tools/dataset_converters/prepare_videos.py OUT \
        --train a.mp4 b.mp4 --val c.mp4

writes, in the layout that configs/dksan_vid3oc_x16.py reads,

    OUT/{train,val}/GT/<sequence>/00000000.png, ...
    OUT/{train,val}/BIx16/<sequence>/00000000.png, ...
    OUT/meta_info_{train,val}.txt, OUT/metadata.json
"""
import argparse
import sys

from dksan_mm.datasets.prepare import Clip, hold_out, prepare_videos


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make a data set of LR and HR frames from videos')
    parser.add_argument('out', help='folder to write, new or empty')
    parser.add_argument(
        '--train',
        nargs='*',
        default=[],
        help='videos, or folders of frames, to train on')
    parser.add_argument(
        '--val',
        nargs='*',
        default=[],
        help='videos, or folders of frames, to validate and test on')
    parser.add_argument(
        '--hold-out',
        nargs='+',
        default=[],
        help='instead of --train and --val: train on all but the last, which '
        'is held out; a single video is split, its last quarter held out')
    parser.add_argument('--scale', type=int, default=16, choices=(2, 4, 8, 16))
    parser.add_argument(
        '--max-frames',
        type=int,
        help='train on the first so many frames of each. Default: all')
    parser.add_argument(
        '--max-val-frames',
        type=int,
        help='validate and test on the first so many. Default: all')
    parser.add_argument(
        '--workers', type=int, default=2, help='processes. Default: 2')
    args = parser.parse_args()
    if bool(args.hold_out) == bool(args.train or args.val):
        parser.error('give --hold-out, or --train and --val')
    return args


def main() -> None:
    args = parse_args()
    try:
        if args.hold_out:
            sources = hold_out(args.hold_out, args.max_frames,
                               args.max_val_frames)
        else:
            sources = dict(
                train=[Clip(p, 0, args.max_frames) for p in args.train],
                val=[Clip(p, 0, args.max_val_frames) for p in args.val])
        prepare_videos(
            args.out, sources, scale=args.scale, workers=args.workers)
    except (OSError, ValueError) as error:
        sys.exit(f'prepare_videos.py: {error}')


if __name__ == '__main__':
    main()
