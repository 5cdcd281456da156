"""Spatial attention by deformable kernels, Fig. 3 of the paper."""
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import DKCBlock, addcmul, leaky_relu
from .strips import Strip, in_strips, is_watched


class DKSA(nn.Module):
    """Deformable kernel spatial attention (Fig. 3b), and its light version
    (Fig. 3c).

    All layers work at half the size of ``x``. Deformable-kernel layers look
    for edges and textures; then one convolution gives a mask and, in the full
    version, another one an addend. Both are enlarged to the size of ``x``, and
    the result is ``x * 2 * sigmoid(mask) + addend``. Both convolutions start
    at zero, so that the module starts as the identity.

    The paper's figure was not available, and its text does not give these
    details. They are one reading that fits the printed parameter counts; half
    the size keeps the cost near the paper's (0.92 to 0.97 s/frame).

    Args:
        mid_channels (int): Channels C.
        num_layers (int): Deformable-kernel layers; DKSAN has 3 in the full
            version and 1 in the light one. Default: 3.
        light (bool): Whether to leave out the second convolution and the
            addend. Default: False.
        scope_size (int): Side of the scope kernels. Default: 4.
    """

    def __init__(self,
                 mid_channels: int,
                 num_layers: int = 3,
                 light: bool = False,
                 scope_size: int = 4) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(mid_channels, mid_channels, 3, stride=2, padding=1),
            leaky_relu())
        self.dkc_layers = nn.Sequential(*(DKCBlock(mid_channels, scope_size)
                                          for _ in range(num_layers)))
        self.tail = None
        self.conv_addend = None
        if not light:
            self.tail = nn.Sequential(
                nn.Conv2d(mid_channels, mid_channels, 3, padding=1),
                leaky_relu())
            self.conv_addend = _zero_conv(mid_channels)
        self.conv_mask = _zero_conv(mid_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        attention = self.dkc_layers(self.head(x))
        if self.tail is not None:
            attention = self.tail(attention)
        mask, addend = self.conv_mask(attention), None
        if self.conv_addend is not None:
            addend = self.conv_addend(attention)
        del attention
        # an odd height is not twice the mask's; no level but the first has one
        # (and a compiler is to see no size)
        if is_watched() or x.shape[-2] % 2:
            return _attend(x, mask, addend)

        def compute(strip: Strip) -> Tensor:
            plus = None if addend is None else strip.read(addend)
            part = _attend(strip.read(x, 2), strip.read(mask), plus)
            return strip.trim(part, 2)

        return in_strips(compute, mask, halo=1, scale=2)


def _attend(x: Tensor, mask: Tensor, addend: Optional[Tensor]) -> Tensor:
    """Return ``x``, (N, C, H, W), scaled by a mask, plus an addend unless it
    is None; both have half the size of ``x``."""
    mask = _enlarge(mask, x).sigmoid_()
    if addend is None:
        return x * mask * 2
    addend = _enlarge(addend, x)
    return addcmul(addend, x, mask, out=addend, value=2)


def _enlarge(x: Tensor, to: Tensor) -> Tensor:
    """Return ``x`` at the size of ``to``."""
    return F.interpolate(
        x, size=to.shape[-2:], mode='bilinear', align_corners=False)


def _zero_conv(channels: int) -> nn.Conv2d:
    """Return a 3x3 convolution that starts at zero."""
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv
