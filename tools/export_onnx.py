"""Export the network of a config to ONNX, and check the file.

    python tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx [--size H W] ...

The file maps ``frames``, (N, T, 3, H, W), RGB in [0, 1], to ``restored``,
(N, 3, scale * H, scale * W), for any N, H and W.
"""
import argparse

from mmagic.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.engine import check_checkpoint
from dksan_mm.engine.checkpoint import check_weights
from dksan_mm.engine.cli import naming_files
from dksan_mm.engine.config import check_config, merge_options, read_config
from dksan_mm.engine.onnx_export import (check_arguments, check_packages,
                                         export_onnx)


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


def load_generator(cfg: Config) -> nn.Module:
    """Return the network of a config with its checkpoint's weights."""
    if cfg.load_from is not None:
        check_checkpoint(cfg.load_from)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    with naming_files(cfg):
        model = MODELS.build(cfg.model)
        check_weights(model, cfg.filename, cfg.load_from)
        if cfg.load_from is not None:
            load_checkpoint(model, cfg.load_from, 'cpu', strict=True)
    return model.generator


def main(args: argparse.Namespace) -> None:
    check_packages()
    check_arguments(args.out, args.size, args.opset)
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    check_config(cfg, ('model', ))
    cfg.load_from = None if args.checkpoint == 'none' else args.checkpoint
    net = load_generator(cfg)
    shape = (getattr(net, 'num_frames',
                     cfg.get('num_input_frames',
                             1)), getattr(net, 'in_channels', 3), *args.size)
    differences = export_onnx(
        net, args.out, shape, args.opset, verify=not args.no_verify)
    print(f'{args.out}: (N, {shape[0]}, {shape[1]}, H, W) -> '
          f'(N, {shape[1]}, {net.scale} * H, {net.scale} * W)')
    for shape, difference in differences.items():
        print(f'ONNX Runtime and PyTorch differ by at most {difference:.2e} '
              f'for an input of shape {shape}')


if __name__ == '__main__':
    run_tool(parse_args, main)
