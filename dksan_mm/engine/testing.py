"""Tests a model, from the command line's arguments to its tables."""
import argparse
import os
from typing import Any, Dict, List

import mmengine
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from dksan_mm.evaluation.hooks import (ResultHook, SaveFramesHook,
                                       SelfEnsembleHook)
from dksan_mm.evaluation.sets import (add_metric, choose_test_sets,
                                      drop_metric, read_test_sets,
                                      write_test_sets)
from dksan_mm.models.dksan import DKSAN, refuse_other_variants
from dksan_mm.models.dksan_gan import DKSANGAN
from dksan_mm.results.averages import rows_of
from dksan_mm.results.files import Result
from dksan_mm.results.tables_formats import show_value
from dksan_mm.utils.benchmark import make_table
from dksan_mm.utils.files import write_whole
from .checkpoint import check_weights
from .cli import load_config, naming_files, prepare
from .config import TESTING, check_config
from .distributed import finish_launcher


def set_metrics(cfg: Config, args: argparse.Namespace) -> None:
    """Set the config's test sets and metrics to the requested ones."""
    if not (args.dataset or args.lpips is not None or args.niqe
            or args.no_temporal):
        return
    sets = read_test_sets(cfg)
    if args.dataset is not None:
        sets = choose_test_sets(sets, args.dataset)
    if args.no_temporal:
        sets = drop_metric(sets, 'SequenceTOF')
    if args.niqe:
        add_metric(sets, dict(type='SequenceNIQE'))
    if args.lpips is not None:
        add_metric(sets,
                   dict(type='SequenceLPIPS', weights=args.lpips or None))
    write_test_sets(cfg, sets)


def refuse_misfits(model: nn.Module) -> None:
    """Make MMagic's restorers refuse a checkpoint that does not fit, like
    DKSAN: they would go on with random weights."""
    restorer = model.module if is_model_wrapper(model) else model
    if not isinstance(restorer, (DKSAN, DKSANGAN)):
        restorer.register_load_state_dict_pre_hook(refuse_other_variants)


def register_hooks(runner: Runner, args: argparse.Namespace) -> ResultHook:
    """Register the requested hooks; return the one with the results."""
    if args.self_ensemble or args.temporal_ensemble:
        runner.register_hook(SelfEnsembleHook(args.temporal_ensemble))
    if args.save_frames is not None:
        runner.register_hook(
            SaveFramesHook(
                os.path.join(args.result_dir, 'frames'), args.save_frames))
    hook = ResultHook(args.result_dir, args.system, args.config)
    runner.register_hook(hook)
    return hook


def result_table(result: Result) -> str:
    """Return a data set's sequences and average as Markdown."""
    rows: List[List[str]] = [['Sequence', 'frames', *result.metrics]]
    for sequence, values in rows_of(result.sequences).items():
        rows.append(
            [sequence, str(len(result.frames[sequence]))] +
            [show_value(value, name) for name, value in values.items()])
    total = sum(map(len, result.frames.values()))
    rows.append(['Average', str(total)] +
                [show_value(v, name) for name, v in result.metrics.items()])
    return make_table(rows)


def show(result: Result) -> None:
    """Print a data set's result, and the conditions that it depends on."""
    data = result.dataset
    print(f'\n{result.system} on {data.name} (x{result.scale}, '
          f'{data.gt_folder})\n')
    print(result_table(result))
    if data.metadata is None:
        print('\ndata: no metadata.json, so it is not known how they were '
              'made')
    else:
        # lists of sequences are only in the file
        facts = [
            f'{key}: {value}' for key, value in data.metadata.items()
            if not isinstance(value, (dict, list))
        ]
        print('\ndata: ' + '; '.join(facts))
    seconds = result.seconds_per_frame
    took = '-' if seconds is None else f'{seconds:.4g} s'
    print(f'network: {result.parameters} parameters, {took} a frame '
          f'(median, forward pass alone) on {result.hardware}')


def save_metrics(metrics: Dict[str, Any], path: str) -> None:
    """Write the metrics to a file of the format that its suffix names."""
    data = mmengine.dump(metrics, file_format=path.rpartition('.')[2])
    write_whole(path, data if isinstance(data, bytes) else data.encode())


def test(args: argparse.Namespace) -> None:
    """Test as the arguments of :mod:`dksan_mm.cli.test` say, and print the
    results."""
    cfg = load_config(args)
    cfg.load_from = None if args.checkpoint == 'none' else args.checkpoint
    check_config(cfg, TESTING)
    set_metrics(cfg, args)
    prepare(cfg)
    with naming_files(cfg):
        runner = Runner.from_cfg(cfg)
        check_weights(runner.model, args.config, args.checkpoint)
        refuse_misfits(runner.model)
        hook = register_hooks(runner, args)
        runner.test()
    if args.out and is_main_process():
        save_metrics(hook.metrics, args.out)
    for result in hook.results:
        show(result)
    if args.result_dir:
        print_log(f'Results are in {args.result_dir}', 'current')
    print_log(f'Logs are in {cfg.work_dir}', 'current')
    finish_launcher()
