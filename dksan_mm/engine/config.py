"""Reads and checks configs; makes errors of their builders readable."""
import difflib
import inspect
import os.path as osp
import re
from contextlib import contextmanager
from numbers import Real
from typing import Any, Iterator, List, Optional, Sequence

import mmagic.registry
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, Registry
from mmengine.runner import Runner

TRAINING = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
TESTING = ('model', 'test_dataloader', 'test_evaluator', 'test_cfg')

_MISSING = object()
# path: (type, its name, minimum)
_WHOLE = (int, 'a whole number')
_VALUES = {
    'train_cfg.max_iters': (*_WHOLE, 1),
    'train_cfg.max_epochs': (*_WHOLE, 1),
    'train_cfg.val_interval': (*_WHOLE, 1),
    'optim_wrapper.accumulative_counts': (*_WHOLE, 1),
    'optim_wrapper.optimizer.lr': (Real, 'a number', 0),
    'train_dataloader.batch_size': (*_WHOLE, 1),
    'train_dataloader.num_workers': (*_WHOLE, 0),
    'val_dataloader.num_workers': (*_WHOLE, 0),
}
# only for constructors, not for calls inside a network. Python names the class
# since 3.10
_UNEXPECTED = re.compile(r"(?:(\w+)\.)?__init__\(\) got an unexpected "
                         r"keyword argument '(\w+)'")
_REQUIRED = re.compile(r'(?:(\w+)\.)?__init__\(\) missing \d+ required .*'
                       r'argument')
_UNKNOWN = re.compile(r'(\S+) is not in the (?:\S+::)?([\w ]+) registry')


class ConfigError(ValueError):
    """A config, or a change to it on the command line, is wrong."""


def read_config(path: str) -> Config:
    """Return the config of a file.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file cannot be read.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'the config {path} does not exist, or is no '
                                'file; give one such as '
                                'configs/dksan_vid3oc_x16.py')
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program
        place = getattr(error, 'lineno', None)
        raise ConfigError(
            f'the config {path} cannot be read{_at(place)}: '
            f'{type(error).__name__}: {_first_line(error)}; mend it, or its '
            '_base_') from error


def _at(line: Optional[int]) -> str:
    return f', line {line}' if line else ''


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else 'no message'


def merge_options(cfg: Config, options: Optional[dict]) -> None:
    """Override settings of a config.

    Args:
        cfg (Config): The config, which is changed.
        options (dict, optional): Names with dots and their values, from
            ``--cfg-options``.

    Raises:
        ConfigError: An option does not fit the config, or its first part looks
            like a misspelt setting.
    """
    known = [*cfg, *inspect.signature(Runner.__init__).parameters]
    for option, value in (options or {}).items():
        name = option.partition('.')[0]
        if name not in known and _hint(name, known):
            raise ConfigError(f'--cfg-options {option}: {cfg.filename} has no '
                              f'{name!r}{_hint(name, known)}')
        try:
            cfg.merge_from_dict({option: value})
        except Exception as error:
            raise ConfigError(
                f'--cfg-options {option} does not fit '
                f'{cfg.filename}: {_first_line(error)}') from error


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f' (did you mean {near[0]!r}?)' if near else ''


def check_config(cfg: Config, needed: Sequence[str]) -> None:
    """Check that a config has the needed keys, and that its numbers are valid.

    Args:
        cfg (Config): The config.
        needed (Sequence[str]): Keys, such as :data:`TRAINING`.

    Raises:
        ConfigError: A key is missing, or a value is not valid.
    """
    for key in needed:
        if cfg.get(key) is None:
            raise ConfigError(f'the config {cfg.filename} must have {key!r}, '
                              f'found none{_hint(key, list(cfg))}')
    if not isinstance(cfg.model, dict):
        raise ConfigError(f"'model' of {cfg.filename} must be a dict with a "
                          f"'type', got {cfg.model!r}")
    for path, (kind, text, least) in _VALUES.items():
        value = _value_at(cfg, path)
        if value is _MISSING:
            continue
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or not value >= least or (kind is Real and value == 0):
            most = 'above 0' if kind is Real else f'of at least {least}'
            raise ConfigError(f'{path} of {cfg.filename} must be {text} '
                              f'{most}, got {value!r}')
    optimizer = _value_at(cfg, 'optim_wrapper.optimizer.type')
    if isinstance(optimizer, str) and OPTIMIZERS.get(optimizer) is None:
        raise ConfigError(
            f'optim_wrapper.optimizer.type of {cfg.filename} must be an '
            f'optimizer, got {optimizer!r}'
            f'{_hint(optimizer, list(OPTIMIZERS.module_dict))}')


def _value_at(cfg: Any, path: str) -> Any:
    for name in path.split('.'):
        if not hasattr(cfg, 'get') or name not in cfg:
            return _MISSING
        cfg = cfg[name]
    return _MISSING if cfg is None else cfg


@contextmanager
def naming_config(cfg: Config) -> Iterator[None]:
    """Turn an error of a registry or a constructor that builds parts of a
    config into one that names the config, the setting and the nearest known
    name.

    Raises:
        ConfigError: A type or a setting is unknown, or a setting is missing.
    """
    try:
        yield
    except (KeyError, TypeError) as error:
        fault = _find_fault(error)
        if fault is None:
            raise
        raise ConfigError(f'{cfg.filename}: {fault}; correct it there, or in '
                          '--cfg-options') from error


def _find_fault(error: Exception) -> Optional[str]:
    text = str(error.args[0]) if error.args else ''
    match = _UNKNOWN.search(text)
    if match:
        name, kind = match.groups()
        return f'there is no {kind} {name!r}{_hint(name, _registered(kind))}'
    match = _UNEXPECTED.search(text)
    if match:
        name, setting = match.groups()
        return (f'{name or "a class"} has no setting {setting!r}'
                f'{_hint(setting, _settings(error))}')
    match = _REQUIRED.search(text)
    if match:
        what = text[match.end():].lstrip('s:').strip()
        return f'{match[1] or "a class"} needs {what}'
    return None


def _registered(kind: str) -> List[str]:
    """Return the names in MMagic's and mmengine's registries for a kind."""
    names: List[str] = []
    for registry in vars(mmagic.registry).values():
        if isinstance(registry, Registry) and registry.name == kind:
            names += registry.module_dict
            names += registry.parent.module_dict if registry.parent else []
    return names


def _settings(error: Exception) -> List[str]:
    """Return the arguments of the class that was being built."""
    trace, built = error.__traceback__, None
    while trace is not None:
        for local in ('obj_cls', 'scheduler_cls', 'runner_cls'):
            built = trace.tb_frame.f_locals.get(local, built)
        trace = trace.tb_next
    names: List[str] = []
    for part in getattr(built, '__mro__', (built, )):
        try:
            names += inspect.signature(part).parameters
        except (TypeError, ValueError):
            pass  # a built-in class has no signature
    return names
