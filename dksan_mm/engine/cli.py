"""Prepares training and testing: config, checkpoint, processes."""
import argparse
import os
import os.path as osp
from contextlib import contextmanager
from typing import Iterator, Optional, Sequence

from mmengine.config import Config

from dksan_mm.datasets.layout import read_metadata
from dksan_mm.evaluation.sets import (choose_test_sets, read_test_sets,
                                      write_test_sets)
from dksan_mm.results.public import is_public
from dksan_mm.utils.faults import CheckpointMismatchError
from dksan_mm.utils.memory import keep_freed_memory
from .checkpoint import check_checkpoint
from .checkpoint_hook import find_checkpoint
from .config import merge_options, naming_config, read_config
from .distributed import prepare_launcher


def last_checkpoint(cfg: Config) -> Optional[str]:
    """Return a training's newest checkpoint, by :func:`find_checkpoint`."""
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    return find_checkpoint(cfg.work_dir, hook.get('out_dir'))


def load_config(args: argparse.Namespace) -> Config:
    """Return the config with the command line merged in.

    The work folder is taken from the command line, else from the config, else
    it is ``work_dirs/<name of the config>``.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.data_root:
        use_data_root(cfg, args.data_root, getattr(args, 'dataset', None))
    merge_options(cfg, args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def use_data_root(cfg: Config,
                  root: str,
                  names: Optional[Sequence[str]] = None) -> None:
    """Train, validate and test on one data set only.

    Args:
        cfg (Config): The config, which is changed. Only the first of several
            test data sets is kept, with this root; its metrics lose their
            prefix. A public data set, which has no metadata.json, keeps its
            name, annotation and folders; all its parts get this root.
        root (str): Folder that a converter wrote, or of a public data set.
        names (Sequence[str], optional): Public test sets at that root.
            Default: None, those at the root of the config's training set, or
            else of its first test set.

    Raises:
        FileNotFoundError: There is no data set.
        ValueError: The named test sets have several roots, or the training
            set has no sequences.
    """
    metadata = read_metadata(root)
    if metadata is None and _is_public(cfg):
        _use_public_root(cfg, root, names)
        return
    if metadata is None:
        raise FileNotFoundError(
            f'--data-root must be a data set that a converter wrote, found no '
            f'metadata.json in {root}; make it with tools/dataset_converters')
    train = cfg.get('train_dataloader')
    if train is not None and 'datasets' in train.dataset:
        # keep the sequences, not the photographs beside them
        sets = train.dataset.datasets
        train.dataset = next(
            (part for part in sets if part.type == 'VideoSRDataset'), None)
        if train.dataset is None:
            raise ValueError(
                '--data-root needs a VideoSRDataset in train_dataloader, found'
                f' {", ".join(part.type for part in sets)}; leave --data-root '
                'out, and give each folder with --cfg-options train_dataloader'
                '.dataset.datasets.0.data_root=DIR')
    loaders = [train, cfg.get('val_dataloader')]
    if cfg.get('test_dataloader'):
        test_set = read_test_sets(cfg)[0]
        for metric in test_set.metrics:
            metric.pop('prefix', None)
        write_test_sets(cfg, [test_set])
        loaders.append(cfg.test_dataloader[0])
    for loader in filter(None, loaders):
        loader.dataset.data_root = root
        loader.dataset.metainfo = dict(
            dataset_type=metadata['name'], task_name='vsr')


def _is_public(cfg: Config) -> bool:
    """Whether a config tests on a public data set."""
    loaders = cfg.get('test_dataloader')
    return bool(loaders) and is_public(read_test_sets(cfg)[0].name)


def _use_public_root(cfg: Config, root: str,
                     names: Optional[Sequence[str]]) -> None:
    """Set the root of a public data set's parts, and leave other sets out of
    the test."""
    if not osp.isdir(root):
        raise FileNotFoundError(f'--data-root must be the folder of a data '
                                f'set, but {root} does not exist')
    sets = read_test_sets(cfg)
    train, val = cfg.get('train_dataloader'), cfg.get('val_dataloader')
    if names:
        sets = choose_test_sets(sets, names)
        roots = {test_set.dataloader['dataset'].data_root for test_set in sets}
        if len(roots) > 1:
            raise ValueError(
                '--data-root must be the place of one data set, but those of '
                f'--dataset, {", ".join(names)}, are at {sorted(roots)} in '
                'the config; test one after the other')
        old = roots.pop()
    else:
        old = (train or sets[0].dataloader)['dataset'].data_root
        sets = [
            test_set for test_set in sets
            if test_set.dataloader['dataset'].data_root == old
        ]
    write_test_sets(cfg, sets)
    for loader in filter(None, [train, val, *cfg.test_dataloader]):
        if loader['dataset'].data_root == old:
            loader['dataset'].data_root = root


def prepare(cfg: Config) -> None:
    """Check the checkpoint to start from, and set up memory and CPU processes.
    """
    keep_freed_memory()
    if cfg.get('resume') and not cfg.get('load_from'):
        # otherwise the runner would look for one itself
        cfg.load_from = last_checkpoint(cfg)
        cfg.resume = cfg.load_from is not None
    if cfg.get('load_from'):
        check_checkpoint(cfg.load_from, bool(cfg.get('resume')))
    prepare_launcher(cfg)


@contextmanager
def naming_files(cfg: Config) -> Iterator[None]:
    """Add the names of config and checkpoint to errors about them."""
    try:
        with naming_config(cfg):
            yield
    except CheckpointMismatchError as error:
        if not cfg.get('load_from'):  # which is what the error says
            raise
        raise CheckpointMismatchError(f'{cfg.load_from}: {error}') from None
