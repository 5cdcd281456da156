"""Turn a checkpoint into a file to share.

    python tools/publish_model.py CONFIG CHECKPOINT OUT.safetensors \
        --training TEXT --data TEXT --hardware TEXT --licence TEXT

The file has weights in half precision and, in its metadata, the config that
describes the network, the commit, the iterations and the texts of the options.
The tool prints the SHA-256, by which files in dksan_mm/weights are checked.
"""
import argparse
import json
import os
import subprocess
from typing import Any, Dict

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors.torch import save

import dksan_mm
from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.engine.checkpoint import load_checkpoint_file
from dksan_mm.engine.config import check_config, naming_config, read_config
from dksan_mm.utils.files import file_sha256, write_whole

# what describes a network; paths of the training are none of it
CONFIG_KEYS = ('model', 'scale', 'num_input_frames', 'default_scope',
               'experiment_name', 'demo_pipeline')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Turn a checkpoint into a safetensors file')
    parser.add_argument(
        'config', help='config that the network was trained with')
    parser.add_argument(
        'checkpoint', help='checkpoint that tools/train.py wrote')
    parser.add_argument('out', help='.safetensors file to write')
    for name, text in (('training', 'how the network was trained'),
                       ('data', 'data that it was trained on, with licences'),
                       ('hardware', 'hardware that trained it, and how long'),
                       ('licence', 'licence of the weights')):
        parser.add_argument(f'--{name}', required=True, help=text)
    add_debug_argument(parser)
    args = parser.parse_args()
    if not args.out.endswith('.safetensors'):
        parser.error(f'OUT must end in .safetensors, got {args.out}')
    return args


def half(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Return a tensor in half precision.

    Raises:
        ValueError: A value is not finite, or becomes so.
    """
    if not tensor.is_floating_point():
        return tensor.contiguous()
    small = tensor.to(torch.float16).contiguous()
    if not small.isfinite().all():
        raise ValueError(f'{name} must be finite in float16, found values up '
                         f'to {tensor.abs().max():.3g}; train it again')
    return small


def commit() -> str:
    """Return the commit of this repository, marked if there are changes."""
    folder = os.path.dirname(os.path.abspath(__file__))
    git = ['git', '-C', folder]
    found = subprocess.run([*git, 'rev-parse', 'HEAD'],
                           capture_output=True,
                           text=True)
    if found.returncode:
        return 'unknown'
    changed = subprocess.run(
        [*git, 'status', '--porcelain', '--untracked-files=no'],
        capture_output=True,
        text=True).stdout
    return found.stdout.strip() + (' (changed)' if changed else '')


def describe(cfg: Config, loaded: Dict[str, Any],
             args: argparse.Namespace) -> Dict[str, str]:
    """Return the metadata of the file."""
    config = {
        key: value
        for key, value in cfg.to_dict().items() if key in CONFIG_KEYS
    }
    return dict(
        config=json.dumps(config),
        dksan_mm=dksan_mm.__version__,
        commit=commit(),
        iterations=json.dumps(loaded.get('meta', {}).get('iter')),
        training=args.training,
        data=args.data,
        hardware=args.hardware,
        licence=args.licence)


def main(args: argparse.Namespace) -> None:
    cfg = read_config(args.config)
    check_config(cfg, ('model', ))
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    loaded = load_checkpoint_file(args.checkpoint)
    weights = {
        name: half(value, name)
        for name, value in loaded['state_dict'].items()
    }
    # a checkpoint of another network is refused before it is shared
    with naming_config(cfg):
        MODELS.build(cfg.model).load_state_dict(weights)
    write_whole(args.out, save(weights, describe(cfg, loaded, args)))
    print(f'{args.out}: {os.path.getsize(args.out)} bytes, SHA-256\n'
          f'{file_sha256(args.out)}')


if __name__ == '__main__':
    run_tool(parse_args, main)
