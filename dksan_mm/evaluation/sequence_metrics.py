"""PSNR, SSIM and NIQE by sequence; the paper's tables show PSNR so."""
import math
from itertools import product
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np
from mmagic.evaluation import PSNR, SSIM, niqe
from mmagic.registry import METRICS
from torch import Tensor

from dksan_mm.utils.quality import luma, psnr, ssim
from .frame_metric import FrameMetric, channel_order, to_rgb

_COLORS = ('RGB', 'Y')


@METRICS.register_module()
class SequencePSNR(FrameMetric, PSNR):
    """:class:`mmagic.evaluation.PSNR` in dB, by sequence.

    Arguments are the same: RGB without a border crop by default. The average
    is the unweighted mean over sequences.
    """


@METRICS.register_module()
class SequenceSSIM(FrameMetric, SSIM):
    """:class:`mmagic.evaluation.SSIM`, by sequence, like
    :class:`SequencePSNR`."""


@METRICS.register_module()
class SequenceQuality(FrameMetric):
    """PSNR (dB) and SSIM by sequence, in several colour spaces and with
    several border crops, for tests.

    Names are ``PSNR`` and ``SSIM``, followed by ``_Y`` for luma (BT.601, as
    MATLAB's ``rgb2ycbcr``) and by ``_crop16`` for a border. ``PSNR`` and
    ``SSIM`` equal those of :class:`SequencePSNR` and :class:`SequenceSSIM` up
    to rounding in float32; here all is computed in float64. As there, and as
    in MMagic, restored frames are clipped to [0, 255] and not rounded to 8
    bits.

    If a frame is too small for a border (no pixel, or no window of 11x11
    pixels, is left), its value is None, and means leave it out.

    Args:
        crop_borders (Sequence[int]): Pixels to cut off each side, at least 0.
            Default: (0, 16); 16 is a common choice at this scale.
        color_spaces (Sequence[str]): Some of 'RGB' and 'Y'. Default: both.
        **kwargs: ``prefix`` and other arguments of MMagic's sample-wise
        metrics.

    Raises:
        ValueError: An argument has a value that is not allowed.
    """

    metric = 'PSNR'

    def __init__(self,
                 crop_borders: Sequence[int] = (0, 16),
                 color_spaces: Sequence[str] = _COLORS,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        if not crop_borders or any(border < 0 for border in crop_borders):
            raise ValueError('crop_borders must be numbers of at least 0, '
                             f'got {crop_borders}')
        if not color_spaces or set(color_spaces) - set(_COLORS):
            raise ValueError(f'color_spaces must be some of {_COLORS}, '
                             f'got {color_spaces}')
        self.crop_borders = tuple(crop_borders)
        self.color_spaces = tuple(color_spaces)

    def measure(self, gt: Tensor, pred: Tensor,
                sample: Mapping[str, Any]) -> Dict[str, Optional[float]]:
        """Return the frame's numbers by name."""
        images = [image.numpy() for image in (gt, pred)]
        if channel_order(sample) == 'BGR':
            images = [image[::-1] for image in images]
        found = {}
        for color in self.color_spaces:
            pair = images if color == 'RGB' else [luma(i) for i in images]
            found[color] = (psnr(*pair, self.crop_borders),
                            ssim(*pair, self.crop_borders))
        values = {}
        for border, color in product(self.crop_borders, self.color_spaces):
            suffix = '' if color == 'RGB' else f'_{color}'
            suffix += f'_crop{border}' if border else ''
            for name, by_border in zip(('PSNR', 'SSIM'), found[color]):
                values[f'{name}{suffix}'] = by_border[border]
        return values


@METRICS.register_module()
class SequenceNIQE(FrameMetric):
    """NIQE of restored frames by sequence; lower is better.

    Mittal, Soundararajan and Bovik, "Making a Completely Blind Image Quality
    Analyzer", IEEE Signal Processing Letters 2013, by MMagic's function: grey,
    rounded to 8 bits, blocks of 96x96 pixels. It uses no ground truth: it
    measures how natural a frame looks, not how accurate it is.

    The value is None for frames of fewer than two blocks, or with blocks
    without contrast.

    Args:
        **kwargs: ``prefix`` and other arguments of MMagic's sample-wise
        metrics.
    """

    metric = 'NIQE'

    def measure(self, gt: Tensor, pred: Tensor,
                sample: Mapping[str, Any]) -> Dict[str, Optional[float]]:
        """Return the frame's NIQE."""
        height, width = pred.shape[-2:]
        if (height // 96) * (width // 96) < 2:
            return dict(NIQE=None)
        bgr = to_rgb(pred, sample)[..., ::-1]
        try:
            value = float(niqe(bgr, 0, 'HWC', 'gray'))
        except np.linalg.LinAlgError:  # not two blocks with contrast
            value = math.nan
        return dict(NIQE=value if math.isfinite(value) else None)
