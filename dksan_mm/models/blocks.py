"""Blocks that several parts of the network share.

Without autograd, sums and products overwrite one of their operands: a new
block of memory costs more than the arithmetic.
"""
from typing import Optional

import torch
import torch.nn.functional as F
from mmagic.models.archs import ResidualBlockNoBN
from mmagic.models.editors.cain.cain_net import ChannelAttentionLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dksan_mm.ops import DeformKernelConv2dPack
from .strips import in_strips, is_watched

# slope of every leaky ReLU in the network
NEGATIVE_SLOPE = 0.1


def leaky_relu() -> nn.LeakyReLU:
    """Return the network's activation, in place."""
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def add(x: Tensor, to: Tensor) -> Tensor:
    """Return ``x + to``. Unless gradients are recorded or the model is
    compiled, this overwrites ``to``, which must not be in use elsewhere."""
    return x + to if is_watched() else to.add_(x)


def addcmul(x: Tensor,
            factor: Tensor,
            by: Tensor,
            out: Tensor,
            value: float = 1.) -> Tensor:
    """Return ``x + value * factor * by``. Unless gradients are recorded or the
    model is compiled, this overwrites ``out``, one of the three tensors, which
    must not be in use elsewhere."""
    if is_watched():
        return torch.addcmul(x, factor, by, value=value)
    return torch.addcmul(x, factor, by, value=value, out=out)


def channel_means(x: Tensor) -> Tensor:
    """Return (N, C, 1, 1), the means over the pixels of (N, C, H, W)."""
    if is_watched() or x.device.type != 'cpu' or x.dtype in (torch.float32,
                                                             torch.float64):
        return F.adaptive_avg_pool2d(x, 1)
    # on CPUs, PyTorch's mean of short floats makes a copy in float32, which
    # takes many times as long as the sums (these, too, are in float32)
    rows = F.avg_pool2d(x, (1, x.shape[3]))
    return rows.float().mean((2, 3), keepdim=True).to(x.dtype)


def recomputed(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Return a module's output, but keep only the inputs for the backward
    pass, which recomputes intermediate values to the same bits. If no
    gradients are recorded, this just calls the module."""
    if not torch.is_grad_enabled():
        return module(*inputs)
    # nothing in the network is random
    return checkpoint(
        module, *inputs, use_reentrant=False, preserve_rng_state=False)


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of a
    divisor.

    Args:
        x (Tensor): (N, C, H, W).
        divisor (int): At least 1.

    Returns:
        Tensor: (N, C, H', W'), H' and W' less than ``divisor`` larger.
    """
    height, width = x.shape[2:]
    return F.pad(
        x, (0, -width % divisor, 0, -height % divisor), mode='replicate')


def use_channels_last(net: nn.Module) -> None:
    """Make the weights of all convolutions, and thereby the features,
    channels-last.

    Args:
        net (nn.Module): The network, changed in place.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution as a matrix product over pixels, (C_in -> C_out).

    Channels-last features already are that matrix. On CPUs, PyTorch's 1x1
    convolution would first copy them to NCHW.

    Args:
        in_channels (int): Input channels C_in.
        out_channels (int): Output channels C_out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W), channels-last."""
        rows = F.linear(
            x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return rows.permute(0, 3, 1, 2)


class RCAB(ResidualBlockNoBN):
    """Residual channel attention block of RCAN: conv, ReLU, conv, channel
    attention, skip.

    Without the attention it is MMagic's :class:`ResidualBlockNoBN`, the block
    of the paper's "backbone" and of its feature extraction.

    Args:
        mid_channels (int): Channels C.
        with_channel_attention (bool): Whether to use the attention. Default:
            True.
        reduction (int): Reduction r of the attention, at most C.
            Default: 16.
    """

    def __init__(self,
                 mid_channels: int,
                 with_channel_attention: bool = True,
                 reduction: int = 16) -> None:
        super().__init__(mid_channels)
        self.attention: Optional[nn.Module] = None
        if with_channel_attention:
            self.attention = ChannelAttentionLayer(mid_channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        out = in_strips(
            lambda strip: strip.trim(
                self.conv2(self.relu(self.conv1(strip.read(x))))),
            x,
            halo=2)
        if self.attention is None:
            return add(x, out)
        # ChannelAttentionLayer.forward, fused with the skip
        scale = self.attention.channel_attention(channel_means(out))
        return addcmul(x, out, scale, out=out)


class DKCBlock(nn.Module):
    """Deformable-kernel convolution with activation and skip:
    ``x + LReLU(DKC(x))``, D of eq. 11.

    Args:
        mid_channels (int): Channels C.
        scope_size (int): Side of the scope kernel. Default: 4.
    """

    def __init__(self, mid_channels: int, scope_size: int = 4) -> None:
        super().__init__()
        self.dkc = DeformKernelConv2dPack(
            mid_channels,
            mid_channels,
            kernel_size=3,
            padding=1,
            scope_size=scope_size,
            negative_slope=NEGATIVE_SLOPE)
        self.lrelu = leaky_relu()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        return add(x, self.lrelu(self.dkc(x)))
