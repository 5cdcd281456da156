"""Checkpoints: loaded without running code that they may carry."""
import os.path as osp
import pickle
from typing import Any, Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


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
    """Raise unless a local checkpoint can be loaded, before anything is
    built. Addresses with a scheme (``http://``, ...) are left to mmengine.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or needs code to be run.
    """
    if '://' in path:
        return
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'checkpoint {path} does not exist; give the path of a .pth file '
            'that tools/train.py wrote')
    allow_mmengine_checkpoints()
    try:
        torch.load(path, map_location='cpu', weights_only=True)
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


def _first_line(error: Exception, word: str = '') -> str:
    """Return the first line of an error's message that has the word, else
    its first line, else its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if word in line), lines[0]).strip()
