"""The DKSAN restorer."""
from collections import Counter
from typing import Any, Dict, Iterable, List, Mapping, Optional

import torch
import torch.nn.functional as F
from mmagic.models import BaseEditModel
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.runner.checkpoint import get_state_dict
from torch import Tensor, nn

from dksan_mm.utils.faults import CheckpointMismatchError


@MODELS.register_module()
class DKSAN(BaseEditModel):
    """DKSAN for video super-resolution: the window's middle frame restored.

    Inputs are windows of LR frames, (N, T, 3, H, W); outputs (N, 3,
    scale * H, scale * W). As in MMagic's video restorers, the data
    preprocessor scales 8-bit values to [0, 1] for the network, and predictions
    are returned in [0, 255].

    It refuses a checkpoint that does not fit, where mmengine alone would log
    the differences and go on with random weights.

    Args:
        generator (dict): Config of the network, usually a :class:`DKSANNet`.
        pixel_loss (dict): Config of the loss.
        level_loss_weight (float): Weight of the same loss on the images of all
            levels but the last, averaged over these levels. They are compared
            with the reduced HR frame (bicubic, antialiased). Not in the paper;
            for generators that return these images, such as :class:`DKSANNet`.
            Default: 0.
        perceptual_loss (dict, optional): Config of a loss on features of the
            restored and the HR frame, such as :class:`VGGPerceptualLoss`; for
            training alone. Not in the paper. Default: None.
        strict_checkpoint (bool): Whether a checkpoint must hold exactly the
            model's tensors. False starts from whatever fits.
            Default: True.
        **kwargs: ``train_cfg``, ``test_cfg``, ``init_cfg`` and
            ``data_preprocessor`` of :class:`BaseEditModel`.

    Raises:
        CheckpointMismatchError: While loading: the checkpoint belongs to
            another variant.
    """

    def __init__(self,
                 generator: dict,
                 pixel_loss: dict,
                 level_loss_weight: float = 0.,
                 perceptual_loss: Optional[dict] = None,
                 strict_checkpoint: bool = True,
                 **kwargs) -> None:
        super().__init__(generator=generator, pixel_loss=pixel_loss, **kwargs)
        if level_loss_weight < 0:
            raise ValueError('level_loss_weight must be at least 0, got '
                             f'{level_loss_weight}')
        self.level_loss_weight = level_loss_weight
        self.perceptual_loss = (
            MODELS.build(perceptual_loss) if perceptual_loss else None)
        if strict_checkpoint:
            self.register_load_state_dict_pre_hook(refuse_other_variants)

    def forward_tensor(self,
                       inputs: Tensor,
                       data_samples: Optional[DataSample] = None,
                       **kwargs: Any) -> Tensor:
        """Return restored frames.

        Args:
            inputs (Tensor): Windows, (N, T, 3, H, W), in [0, 1]; or a clip,
                (1, 1, T, 3, H, W), as :class:`dksan_mm.datasets.PackClip`
                gives it to MMagic's inferencer.
            data_samples (DataSample): Not used.

        Returns:
            Tensor: (N, 3, scale * H, scale * W); for a clip all frames, (1, T,
                3, scale * H, scale * W).
        """
        if inputs.dim() == 6:
            return restore_clip(self.generator, inputs)
        return super().forward_tensor(inputs, data_samples, **kwargs)

    def forward_train(self,
                      inputs: Tensor,
                      data_samples: Optional[DataSample] = None,
                      **kwargs: Any) -> Dict[str, Tensor]:
        """Return the losses.

        Args:
            inputs (Tensor): Windows, (N, T, 3, H, W), in [0, 1].
            data_samples (DataSample): Stacked; ``gt_img`` holds the HR
                frames, (N, 3, scale * H, scale * W), in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss``; or ``loss_pixel`` and those of
            ``loss_levels`` and ``loss_perceptual`` that the config asks for.
            Their sum is minimised.
        """
        if not self.level_loss_weight and self.perceptual_loss is None:
            return super().forward_train(inputs, data_samples, **kwargs)
        hr = data_samples.gt_img
        levels: List[Tensor] = []
        if self.level_loss_weight:
            *levels, restored = self.generator(inputs, return_levels=True)
        else:
            restored = self.generator(inputs)
        losses = dict(loss_pixel=self.pixel_loss(restored, hr))
        if self.level_loss_weight:
            of_levels = [
                self.pixel_loss(image, reduce_to(hr, image))
                for image in levels
            ]
            losses['loss_levels'] = self.level_loss_weight * sum(
                of_levels, hr.new_zeros(())) / max(len(of_levels), 1)
        if self.perceptual_loss is not None:
            losses['loss_perceptual'], _ = self.perceptual_loss(restored, hr)
        return losses


