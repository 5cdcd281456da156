"""Test a model: MMagic's tools/test.py, and on CPUs as well.

    python tools/test.py CONFIG [CHECKPOINT] [--out results.json] ...
"""
import argparse
import os
from typing import Any, Dict, Optional

import mmengine
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from dksan_mm.engine import finish_launcher
from dksan_mm.engine.cli import (add_runner_arguments, load_config,
                                 naming_checkpoint, prepare)


class SaveResultsHook(Hook):
    """Write the metrics to a file, whole or not at all."""

    priority = 'LOWEST'

    def __init__(self, path: str) -> None:
        self.path = path

    def after_test_epoch(self,
                         runner: Runner,
                         metrics: Optional[Dict[str, Any]] = None) -> None:
        if metrics is not None and is_main_process():
            stem, suffix = os.path.splitext(self.path)
            partial = f'{stem}.partial{suffix}'
            mmengine.dump(metrics, partial)
            os.replace(partial, self.path)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and eval) a model')
    parser.add_argument('config', help='test config file path')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        default='none',
        help="checkpoint file; 'none' for a model without parameters")
    parser.add_argument(
        '--out', help='file to save the metrics to: .json, .yaml or .pkl')
    add_runner_arguments(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.json', '.yaml', '.pkl')):
        parser.error(f'--out must end in .json, .yaml or .pkl, got {args.out}')
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = None if args.checkpoint == 'none' else args.checkpoint
    prepare(cfg)
    runner = Runner.from_cfg(cfg)
    if cfg.load_from is None and any(True for _ in runner.model.parameters()):
        raise ValueError(
            f'checkpoint must be given: the model of {args.config} has '
            'parameters, and untrained ones are not worth testing')
    if args.out:
        runner.register_hook(SaveResultsHook(args.out), 'LOWEST')
    with naming_checkpoint(cfg):
        runner.test()
    print_log(f'Logs are in {cfg.work_dir}', 'current')
    finish_launcher()


if __name__ == '__main__':
    main()
