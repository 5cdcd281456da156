"""Upsampling to larger scales than MMagic's x4, shared by the baselines.
"""
from mmagic.models.archs import PixelShufflePack
from torch import Tensor, nn

from dksan_mm.models.blocks import add
from dksan_mm.models.strips import in_strips

SCALES = (4, 8, 16)
# rows that the layers after a PixelShuffle see on either side: two for the two
# 3x3 convolutions at the end; before that, at half the size, one for the stage
# itself and one for the layers after it
_HALO = 2


class ExtremeUpsampling:
    """Upsampling of MMagic's EDVR and BasicVSR++ networks, x4, x8 or x16.

    A mix-in for networks that enlarge by ``upsample1`` (C to C channels),
    ``upsample2`` (C to 64), ``conv_hr`` and ``conv_last``. Each doubling
    beyond x4 adds a stage, convolution and PixelShuffle(2), after
    ``upsample2``, so that all other tensors keep MMagic's names and shapes.
    """

    upsample1: nn.Module
    lrelu: nn.Module

    def extend_upsampling(self, mid_channels: int, out_channels: int,
                          hr_channels: int, scale: int) -> None:
        """Build the layers after ``upsample1``.

        Args:
            mid_channels (int): Channels C of the features.
            out_channels (int): Channels of the image.
            hr_channels (int): Channels after ``upsample2``, 64 in MMagic.
            scale (int): 4, 8 or 16.

        Raises:
            ValueError: ``scale`` has another value.
        """
        if scale not in SCALES:
            raise ValueError(f'scale must be one of {SCALES}, got {scale}')
        self.scale = scale
        self.upsample2 = PixelShufflePack(
            mid_channels, hr_channels, 2, upsample_kernel=3)
        self.upsample_more = nn.ModuleList(
            PixelShufflePack(hr_channels, hr_channels, 2, upsample_kernel=3)
            for _ in SCALES[1:SCALES.index(scale) + 1])
        self.conv_hr = nn.Conv2d(hr_channels, hr_channels, 3, padding=1)
        self.conv_last = nn.Conv2d(hr_channels, out_channels, 3, padding=1)
        self.img_upsample = nn.Upsample(
            scale_factor=scale, mode='bilinear', align_corners=False)

    def enlarge(self, features: Tensor, image: Tensor) -> Tensor:
        """Return the enlarged image plus the residual from features.

        Args:
            features (Tensor): (N, C, H, W).
            image (Tensor): LR image, (N, C_out, H, W).

        Returns:
            Tensor: (N, C_out, scale * H, scale * W).
        """
        residual = in_strips(
            lambda strip: self._residual(
                strip.read(features), strip.above, strip.below), features,
            _HALO, self.scale)
        # over the enlarged image: under autocast the residual is short
        return add(residual, self.img_upsample(image))

    def _residual(self, x: Tensor, above: int = 0, below: int = 0) -> Tensor:
        """Return the residual of rows of features.

        Args:
            x (Tensor): (N, C, H, W).
            above (int): ``_HALO`` if the image continues above the rows, whose
                first ``_HALO`` only serve as context; else 0.
            below (int): Likewise below the rows.

        Returns:
            Tensor: (N, C_out, scale * (H - above - below), scale * W).
        """
        # each stage doubles the halo and spoils half of it
        for stage in (self.upsample1, self.upsample2, *self.upsample_more):
            x = _trim(self.lrelu(stage(x)), above, below)
        x = _trim(self.lrelu(self.conv_hr(x)), above // 2, below // 2)
        return _trim(self.conv_last(x), above // 2, below // 2)


def _trim(x: Tensor, above: int, below: int) -> Tensor:
    """Return (N, C, H, W) without its first and last rows."""
    return x[..., above:x.shape[-2] - below, :]


def check_window(x: Tensor, channels: int, frames: int) -> None:
    """Check that ``x`` is a window of frames.

    Args:
        x (Tensor): (N, T, channels, H, W), T odd and at least ``frames``, H
            and W at least 1.
        channels (int): Channels of a frame.
        frames (int): Minimum number of frames.

    Raises:
        ValueError: ``x`` has another shape.
    """
    if (x.dim() != 5 or x.shape[2] != channels or x.shape[1] < frames
            or x.shape[1] % 2 == 0 or 0 in x.shape[3:]):
        raise ValueError(
            'x must have shape (N, T, C, H, W) with an odd T of at least '
            f'{frames} frames, C = {channels} and H, W of at least 1, got '
            f'{tuple(x.shape)}')


def middle_frames(x: Tensor, frames: int) -> Tensor:
    """Return the middle frames of a window.

    Args:
        x (Tensor): (N, T, C, H, W), T odd.
        frames (int): Number of frames to return, odd, at most T.

    Returns:
        Tensor: (N, frames, C, H, W), a view.
    """
    return x.narrow(1, (x.shape[1] - frames) // 2, frames)
