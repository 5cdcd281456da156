"""Exports a config's network, from the command line's arguments on."""
import argparse

from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from dksan_mm.engine.checkpoint import check_checkpoint, check_weights
from dksan_mm.engine.cli import naming_files
from dksan_mm.engine.config import check_config, merge_options, read_config
from .onnx_export import check_arguments, check_packages, export_onnx


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


def export(args: argparse.Namespace) -> None:
    """Export as the arguments of :mod:`dksan_mm.cli.export` say."""
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
