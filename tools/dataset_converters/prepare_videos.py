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

from dksan_mm.datasets.prepare import prepare_videos


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
        '--scale', type=int, default=16, choices=(2, 4, 8, 16))
    parser.add_argument(
        '--max-frames',
        type=int,
        help='use the first so many frames of each. Default: all')
    parser.add_argument(
        '--workers', type=int, default=2, help='processes. Default: 2')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        prepare_videos(
            args.out,
            dict(train=args.train, val=args.val),
            scale=args.scale,
            max_frames=args.max_frames,
            workers=args.workers)
    except (OSError, ValueError) as error:
        sys.exit(f'prepare_videos.py: {error}')


if __name__ == '__main__':
    main()
