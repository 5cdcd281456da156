"""The parts of a level of DKSAN: reconstruction and upscale module."""
from typing import Optional

import torch
import torch.nn.functional as F
from mmagic.models.archs import PixelShufflePack
from mmagic.models.utils import make_layer
from torch import Tensor, nn

from .blocks import RCAB, add, leaky_relu, recomputed
from .strips import Strip, in_strips


class Reconstruction(nn.Module):
    """Reconstruction of one level, Fig. 3a: ``x + DKSA(RCABs(x))``, eq. 12.

    Args:
        mid_channels (int): Channels C.
        num_blocks (int): RCABs.
        dksa (nn.Module, optional): The level's spatial attention. Default:
            None, no attention.
        with_cp (bool): Whether to recompute each block in the backward pass
            instead of keeping its intermediate values. Default: False.
        **rcab_cfg: Further arguments of :class:`RCAB`.
    """

    def __init__(self,
                 mid_channels: int,
                 num_blocks: int,
                 dksa: Optional[nn.Module] = None,
                 with_cp: bool = False,
                 **rcab_cfg) -> None:
        super().__init__()
        self.rcabs = make_layer(
            RCAB, num_blocks, mid_channels=mid_channels, **rcab_cfg)
        self.dksa = dksa
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        if self.with_cp:
            out = x
            for block in (*self.rcabs, *filter(None, [self.dksa])):
                out = recomputed(block, out)
            return add(x, out)
        out = self.rcabs(x)
        if self.dksa is not None:
            out = self.dksa(out)
        return add(x, out)


class Upscale(nn.Module):
    """Upscale module of one level, Fig. 4: conv, PixelShuffle(2), LReLU,
    conv to RGB.

    The last convolution starts at zero, so that an untrained network is a
    bicubic cascade (the paper does not give initial weights).

    Args:
        mid_channels (int): Channels C.
        out_channels (int): Channels of the image. Default: 3.
    """

    def __init__(self, mid_channels: int, out_channels: int = 3) -> None:
        super().__init__()
        self.upsample = PixelShufflePack(
            mid_channels, mid_channels, 2, upsample_kernel=3)
        self.lrelu = leaky_relu()
        self.conv_last = nn.Conv2d(mid_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_last.weight)
        nn.init.zeros_(self.conv_last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, 2H, 2W).

        The pixel shuffle is moved to the end, after the activation and the
        last convolution, which then work on 4C channels at the small size: the
        result is the same.
        """
        weight = before_pixel_shuffle(self.conv_last.weight)

        def compute(strip: Strip) -> Tensor:
            rows = self.lrelu(self.upsample.upsample_conv(strip.read(x)))
            return strip.trim(F.conv2d(rows, weight, padding=1))

        image = F.pixel_shuffle(in_strips(compute, x, halo=2), 2)
        # sums of images are in float32 at least
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        return image + self.conv_last.bias.view(-1, 1, 1)


def before_pixel_shuffle(weight: Tensor) -> Tensor:
    """Return the kernel that has, before a pixel shuffle by two, the effect of
    a 3x3 kernel after it.

    An output pixel depends on 3x3 pixels. Wherever it lies in its 2x2 block,
    these come from 3x3 pixels before the shuffle.

    Args:
        weight (Tensor): (C_out, C, 3, 3).

    Returns:
        Tensor: (4 * C_out, 4 * C, 3, 3), of which a quarter is not zero.
    """
    placed = [
        F.pad(weight, (1 + j, 2 - j, 1 + i, 2 - i)) for i in range(2)
        for j in range(2)
    ]
    weight = F.pixel_unshuffle(torch.stack(placed, 1), 2).flatten(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)
