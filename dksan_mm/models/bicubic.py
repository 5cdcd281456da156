"""Bicubic interpolation as a restorer: the tables' baseline."""
from typing import Any, Optional

import torch
import torch.nn.functional as F
from mmagic.models import BaseEditModel
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import Tensor, nn

from .dksan import restore_clip


@MODELS.register_module()
class BicubicUpsampler(nn.Module):
    """Enlarge the middle frame like MATLAB's ``imresize(x, scale,
    'bicubic')``: Keys' cubic with a = -0.5, mirrored at the image's borders.

    (:func:`torch.nn.functional.interpolate` by default has a = -0.75.)

    Args:
        scale (int): Factor to enlarge by, at least 1. Default: 16.
    """

    # only the middle frame of a window is needed
    num_frames = 1
    # pixels on either side that the cubic reaches
    _REACH = 2

    def __init__(self, scale: int = 16) -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f'scale must be at least 1, got {scale}')
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, C, H, W), or (N, C, H, W), to (N, C, scale * H,
        scale * W), with values in the input's range and slightly beyond."""
        if x.dim() == 5:
            x = x[:, x.shape[1] // 2]
        height, width = x.shape[-2:]
        x = x.index_select(-2, self._mirrored(height, x.device)).index_select(
            -1, self._mirrored(width, x.device))
        # antialias=True means a = -0.5, and nothing else when enlarging
        x = F.interpolate(
            x,
            scale_factor=self.scale,
            mode='bicubic',
            align_corners=False,
            antialias=True)
        edge = self._REACH * self.scale
        return x[..., edge:-edge, edge:-edge]

    def _mirrored(self, size: int, device: torch.device) -> Tensor:
        """Return indices from -reach to size + reach, mirrored inwards with
        the border pixel repeated."""
        index = torch.arange(
            -self._REACH, size + self._REACH, device=device) % (2 * size)
        return torch.minimum(index, 2 * size - 1 - index)


@MODELS.register_module()
class Bicubic(BaseEditModel):
    """Restorer without parameters, for the bicubic rows of the tables.

    Args:
        scale (int): Factor to enlarge by. Default: 16.
        data_preprocessor (dict, optional): As for :class:`BaseEditModel`.
    """

    def __init__(self,
                 scale: int = 16,
                 data_preprocessor: Optional[dict] = None) -> None:
        super().__init__(
            generator=dict(type='BicubicUpsampler', scale=scale),
            pixel_loss=dict(type='L1Loss'),
            data_preprocessor=data_preprocessor)

    def forward_tensor(self,
                       inputs: Tensor,
                       data_samples: Optional[DataSample] = None,
                       **kwargs: Any) -> Tensor:
        """Return enlarged frames of windows or of a clip, like
        :class:`.dksan.DKSAN`."""
        if inputs.dim() == 6:
            return restore_clip(self.generator, inputs)
        return super().forward_tensor(inputs, data_samples, **kwargs)
