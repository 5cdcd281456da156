"""Alignment by deformable kernels, Fig. 2 of the paper."""
from typing import Optional

import torch
from mmagic.models.editors.edvr.edvr_net import ModulatedDCNPack
from torch import Tensor, nn

from dksan_mm.ops.modulated_deform_conv import modulated_deform_conv2d
from .blocks import DKCBlock, PointwiseConv2d, leaky_relu
from .optical_flow import warp


class GuidedDeformConv(ModulatedDCNPack):
    """EDVR's modulated deformable convolution, with offsets and masks
    predicted from a guide, for any memory format and under autocast; see
    :func:`.modulated_deform_conv.modulated_deform_conv2d`.
    """

    def forward(self,
                x: Tensor,
                guide: Tensor,
                flow: Optional[Tensor] = None) -> Tensor:
        """Return the convolution of ``x``, in its dtype and memory format.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor): Features that offsets and masks are predicted from,
                (N, C, H, W).
            flow (Tensor, optional): Shifts (x, y) in pixels, (N, 2, H, W), to
                which the offsets are added. Default: None.

        Returns:
            Tensor: (N, C_out, H, W).
        """
        offset, mask = self.conv_offset(guide).tensor_split(
            [2 * self.conv_offset.out_channels // 3], 1)
        if flow is not None:  # in its dtype: bfloat16 would round shifts
            taps = offset.unflatten(1, (-1, 2)) + flow.flip(1)[:, None]
            offset = taps.flatten(1, 2)
        return modulated_deform_conv2d(x, offset, torch.sigmoid(mask),
                                       self.weight, self.bias, self.stride,
                                       self.padding, self.dilation,
                                       self.groups, self.deform_groups)


class DKCAlign(nn.Module):
    """DKC_Align: align a neighbour's features with the reference frame's
    (eqs. 3 and 9 to 11).

    A 1x1 convolution fuses the two; deformable-kernel layers and a 3x3
    convolution predict offsets and masks from that. With these, one modulated
    deformable convolution aligns the neighbour's features. Offsets start at
    zero and masks at a half.

    Args:
        mid_channels (int): Channels C, a multiple of ``deform_groups``.
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
            PointwiseConv2d(2 * mid_channels, mid_channels), leaky_relu())
        self.dkc_layers = nn.Sequential(*(DKCBlock(mid_channels, scope_size)
                                          for _ in range(num_layers)))
        self.deform_conv = GuidedDeformConv(
            mid_channels,
            mid_channels,
            3,
            padding=1,
            deform_groups=deform_groups)
        self.lrelu = leaky_relu()

    def forward(self,
                neighbour: Tensor,
                reference: Tensor,
                flow: Optional[Tensor] = None) -> Tensor:
        """Return the aligned features of the neighbour.

        Args:
            neighbour (Tensor): Features F_n, (N, C, H, W).
            reference (Tensor): Features F_r, (N, C, H, W).
            flow (Tensor, optional): Flow from the reference to the neighbour,
                :func:`.optical_flow.estimate_flow`. Offsets are added to it,
                and predicted from the neighbour's features warped by it, as in
                BasicVSR++ (Chan et al., arXiv 2104.13371). Default: None, as
                in the paper.

        Returns:
            Tensor: (N, C, H, W).
        """
        near = neighbour if flow is None else warp(neighbour, flow)
        guide = self.fuse(torch.cat((near, reference), 1))
        guide = self.dkc_layers(guide)
        return self.lrelu(self.deform_conv(neighbour, guide, flow))
