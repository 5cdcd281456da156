"""Alignment by deformable kernels, Fig. 2 of the paper."""
import torch
from mmagic.models.editors.edvr.edvr_net import ModulatedDCNPack
from mmcv.ops import modulated_deform_conv2d
from torch import Tensor, nn

from .blocks import DKCBlock, leaky_relu


class GuidedDeformConv(ModulatedDCNPack):
    """EDVR's modulated deformable convolution, offsets and masks predicted
    from a guide, made safe for channels-last data and for autocast.

    mmcv's CPU kernel (2.1.0) reads its inputs as if they were contiguous and
    is silently wrong otherwise; and it has no bfloat16, while positions in
    float16 are too coarse. So it is given contiguous data, under autocast in
    float32.
    """

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Return the convolution of ``x``, in its dtype.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor): What offsets and masks are predicted from,
                (N, C, H, W).

        Returns:
            Tensor: (N, C_out, H, W).
        """
        offset_y, offset_x, mask = self.conv_offset(guide).chunk(3, 1)
        offset = torch.cat((offset_y, offset_x), 1)
        inputs = x, offset, torch.sigmoid(mask)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            inputs = (tensor.float() for tensor in inputs)
        inputs = [
            tensor.contiguous(memory_format=torch.contiguous_format)
            for tensor in inputs
        ]
        with torch.autocast(device, enabled=False):
            out = modulated_deform_conv2d(*inputs, self.weight, self.bias,
                                          self.stride, self.padding,
                                          self.dilation, self.groups,
                                          self.deform_groups)
        return out.to(x.dtype)


class DKCAlign(nn.Module):
    """DKC_Align: align a neighbour's features with the reference frame's
    (eqs. 3 and 9 to 11).

    The two are fused by a 1x1 convolution; deformable-kernel layers and a
    3x3 convolution turn that into offsets and masks of one modulated
    deformable convolution, mmcv's, of the neighbour's features. Offsets start
    at zero and masks at a half.

    Args:
        mid_channels (int): Channels C; ``deform_groups`` divides them.
        num_layers (int): Deformable-kernel layers. Default: 6.
        deform_groups (int): Groups of the modulated deformable convolution.
            Default: 8.
        scope_size (int): Side of the scope kernels. Default: 4.
    """

    def __init__(self,
                 mid_channels: int,
                 num_layers: int = 6,
                 deform_groups: int = 8,
                 scope_size: int = 4) -> None:
        super().__init__()
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * mid_channels, mid_channels, 1), leaky_relu())
        self.dkc_layers = nn.Sequential(*(DKCBlock(mid_channels, scope_size)
                                          for _ in range(num_layers)))
        self.deform_conv = GuidedDeformConv(
            mid_channels,
            mid_channels,
            3,
            padding=1,
            deform_groups=deform_groups)
        self.lrelu = leaky_relu()

    def forward(self, neighbour: Tensor, reference: Tensor) -> Tensor:
        """Return the neighbour's features, aligned.

        Args:
            neighbour (Tensor): Features F_n, (N, C, H, W).
            reference (Tensor): Features F_r, (N, C, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        guide = self.fuse(torch.cat((neighbour, reference), 1))
        guide = self.dkc_layers(guide)
        return self.lrelu(self.deform_conv(neighbour, guide))
