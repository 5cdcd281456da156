"""Trains a model, from the command line's arguments on."""
import argparse
import logging
import os

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, Runner

from .cli import last_checkpoint, load_config, naming_files, prepare
from .config import TRAINING, check_config
from .distributed import finish_launcher
from .health_hook import HealthHook
from .max_time import MaxTimeHook
from .schedule_hook import ScheduleHook


def enable_amp(cfg: Config, dtype: str = 'auto') -> None:
    """Replace the plain OptimWrapper by the device's mixed-precision one.

    Args:
        cfg (Config): It is changed. It may have a wrapper for each part of
            the model.
        dtype (str): 'bf16'; 'fp16', whose loss is scaled, on GPUs alone; or
            'auto', the default: what the config has, else float16 on GPUs
            and bfloat16 on CPUs.

    Raises:
        ValueError: The config has another wrapper, or there is no GPU for
            float16.
    """
    if 'constructor' in cfg.optim_wrapper and 'optimizer' not in (
            cfg.optim_wrapper):  # one for each part of the model
        for wrapper in cfg.optim_wrapper.values():
            if isinstance(wrapper, dict):
                _enable_amp(wrapper, dtype)
    else:
        _enable_amp(cfg.optim_wrapper, dtype)


def _enable_amp(optim_wrapper: dict, dtype: str) -> None:
    wrapper = optim_wrapper.get('type', 'OptimWrapper')
    mixed = wrapper in ('AmpOptimWrapper', 'CPUAmpOptimWrapper')
    if mixed and dtype == 'auto':
        print_log('Mixed precision is already enabled in the config.',
                  'current')
        return
    if wrapper != 'OptimWrapper' and not mixed:
        raise ValueError('--amp needs optim_wrapper.type to be OptimWrapper, '
                         f'found {wrapper}; set it in the config')
    gpu = torch.cuda.is_available()
    if dtype == 'fp16' and not gpu:
        raise ValueError('--amp fp16 needs a GPU, and PyTorch sees none: '
                         'use --amp bf16')
    for key in ('dtype', 'loss_scale'):
        optim_wrapper.pop(key, None)
    if not gpu:
        optim_wrapper.update(type='CPUAmpOptimWrapper')
    elif dtype == 'bf16':
        # it has the range of float32: no loss is scaled
        optim_wrapper.update(
            type='AmpOptimWrapper',
            dtype='bfloat16',
            loss_scale=dict(enabled=False))
    else:
        optim_wrapper.update(
            type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Turn on mmengine's scaling of the learning rate."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size, the total '
            'batch size that the learning rate is for, found none in '
            f'{cfg.filename}; add it to the config')
    cfg.auto_scale_lr.enable = True


def use_whole_checkpoints(cfg: Config) -> None:
    """Replace mmengine's CheckpointHook, which writes files in place."""
    hook = cfg.get('default_hooks', {}).get('checkpoint')
    if hook and hook.get('type') == 'CheckpointHook':
        hook.type = 'WholeCheckpointHook'


def resume(cfg: Config, args: argparse.Namespace) -> None:
    """Resume a training from the ``load_from`` of the command line, else from
    its newest checkpoint. If there is none, it begins as the config says.
    Where torchrun has started it again, the newest one, if it is further on,
    comes before ``load_from``."""
    given = (args.cfg_options or {}).get('load_from')
    try:
        found = last_checkpoint(cfg)
    except ValueError:  # none is whole
        if not given:
            raise
        found = None
    if given:
        cfg.resume = True
        if not found or _iteration(found) <= _iteration(given):
            return
        if os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') == '0':
            print_log(
                f'{found} is further on than {given}, from which this '
                'training resumes, and may be overwritten; leave load_from '
                'out to go on from it', 'current', logging.WARNING)
            return
    if found:
        cfg.load_from, cfg.resume = found, True


def _iteration(checkpoint: str) -> int:
    """Return the iteration after which a checkpoint was saved."""
    # by mmengine, as it may be an address
    found = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    return found.get('meta', {}).get('iter', 0)


def train(args: argparse.Namespace) -> None:
    """Train as the arguments of :mod:`dksan_mm.cli.train` say."""
    # time counts from here: cluster slots include the start
    max_time = MaxTimeHook(args.max_time) if args.max_time else None
    cfg = load_config(args)
    if cfg.get('train_dataloader') is None:
        raise ValueError(f'{args.config} must have a train_dataloader to be '
                         'trained, found none: it is only for tools/test.py')
    check_config(cfg, TRAINING)
    if args.amp:
        enable_amp(cfg, args.amp)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    wanted = args.resume or cfg.get('resume')
    if args.resume:
        resume(cfg, args)
    use_whole_checkpoints(cfg)
    prepare(cfg)
    with naming_files(cfg):
        runner = Runner.from_cfg(cfg)
        if max_time is not None:
            runner.register_hook(max_time)
        runner.register_hook(HealthHook(args.on_nan))
        runner.register_hook(ScheduleHook())
        if wanted and not cfg.get('resume'):
            print_log(
                f'--resume found no checkpoint in {cfg.work_dir}: this '
                'training begins at the first iteration', 'current',
                logging.WARNING)
        runner.train()
    print_log(f'Logs and checkpoints are in {cfg.work_dir}', 'current')
    finish_launcher()
