"""Checkpoints: loaded without running code that they may carry.

A checkpoint is a file that torch.save or safetensors wrote, an address of one
(``https://``), or the name of a network that comes with the package
(:mod:`dksan_mm.weights`). mmengine's loading goes through
:func:`load_checkpoint_file` as soon as this module is imported.
"""
import os
import os.path as osp
import pickle
import re
from typing import Any, Callable, Dict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from dksan_mm import weights


class CheckpointMismatchError(ValueError):
    """A checkpoint is not of the model that is to load it."""


def _history_buffer_method(owner: Any, name: str) -> Callable:
    """Stand in for the ``getattr`` of a checkpoint: the four statistics of
    mmengine's HistoryBuffer and nothing else.

    ``getattr`` itself would open the interpreter to whoever wrote the file.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'GLOBAL getattr of {owner!r}, {name!r}, is '
                                 'not allowed.')


def allow_mmengine_checkpoints() -> None:
    """Let torch's weights-only loading read what mmengine saves.

    mmengine keeps the log's history in its checkpoints: HistoryBuffer, of
    numpy arrays, which torch >= 2.6 refuses unless told that they are
    harmless. They are; weights-only loading itself stays on.
    """
    dtypes = [type(np.dtype(name)) for name in ('f8', 'f4', 'i8', 'i4')]
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, *dtypes,
        np.zeros(1).__reduce__()[0],
        np.float64(0).__reduce__()[0],
        (_history_buffer_method, 'builtins.getattr')
    ])


def check_checkpoint(path: str) -> None:
    """Raise unless a checkpoint can be loaded, before anything is built.

    Raises:
        FileNotFoundError: There is no such file, nor a network of the name.
        ValueError: The file is damaged or needs code to be run.
    """
    load_checkpoint_file(path)


def load_checkpoint_file(path: str, map_location: Any = None) -> Dict:
    """Return what a checkpoint holds, without running code.

    Args:
        path (str): A file, an address or a name, see above.
        map_location (optional): As of :func:`torch.load`; None is the CPU.

    Returns:
        dict: ``state_dict`` and what else there is.

    Raises:
        FileNotFoundError: There is no such file, nor a network of the name.
        ValueError: The file is damaged or needs code to be run.
    """
    if weights.is_name(path):
        path = weights.path_of(path)
    elif '://' in path:
        path = _download(path)
    path = osp.expanduser(path)
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'checkpoint {path} does not exist; give the path of a file that '
            'tools/train.py wrote, or the name of a trained network: '
            f'{weights.unknown(path)}')
    if path.endswith('.safetensors'):
        loaded = weights.read_state_dict(path)
        device = map_location or 'cpu'
        return dict(
            state_dict={key: x.to(device)
                        for key, x in loaded.items()},
            meta={})
    return _load_pickled(path, map_location or 'cpu')


def _load_pickled(path: str, map_location: Any) -> Dict:
    """Return what torch.save wrote: tensors and plain values."""
    allow_mmengine_checkpoints()
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
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
    except Exception as error:  # whatever other contents lead to
        raise ValueError(
            f'checkpoint {path} must be a whole file written by torch.save, '
            f'found: {_first_line(error)}; copy it again') from error


def _download(address: str) -> str:
    """Return the file that an address was downloaded to, now or before. A
    hash at the end of its name, ``NAME-0123abcd.pth``, is compared.

    Raises:
        ValueError: The address is of another kind, cannot be reached, or its
            file has another hash.
    """
    if not re.match('https?://', address):
        raise ValueError(
            f'checkpoint {address} must be a file, a name or an address that '
            'begins with https:// or http://; download it, and give the file')
    name = osp.basename(address.partition('?')[0])
    path = osp.join(torch.hub.get_dir(), 'checkpoints', name)
    if osp.isfile(path):
        return path
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    os.makedirs(osp.dirname(path), exist_ok=True)
    try:
        torch.hub.download_url_to_file(address, path,
                                       found and found[1])
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f'checkpoint {address} could not be downloaded: {error}; '
            'download it by other means, and give the file') from error
    return path


def load_from_dksan_mm(filename: str, map_location: Any = None) -> Dict:
    return load_checkpoint_file(filename, map_location)


# all schemes that mmengine knows, local files among them
CheckpointLoader.register_scheme(
    list(CheckpointLoader._schemes), load_from_dksan_mm, force=True)


def _first_line(error: Exception, word: str = '') -> str:
    """Return the first line of an error's message that has the word, else
    its first line, else its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if word in line), lines[0]).strip()
