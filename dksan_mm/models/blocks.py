"""Blocks that several parts of the network share."""
from mmagic.models.archs import ResidualBlockNoBN
from mmagic.models.editors.cain.cain_net import ChannelAttentionLayer
from torch import Tensor, nn

from dksan_mm.ops import DeformKernelConv2dPack

# of every leaky ReLU in the network
NEGATIVE_SLOPE = 0.1


def leaky_relu() -> nn.LeakyReLU:
    """Return the network's activation, in place."""
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


class RCAB(ResidualBlockNoBN):
    """Residual channel attention block of RCAN: conv, ReLU, conv, channel
    attention, skip.

    Without the attention it is MMagic's :class:`ResidualBlockNoBN`, the block
    of the paper's "backbone".

    Args:
        mid_channels (int): Channels C.
        with_channel_attention (bool): Default: True.
        reduction (int): Reduction r of the attention, at most C.
            Default: 16.
    """

    def __init__(self,
                 mid_channels: int,
                 with_channel_attention: bool = True,
                 reduction: int = 16) -> None:
        super().__init__(mid_channels)
        self.attention = (
            ChannelAttentionLayer(mid_channels, reduction)
            if with_channel_attention else None)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        if self.attention is None:
            return super().forward(x)
        return x + self.attention(self.conv2(self.relu(self.conv1(x))))


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
        return x + self.lrelu(self.dkc(x))
