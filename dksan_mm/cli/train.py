"""Train a model, like MMagic's tools/train.py, and on CPUs as well.

    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ...
"""
import argparse
import re
import sys
from typing import List, Sequence

from . import add_runner_arguments, imports

AMP = ('auto', 'bf16', 'fp16')
_UNITS = dict(s=1, m=60, h=3600)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='resume from the latest checkpoint in the work folder')
    parser.add_argument(
        '--amp',
        nargs='?',
        choices=AMP,
        help='train in mixed precision; default: float16 on GPUs, bfloat16 '
        'on CPUs; fp16 needs a GPU')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the total batch size over the "
        "config's auto_scale_lr.base_batch_size")
    parser.add_argument(
        '--max-time',
        type=parse_time,
        metavar='TIME',
        help='stop after this time, such as 90s, 150m or 2.5h, with a '
        'checkpoint; --resume continues from there as if the training had '
        'not stopped')
    parser.add_argument(
        '--on-nan',
        choices=['stop', 'rollback'],
        default='stop',
        help='when a loss is not finite, or above 1e6: stop with an error, or '
        'go back to the last checkpoint and halve the learning rate; default: '
        'stop')
    add_runner_arguments(parser)
    return parser.parse_args(_name_amp(sys.argv[1:]))


def _name_amp(arguments: Sequence[str]) -> List[str]:
    """Return arguments with a bare ``--amp`` as ``--amp=auto``: argparse would
    take the config that follows as its value."""
    following = [*arguments[1:], '']
    return [
        '--amp=auto' if argument == '--amp' and after not in AMP else argument
        for argument, after in zip(arguments, following)
    ]


def parse_time(text: str) -> float:
    """Return the seconds in a text such as ``90s``, ``150m`` or ``2.5h``.

    Raises:
        argparse.ArgumentTypeError: The text is no such time.
    """
    match = re.fullmatch(r'(\d+(?:\.\d*)?|\.\d+)([smh])', text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0
    if not seconds:
        raise argparse.ArgumentTypeError(
            'a time must be a number above 0 with the unit s, m or h, such as '
            f'90s, 150m or 2.5h, got {text!r}')
    return seconds


def main(args: argparse.Namespace) -> None:
    """Train."""
    with imports():
        from dksan_mm.engine.training import train
    train(args)
