"""The DKSAN restorer trained with a discriminator."""
from typing import Any, Dict, Mapping

import torch
from mmagic.models.editors.srgan import SRGAN
from mmagic.registry import MODELS
from mmengine.model import MMSeparateDistributedDataParallel
from mmengine.model.wrappers import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS

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


@MODEL_WRAPPERS.register_module()  # the runner looks in this one alone
class SeparateDistributedDataParallel(MMSeparateDistributedDataParallel):
    """mmengine's wrapper of each part that learns, for several processes;
    tensors keep their names in checkpoints.

    mmengine takes the wrappers' ``module.`` out of a model's names, but not
    where a hook such as ``EMAHook`` exchanges the weights: those checkpoints
    would fit several processes alone.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in filter(is_model_wrapper, self.module.children()):
            part._register_state_dict_hook(_without_wrapper)
            part._register_load_state_dict_pre_hook(_with_wrapper)


def _without_wrapper(_: Any, state_dict: Dict[str, Any], prefix: str,
                     __: Any) -> None:
    _rename(state_dict, f'{prefix}module.', prefix)


def _with_wrapper(state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state_dict, prefix, f'{prefix}module.')


def _rename(state_dict: Dict[str, Any], old: str, new: str) -> None:
    for key in [key for key in state_dict if key.startswith(old)]:
        state_dict[new + key[len(old):]] = state_dict.pop(key)
