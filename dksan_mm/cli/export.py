"""Export the network of a config to ONNX, and check the file.

    python tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx [--size H W] ...

The file maps ``frames``, (N, T, 3, H, W), RGB in [0, 1], to ``restored``,
(N, 3, scale * H, scale * W), for any N, H and W.
"""
import argparse

from . import DictAction, add_debug_argument, imports


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export a model to ONNX')
    parser.add_argument('config', help='config file path')
    parser.add_argument(
        'checkpoint',
        help="checkpoint file; 'none' for a model without parameters")
    parser.add_argument('out', help='file to write, *.onnx')
    parser.add_argument(
        '--opset', type=int, default=20, help='ONNX opset, at least 19')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[24, 32],
        metavar=('H', 'W'),
        help='size of the LR frames that are traced, and the file checked '
        'with; it will take any other')
    parser.add_argument(
        '--no-verify',
        action='store_true',
        help='do not compare the file with the network')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs')
    add_debug_argument(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Export, and print how the file and the network differ."""
    with imports():
        from dksan_mm.export.command import export
    export(args)
