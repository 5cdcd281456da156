"""The DKSAN restorer trained with a discriminator."""
from typing import Any, Mapping

import torch
from mmagic.models.editors.srgan import SRGAN
from mmagic.registry import MODELS

from .dksan import refuse_other_variants


@MODELS.register_module()
class DKSANGAN(SRGAN):
    """DKSAN trained for looks: MMagic's :class:`SRGAN` with a video network
    as generator, from a checkpoint of :class:`DKSAN`.

    Inputs and outputs are those of :class:`DKSAN`; so is the refusal of
    checkpoints that do not fit. One of :class:`DKSAN` fits: it has the
    generator, and the discriminator begins at random. The discriminator is
    for training alone; tests and restoration use the generator.

    Args:
        strict_checkpoint (bool): As of :class:`DKSAN`. Default: True.
        **kwargs: Those of :class:`SRGAN`: ``generator``, ``discriminator``,
            ``gan_loss``, ``pixel_loss``, ``perceptual_loss``, ``train_cfg``,
            ``data_preprocessor``, ...

    Raises:
        CheckpointMismatchError: On loading, if it is another variant's.
    """

    def __init__(self, strict_checkpoint: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # in checkpoints, as train_cfg's disc_steps and disc_init_steps count
        # by it: a resumed training goes on as it would have
        self.register_buffer('step_counter', torch.tensor(0))
        if strict_checkpoint:
            self.register_load_state_dict_pre_hook(_refuse_other_variants)


def _refuse_other_variants(module: DKSANGAN, state_dict: Mapping[str, Any],
                           prefix: str, *args: Any) -> None:
    """Ask for the generator alone, where there is no more."""
    start = f'{prefix}generator.'
    if all(
            key.startswith(start) or key == f'{prefix}step_counter'
            for key in state_dict):
        module, prefix = module.generator, start
    refuse_other_variants(module, state_dict, prefix, *args)
