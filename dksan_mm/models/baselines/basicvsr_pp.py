"""BasicVSR++ at x16, a recurrent baseline newer than the paper."""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmagic.models.editors.basicvsr_plusplus_net.basicvsr_plusplus_net import (
    BasicVSRPlusPlusNet, SecondOrderDeformableAlignment)
from mmagic.registry import MODELS
from torch import Tensor

from dksan_mm.models.blocks import use_channels_last
from dksan_mm.ops.modulated_deform_conv import modulated_deform_conv2d
from .upsampling import ExtremeUpsampling, check_window, middle_frames

# fixed by MMagic's network
DEFORM_GROUPS = 16
# smallest side of images for which MMagic's SPyNet finds the flow
MIN_FLOW_SIDE = 64


class FlowGuidedDeformConv(SecondOrderDeformableAlignment):
    """BasicVSR++'s second-order alignment, for any memory format and under
    autocast; see
    :func:`.modulated_deform_conv.modulated_deform_conv2d`.
    """

    def forward(self, x: Tensor, guide: Tensor, flow_1: Tensor,
                flow_2: Tensor) -> Tensor:
        """Align two states with the current frame.

        Args:
            x (Tensor): The states one and two frames before, (N, 2C, H, W).
            guide (Tensor): The two warped states with the frame's features
                between them, (N, 3C, H, W).
            flow_1 (Tensor): Flow to one frame before, (N, 2, H, W), (x, y)
                in pixels.
            flow_2 (Tensor): Flow to two frames before, (N, 2, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        out = self.conv_offset(torch.cat((guide, flow_1, flow_2), 1))
        offset, mask = out.tensor_split([2 * out.shape[1] // 3], 1)
        # (dx, dy) to (dy, dx); half the groups belong to each state
        taps = offset.shape[1] // 4
        flow = torch.cat(
            [flow.flip(1).repeat(1, taps, 1, 1) for flow in (flow_1, flow_2)],
            1)
        offset = self.max_residue_magnitude * torch.tanh(offset) + flow
        return modulated_deform_conv2d(x, offset, torch.sigmoid(mask),
                                       self.weight, self.bias, self.stride,
                                       self.padding, self.dilation,
                                       self.groups, self.deform_groups)


@MODELS.register_module()
class ExtremeBasicVSRPlusPlusNet(ExtremeUpsampling, BasicVSRPlusPlusNet):
    """BasicVSR++ for x4, x8 and x16: the window's middle frame restored.

    Paper: Chan, Zhou, Xu and Loy, "BasicVSR++: Improving Video
    Super-Resolution with Enhanced Propagation and Alignment", CVPR 2022. The
    DKSAN paper is older and does not compare with it. Layers and their names
    are those of MMagic's :class:`BasicVSRPlusPlusNet`. What differs:

    - the scale, by further PixelShuffle stages of 64 channels;
    - it reads DKSAN's windows (the middle of longer ones) and enlarges only
    the middle frame; enlarging all would be most of the work at x16. As a
    recurrent network it would learn more from a whole video at once, which
    MMagic's version takes;
    - LR frames may be smaller than 64 pixels: SPyNet sees them enlarged;
    - weights are channels-last, the faster layout, and the deformable
    convolutions support that and autocast.

    With the defaults it has 7,618,351 parameters (MMagic's at x4: 7,322,927),
    of which 1,440,300 are SPyNet's.

    Args:
        mid_channels (int): Channels C, a multiple of 8. Default: 64.
        num_blocks (int): Residual blocks of each of the four branches.
            Default: 7.
        num_frames (int): Number T of frames used, odd, at least 3; the middle
            one is restored. Weights do not depend on T. Default: 7.
        max_residue_magnitude (float): Largest difference between an offset and
            the flow, in pixels. Default: 10.
        spynet_pretrained (str, optional): File of SPyNet's weights, for
            example MMagic's. Default: None, random weights, from which the
            flow is learnt.
        scale (int): 4, 8 or 16. Default: 16.

    Raises:
        ValueError: An argument breaks the rules above.
    """

    def __init__(self,
                 mid_channels: int = 64,
                 num_blocks: int = 7,
                 num_frames: int = 7,
                 max_residue_magnitude: float = 10,
                 spynet_pretrained: Optional[str] = None,
                 scale: int = 16) -> None:
        if 2 * mid_channels % DEFORM_GROUPS:
            raise ValueError('mid_channels must be a multiple of '
                             f'{DEFORM_GROUPS // 2}, got {mid_channels}')
        if num_frames < 3 or num_frames % 2 == 0:
            raise ValueError('num_frames must be odd and at least 3, got '
                             f'{num_frames}')
        super().__init__(
            mid_channels=mid_channels,
            num_blocks=num_blocks,
            spynet_pretrained=spynet_pretrained)
        self.num_frames = num_frames
        self.extend_upsampling(mid_channels, 3, 64, scale)
        for branch in self.deform_align:
            self.deform_align[branch] = FlowGuidedDeformConv(
                2 * mid_channels,
                mid_channels,
                3,
                padding=1,
                deform_groups=DEFORM_GROUPS,
                max_residue_magnitude=max_residue_magnitude)
        use_channels_last(self)
        # read by MMagic's methods: an odd window is never its own mirror
        # image, and any memory is enough for it
        self.is_mirror_extended = False
        self.cpu_cache = False

    def forward(self, x: Tensor) -> Tensor:
        """Restore the middle frame.

        Args:
            x (Tensor): Window of LR frames, (N, T, 3, H, W), RGB in [0, 1], T
                odd and at least ``num_frames``, H and W at least 1.

        Returns:
            Tensor: The restored frame, (N, 3, scale * H, scale * W), not
            clipped to [0, 1].

        Raises:
            ValueError: ``x`` has another shape.
        """
        check_window(x, 3, self.num_frames)
        x = middle_frames(x, self.num_frames)
        middle = self.num_frames // 2
        spatial = self.feat_extract(x.flatten(0, 1))
        spatial = spatial.unflatten(0, (-1, self.num_frames))
        feats = {'spatial': list(spatial.unbind(1))}
        forward, backward = self.compute_flow(x)
        branches = dict(
            backward_1=backward,
            forward_1=forward,
            backward_2=backward,
            # the middle frame does not use later ones
            forward_2=forward[:, :middle])
        for branch, flows in branches.items():
            feats[branch] = []
            feats = self.propagate(feats, flows, branch)
        states = torch.cat([states[middle] for states in feats.values()], 1)
        return self.enlarge(self.reconstruction(states), x[:, middle])

    def compute_flow(self, lqs: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute the flow between neighbours; small frames are enlarged
        first.

        Args:
            lqs (Tensor): Frames, (N, T, 3, H, W).

        Returns:
            tuple[Tensor]: Flow from each frame but the first to the one
                before, and from each frame but the last to the one after it;
                (N, T - 1, 2, H, W), (x, y) in pixels.
        """
        height, width = size = lqs.shape[3:]
        large = [max(side, MIN_FLOW_SIDE) for side in size]
        if large == list(size):
            return super().compute_flow(lqs)
        flows = super().compute_flow(_resize(lqs, large))
        factors = width / large[1], height / large[0]
        forward, backward = (_resize(flow, size) for flow in flows)
        return _multiply(forward, factors), _multiply(backward, factors)


def _multiply(flow: Tensor, factors: Tuple[float, float]) -> Tensor:
    """Multiply x and y of a flow, (N, T, 2, H, W), by factors."""
    x, y = flow.unbind(2)
    return torch.stack((x * factors[0], y * factors[1]), 2)


def _resize(x: Tensor, size: Tuple[int, int]) -> Tensor:
    """Resize (N, T, C, H, W), bilinearly."""
    resized = F.interpolate(
        x.flatten(0, 1), tuple(size), mode='bilinear', align_corners=False)
    return resized.unflatten(0, x.shape[:2])