def restore_clip(network: nn.Module, clip: Tensor) -> Tensor:
    """Return all frames of a clip, restored window by window; windows are
    mirrored at its ends.

    Args:
        network (nn.Module): Maps a window of ``num_frames`` frames, (1, T', 3,
            H, W), to its middle frame, (1, 3, scale * H, scale * W).
        clip (Tensor): (1, 1, T, 3, H, W), T at least 1.

    Returns:
        Tensor: (1, T, 3, scale * H, scale * W).

    Raises:
        ValueError: There are several clips.
    """
    if clip.shape[:2] != (1, 1):
        raise ValueError('a clip must have shape (1, 1, T, C, H, W), got '
                         f'{tuple(clip.shape)}; restore clips one by one')
    clip = clip[0, 0]
    reach, last = network.num_frames // 2, len(clip) - 1
    restored = []
    for centre in range(len(clip)):
        around = torch.arange(centre - reach, centre + reach + 1)
        around %= max(2 * last, 1)
        window = clip[torch.minimum(around, 2 * last - around)]
        restored.append(network(window[None]))
    return torch.cat(restored)[None]


def reduce_to(hr: Tensor, image: Tensor) -> Tensor:
    """Return an image, (N, C, H, W), reduced bicubically to the size of
    another one, antialiased as in MATLAB."""
    return F.interpolate(
        hr,
        size=image.shape[-2:],
        mode='bicubic',
        align_corners=False,
        antialias=True)


def refuse_other_variants(module: nn.Module, state_dict: Mapping[str, Any],
                          prefix: str, *_: Any) -> None:
    """Check that ``state_dict`` has exactly the module's tensors; the step
    counter of MMagic's restorers may be missing. A pre-hook for
    ``load_state_dict`` of a restorer.

    Raises:
        CheckpointMismatchError: Tensors are missing, too many, or of another
            shape.
    """
    found = {
        key[len(prefix):]: tuple(value.shape)
        for key, value in state_dict.items() if key.startswith(prefix)
    }
    expected = {  # by names without those of DistributedDataParallel
        key: tuple(value.shape)
        for key, value in get_state_dict(module).items()
    }
    for shapes in (found, expected):
        shapes.pop('step_counter', None)
    faults: List[str] = []
    for what, keys in (('it lacks', expected.keys() - found.keys()),
                       ('it has, and the model lacks,',
                        found.keys() - expected.keys())):
        if keys:
            faults.append(f'{what} {_summary(keys)}')
    unlike = [
        f'{key}: {found[key]} instead of {expected[key]}' for key in expected
        if key in found and found[key] != expected[key]
    ]
    if unlike:
        faults.append(f'{len(unlike)} tensors differ in shape, such as '
                      f'{unlike[0]}')
    if faults:
        raise CheckpointMismatchError(
            'the checkpoint must fit the model that the config describes, '
            f'but {"; ".join(faults)}. It was trained with another config '
            '(another variant, width or number of frames): use that config, '
            'or set model.strict_checkpoint=False to start from the tensors '
            'that fit')


def _summary(keys: Iterable[str]) -> str:
    """Return the modules that keys belong to, each with its number of keys."""
    modules: Counter = Counter(_module(key) for key in keys)
    text = [f'{name} ({count} tensors)' for name, count in modules.items()]
    return ', '.join(sorted(text)[:6]) + (', ...' if len(text) > 6 else '')


def _module(key: str) -> str:
    """Return the part of the network that a key belongs to."""
    parts = key.split('.')
    for name in ('attention', 'dksa', 'align'):
        if name in parts:
            return f'{parts[0]}.(...).{name}'
    return '.'.join(parts[:2])
