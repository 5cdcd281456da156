"""Models ready to restore with."""
from typing import Optional, Union

import torch
from mmagic.models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from dksan_mm._benchmark import pick_device
from dksan_mm.engine import check_checkpoint
from dksan_mm.engine.checkpoint import CheckpointMismatchError


def load_model(config: Union[str, Config],
               checkpoint: Optional[str] = None,
               device: Union[str, torch.device, None] = None) -> BaseEditModel:
    """Return the restorer of a config with a checkpoint's weights.

    Like MMagic's ``init_model``, but a checkpoint is read without running
    code that it may carry, and must fit.

    Args:
        config (str or Config): A config, such as those in ``configs/``.
        checkpoint (str, optional): Its checkpoint; None or ``'none'`` for a
            model without parameters, such as bicubic interpolation.
        device (str or torch.device, optional): Default: a GPU if there is
            one.

    Returns:
        BaseEditModel: In evaluation mode; ``cfg`` is the config.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointMismatchError: The checkpoint is another variant's.
        ValueError: The checkpoint is damaged, or missing and needed.
    """
    if isinstance(config, str):
        config = Config.fromfile(config)
    if checkpoint == 'none':
        checkpoint = None
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    init_default_scope(config.get('default_scope', 'mmagic'))
    model = MODELS.build(config.model)
    if checkpoint is not None:
        try:
            load_checkpoint(model, checkpoint, 'cpu', strict=True)
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(f'{checkpoint}: {error}') from None
        except RuntimeError as error:  # of models that say it like this
            raise CheckpointMismatchError(
                f'{checkpoint}: the checkpoint must fit the model that the '
                f'config describes, found: {error}') from error
    elif any(True for _ in model.parameters()):
        raise ValueError(
            f'checkpoint must be given: the model of {config.filename} has '
            'parameters, and untrained ones are not worth restoring with')
    model.cfg = config
    if not isinstance(device, torch.device):
        device = pick_device(device)
    return model.to(device).eval()
