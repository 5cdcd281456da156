"""Loads models for restoration."""
import os
import os.path as osp
from typing import Union

import torch
from mmagic.models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from dksan_mm import weights
from dksan_mm.engine import check_checkpoint
from dksan_mm.engine.checkpoint import load_weights
from dksan_mm.engine.config import naming_config
from dksan_mm.engine.config import read_config as read_config_file
from dksan_mm.utils.benchmark import pick_device


def load_model(config: Union[str, os.PathLike, Config],
               checkpoint: Union[str, os.PathLike, None] = None,
               device: Union[str, torch.device, None] = None) -> BaseEditModel:
    """Return a config's model with a checkpoint's weights, or a trained
    network that comes with the package.

    Like MMagic's ``init_model``, but it never runs code that a checkpoint may
    carry, and the checkpoint must fit the model.

    Args:
        config (str, Path or Config): A config, such as those in ``configs/``,
            or the name of a trained network, such as ``'dksan-lite_x4'``
            (:func:`dksan_mm.weights.names`), which needs no checkpoint.
        checkpoint (str or Path, optional): Its checkpoint: a file of
            torch.save or safetensors, or a name as above; None or ``'none'``
            for a model without parameters, such as bicubic interpolation.
        device (str or torch.device, optional): Default: a GPU if there is
            one.

    Returns:
        BaseEditModel: The model in evaluation mode; its ``cfg`` is the config.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointMismatchError: The checkpoint belongs to another variant.
        ValueError: The checkpoint is damaged, or missing and needed; the
            config describes no model.
    """
    if checkpoint is not None:
        checkpoint = os.fspath(checkpoint)
    if not isinstance(config, Config):
        config = os.fspath(config)
        if weights.is_name(config) and checkpoint is None:
            checkpoint = config
        config = read_config(config)
    if checkpoint == 'none':
        checkpoint = None
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    init_default_scope(config.get('default_scope', 'mmagic'))
    with naming_config(config):
        model = MODELS.build(config.model)
    load_weights(model, config.filename, checkpoint)
    model.cfg = config
    if not isinstance(device, torch.device):
        device = pick_device(device)
    return model.to(device).eval()


def read_config(path: str) -> Config:
    """Return the config of a file, or of a network that comes with the
    package.

    Raises:
        FileNotFoundError: There is no such file, and no network of this name.
        ValueError: The config describes no model.
    """
    if weights.is_name(path):
        return Config(weights.config_of(path))
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'config {path} does not exist; give one such as '
            'configs/dksan_vid3oc_x16.py, or the name of a trained network: '
            f'{weights.unknown(path)}')
    config = read_config_file(path)
    if 'model' not in config:
        raise ValueError(f'config {path} must describe a model, found none; '
                         'choose one of those in configs/, not in '
                         'configs/_base_/')
    return config
