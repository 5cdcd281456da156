"""Loads checkpoints without running code that they may carry.

A checkpoint is a file that torch.save or safetensors wrote, its address, or
the name of a network that comes with the package (:mod:`dksan_mm.weights`).
"""
import os.path as osp
import pickle
from typing import Any, Callable, Dict, Optional, Union

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import _process_mmcls_checkpoint
from torch import nn

from dksan_mm import weights
from dksan_mm.utils.faults import CheckpointMismatchError
from .checkpoint_scan import ScanError, scan_checkpoint
from .checkpoint_sources import local_checkpoint


def _history_buffer_method(owner: Any, name: str) -> Callable:
    """Replace ``getattr`` in checkpoints: it gives the four statistics of
    mmengine's HistoryBuffer and nothing else.

    The real ``getattr`` would open the interpreter to the file's author.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'GLOBAL getattr of {owner!r}, {name!r}, is '
                                 'not allowed.')


def allow_mmengine_checkpoints() -> None:
    """Let torch's weights-only loading read what mmengine saves.

    mmengine's checkpoints hold the log's history as HistoryBuffers of numpy
    arrays, which torch >= 2.6 refuses unless they are declared safe. They are
    safe; weights-only loading itself stays on.
    """
    dtypes = [type(np.dtype(name)) for name in ('f8', 'f4', 'i8', 'i4')]
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, *dtypes,
        np.zeros(1).__reduce__()[0],
        np.float64(0).__reduce__()[0],
        (_history_buffer_method, 'builtins.getattr')
    ])


def check_weights(model: nn.Module, config: Optional[str],
                  checkpoint: Optional[str]) -> None:
    """Check that a model with parameters gets a checkpoint, and that a model
    without parameters gets none.

    Args:
        model (nn.Module): The model that the config describes.
        config (str, optional): The config's name, for the message.
        checkpoint (str, optional): The checkpoint; None or ``'none'`` if there
            is none.

    Raises:
        CheckpointMismatchError: A checkpoint is missing, or is given in vain.
    """
    trained = any(True for _ in model.parameters())
    given = checkpoint not in (None, 'none')
    if trained and not given:
        raise CheckpointMismatchError(
            f'checkpoint must be given: the model of {config} has '
            'parameters, and untrained ones are useless')
    if given and not trained:
        raise CheckpointMismatchError(
            f"checkpoint must be 'none', or left out: the model of {config} "
            f'has no parameters, got {checkpoint}')


def load_weights(model: nn.Module, config: Optional[str],
                 checkpoint: Optional[str]) -> None:
    """Load a checkpoint that must fit the model.

    Args:
        model, config, checkpoint: As for :func:`check_weights`.

    Raises:
        CheckpointMismatchError: As :func:`check_weights`, or the checkpoint
            belongs to another model.
    """
    check_weights(model, config, checkpoint)
    if checkpoint in (None, 'none'):
        return
    try:
        load_checkpoint(model, checkpoint, 'cpu', strict=True)
    except CheckpointMismatchError as error:
        # the advice to train on with what fits does not apply here
        text = str(error).partition(', or set model.strict')[0]
        raise CheckpointMismatchError(f'{checkpoint}: {text}') from None
    except RuntimeError as error:  # how other models report a mismatch
        text = ' '.join(str(error).split())
        if len(text) > 200:  # lists of all weights
            text = f'{text[:200]} ...'
        raise CheckpointMismatchError(
            f'{checkpoint}: the checkpoint must fit the model that the '
            f'config describes, found: {text}') from error


def check_checkpoint(path: str, resume: bool = False) -> None:
    """Check that a checkpoint can be loaded, before anything is built.

    A checkpoint at an address is downloaded, and stays in torch's cache.

    Args:
        path (str): As for :func:`load_checkpoint_file`.
        resume (bool): Whether a training is to go on from it. Default: False.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_checkpoint_file`.
        ValueError: A training is to go on from weights alone.
    """
    checkpoint = load_checkpoint_file(path)
    state = checkpoint.get('meta', {}).keys()
    if resume and not ('message_hub' in checkpoint
                       and {'epoch', 'iter'} <= state):
        raise ValueError(
            f'checkpoint {path} must hold the state of a training (optimizer, '
            'iteration) to be resumed, found weights without it; leave '
            '--resume (resume=True) out to start from these weights, or give '
            'a file that tools/train.py wrote')


def load_checkpoint_file(
    path: str,
    map_location: Union[str, torch.device, Callable, None] = 'cpu'
) -> Dict[str, Any]:
    """Return the contents of a checkpoint: tensors and plain values, the
    network's tensors as ``state_dict``. No code in it is run, now or when a
    runner resumes from it.

    All loading of checkpoints comes here, also by mmengine's loaders: see
    :func:`register_checkpoint_loaders`.

    Args:
        path (str): A file that ``torch.save`` or safetensors wrote, an
            address that mmengine knows, such as ``https://...``, or the name
            of a trained network, such as ``dksan-lite_x4``.
        map_location: As for ``torch.load``. Default: 'cpu'.

    Raises:
        FileNotFoundError: There is no such file, and no network of this name.
        ValueError: The file is damaged, requires running code, would take far
            more time or memory than its size justifies, or is no checkpoint.
    """
    file = local_checkpoint(path)
    if file.endswith('.safetensors'):
        return dict(
            state_dict=weights.read_state_dict(file, map_location), meta={})
    checkpoint = _load_plain_values(path, file, map_location)
    fault = _find_fault(checkpoint)
    if fault:
        raise ValueError(
            f"checkpoint {path} must be a dict with the network's tensors by "
            f'name, in it or in its state_dict, found {fault}; give a file '
            'that tools/train.py wrote')
    if 'state_dict' not in checkpoint:  # EMAHook needs it, as do others
        return dict(state_dict=checkpoint, meta={})
    _drop_what_could_act(checkpoint)
    return checkpoint


def _load_plain_values(path: str, file: str, map_location: Any) -> Any:
    allow_mmengine_checkpoints()
    try:
        scan_checkpoint(file)
        return torch.load(file, map_location=map_location, weights_only=True)
    except ScanError as error:
        raise ValueError(
            f'checkpoint {path} must hold tensors and plain values only, '
            f'found: {error}. Loading it could run code or fill the memory; '
            'save its state_dict again, alone, where it comes from') from error
    except pickle.UnpicklingError as error:
        if 'GLOBAL' not in str(error):
            raise ValueError(
                f'checkpoint {path} must be a file written by torch.save, '
                'found something else; copy it again') from error
        raise ValueError(
            f'checkpoint {path} must hold tensors and plain values only, '
            f'found: {_first_line(error, "GLOBAL")} Loading it could run '
            'code; save its state_dict again, alone, where it comes from'
        ) from error
    except Exception as error:  # other contents may raise anything
        raise ValueError(
            f'checkpoint {path} must be a whole file written by torch.save, '
            f'found: {_first_line(error)}; copy it again') from error


def _find_fault(checkpoint: Any) -> str:
    """Return what is wrong with a checkpoint, '' if nothing is."""
    if not isinstance(checkpoint, dict):
        return f'a {type(checkpoint).__name__}'
    tensors = checkpoint.get('state_dict', checkpoint)
    if not isinstance(tensors, dict):
        return f'a {type(tensors).__name__} as its state_dict'
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            return f'a {type(value).__name__} as {name!r}'
    for name in ('meta', 'message_hub', 'optimizer', 'ema_state_dict'):
        value = checkpoint.get(name, {})
        if 'state_dict' in checkpoint and not isinstance(value, dict):
            return f'a {type(value).__name__} as its {name}'
    return ''


def _drop_what_could_act(checkpoint: Dict[str, Any]) -> None:
    """Remove a checkpoint's configs, which mmengine would run as Python, and
    restrict the files that it names, which mmengine would remove, to its own
    folder."""
    checkpoint.get('meta', {}).pop('config', None)
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    if not isinstance(info, dict):
        checkpoint['message_hub']['runtime_info'] = {}
        return
    info.pop('cfg', None)
    for key in list(info):
        if str(key).startswith(('best_ckpt', 'last_ckpt')):
            info[key] = osp.basename(str(info[key]))
    if 'keep_ckpt_ids' in info:
        info['keep_ckpt_ids'] = [
            step for step in info['keep_ckpt_ids'] if type(step) is int
        ]


def _mmengine_loader(scheme: str) -> Callable:
    """Return a loader for one of mmengine's address schemes."""

    def load_from_file(filename: str,
                       map_location: Any = None,
                       **_: Any) -> Dict[str, Any]:
        checkpoint = load_checkpoint_file(filename, map_location)
        if scheme == 'mmcls://':
            checkpoint = _process_mmcls_checkpoint(checkpoint)
        return checkpoint

    return load_from_file


def register_checkpoint_loaders() -> None:
    """Make mmengine load checkpoints from every scheme that it knows by
    :func:`load_checkpoint_file`. This holds for runners, ``load_checkpoint``,
    ``init_cfg`` and, if a config imports ``dksan_mm.engine``, MMagic's own
    tools."""
    for scheme in list(CheckpointLoader._schemes):
        CheckpointLoader.register_scheme(
            scheme, _mmengine_loader(scheme), force=True)


def _first_line(error: Exception, word: str = '') -> str:
    """Return the first line of an error's message that contains a word, else
    the first line, else the error's type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if word in line), lines[0]).strip()
