"""Exports a config's network, from the command line's arguments on."""
import argparse

from mmagic.registry import MODELS
from mmengine.registry import init_default_scope

from dksan_mm.engine.checkpoint import check_checkpoint, load_weights
from dksan_mm.engine.config import (check_config, merge_options, naming_config,
                                    read_config)
from .onnx_export import check_arguments, check_packages, export_onnx


def export(args: argparse.Namespace) -> None:
    """Export as the arguments of :mod:`dksan_mm.cli.export` say."""
    check_packages()
    check_arguments(args.out, args.size, args.opset)
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    check_config(cfg, ('model', ))
    if args.checkpoint != 'none':
        check_checkpoint(args.checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    with naming_config(cfg):
        model = MODELS.build(cfg.model)
    load_weights(model, cfg.filename, args.checkpoint)
    net = model.generator
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
