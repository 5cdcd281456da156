"""Test a model: MMagic's tools/test.py, and on CPUs as well.

    python tools/test.py CONFIG [CHECKPOINT] [--result-dir DIR] ...

Afterwards it prints, for each data set, a table of the sequences, how the
data were made, the time of a frame and the hardware.
"""
import argparse
import os
from typing import Any, Dict, List, Optional

import mmengine
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from dksan_mm._benchmark import make_table
from dksan_mm.engine import (ResultHook, SaveFramesHook, SelfEnsembleHook,
                             finish_launcher)
from dksan_mm.engine.cli import (add_runner_arguments, load_config,
                                 naming_checkpoint, prepare)
from dksan_mm.engine.evaluation_sets import (add_metric, choose_test_set,
                                             drop_metric, read_test_sets,
                                             write_test_sets)

DIGITS = dict(PSNR=2, SSIM=4, tOF=3, LPIPS=4)


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
    add_result_arguments(parser)
    add_runner_arguments(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.json', '.yaml', '.pkl')):
        parser.error(f'--out must end in .json, .yaml or .pkl, got {args.out}')
    if args.save_frames is not None and not args.result_dir:
        parser.error('--save-frames needs --result-dir, the folder to save to')
    if args.save_frames is not None and args.save_frames < 1:
        parser.error(
            f'--save-frames must be at least 1, got {args.save_frames}')
    return args


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what MMagic's test.py does not have."""
    parser.add_argument(
        '--result-dir',
        help='folder for results by frame, sequence and on average, '
        'NAME.json and NAME.csv for each data set')
    parser.add_argument(
        '--system',
        help="name in tables; default: the config's "
        'experiment_name')
    parser.add_argument(
        '--save-frames',
        nargs='?',
        type=int,
        const=1,
        metavar='N',
        help='save every N-th restored frame (default: all) in '
        'RESULT_DIR/frames')
    parser.add_argument(
        '--dataset', help='test on this one of the data sets of the config')
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='average over 8 flips and transpositions: 8 times as slow')
    parser.add_argument(
        '--temporal-ensemble',
        action='store_true',
        help='self-ensemble over reversed windows as well: 16 times as slow')
    parser.add_argument(
        '--lpips',
        nargs='?',
        const='',
        metavar='WEIGHTS',
        help='measure LPIPS too; WEIGHTS is the file of AlexNet for ImageNet, '
        "by default in torchvision's cache, or where "
        'tools/analysis_tools/fetch_lpips_weights.py puts it')
    parser.add_argument(
        '--no-temporal',
        action='store_true',
        help='do not measure tOF, which takes time at large sizes')


def set_metrics(cfg: Config, args: argparse.Namespace) -> None:
    """Let the config test on the data sets and by the metrics asked for."""
    if args.dataset is None and args.lpips is None and not args.no_temporal:
        return
    sets = read_test_sets(cfg)
    if args.dataset is not None:
        sets = choose_test_set(sets, args.dataset)
    if args.no_temporal:
        sets = drop_metric(sets, 'SequenceTOF')
    if args.lpips is not None:
        add_metric(sets,
                   dict(type='SequenceLPIPS', weights=args.lpips or None))
    write_test_sets(cfg, sets)


def register_hooks(runner: Runner, args: argparse.Namespace) -> ResultHook:
    """Register the hooks asked for; return the one that has the results."""
    if args.out:
        runner.register_hook(SaveResultsHook(args.out), 'LOWEST')
    if args.self_ensemble or args.temporal_ensemble:
        runner.register_hook(SelfEnsembleHook(args.temporal_ensemble))
    if args.save_frames is not None:
        runner.register_hook(
            SaveFramesHook(
                os.path.join(args.result_dir, 'frames'), args.save_frames))
    hook = ResultHook(args.result_dir, args.system, args.config)
    runner.register_hook(hook)
    return hook


def cell(name: str, value: Optional[float]) -> str:
    """Return a metric's value for a table, a dash for None."""
    digits = DIGITS.get(name.split('_')[0], 4)
    return '-' if value is None else f'{value:.{digits}f}'


def result_table(result: Dict[str, Any]) -> str:
    """Return a data set's sequences and average as Markdown."""
    rows: List[List[str]] = [['Sequence', 'frames', *result['metrics']]]
    for sequence, values in result['sequences'].items():
        rows.append([sequence, str(len(result['frames'][sequence]))] +
                    [cell(name, value) for name, value in values.items()])
    total = sum(map(len, result['frames'].values()))
    rows.append(['Average', str(total)] +
                [cell(*item) for item in result['metrics'].items()])
    return make_table(rows)


def show(result: Dict[str, Any]) -> None:
    """Print a data set's result, and what it depends on."""
    data = result['dataset']
    print(f'\n{result["system"]} on {data["name"]} (x{result["scale"]}, '
          f'{data["gt_folder"]})\n')
    print(result_table(result))
    if data['metadata'] is None:
        print('\ndata: no metadata.json, so it is not known how they were '
              'made')
    else:
        # lists of sequences are for the file
        facts = [
            f'{key}: {value}' for key, value in data['metadata'].items()
            if not isinstance(value, (dict, list))
        ]
        print('\ndata: ' + '; '.join(facts))
    seconds = result['seconds_per_frame']
    took = '-' if seconds is None else f'{seconds:.4g} s'
    print(f'network: {result["parameters"]} parameters, {took} a frame '
          f'(median, forward pass alone) on {result["hardware"]}')


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = None if args.checkpoint == 'none' else args.checkpoint
    set_metrics(cfg, args)
    prepare(cfg)
    runner = Runner.from_cfg(cfg)
    if cfg.load_from is None and any(True for _ in runner.model.parameters()):
        raise ValueError(
            f'checkpoint must be given: the model of {args.config} has '
            'parameters, and untrained ones are not worth testing')
    hook = register_hooks(runner, args)
    with naming_checkpoint(cfg):
        runner.test()
    for result in hook.results:
        show(result)
    if args.result_dir:
        print_log(f'Results are in {args.result_dir}', 'current')
    print_log(f'Logs are in {cfg.work_dir}', 'current')
    finish_launcher()


if __name__ == '__main__':
    main()
