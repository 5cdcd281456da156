"""EDVR at x16, the network that the paper compares DKSAN with."""
from typing import List, Optional, Sequence

import torch
from mmagic.models.editors.edvr.edvr_net import EDVRNet, PCDAlignment
from mmagic.registry import MODELS
from torch import Tensor

from dksan_mm.models.blocks import pad_to_multiple, use_channels_last
from dksan_mm.models.dkc_align import GuidedDeformConv
from dksan_mm.models.strips import is_watched
from .upsampling import ExtremeUpsampling, check_window, middle_frames


@MODELS.register_module()
class ExtremeEDVRNet(ExtremeUpsampling, EDVRNet):
    """EDVR for x4, x8 and x16, and for frames of any size.

    Paper: Wang, Chan, Yu, Dong and Loy, "EDVR: Video Restoration with
    Enhanced Deformable Convolutional Networks", CVPR 2019 Workshops. Layers
    and their names are those of MMagic's :class:`EDVRNet`: at x4 it is the
    same network, and a checkpoint of MMagic's x4 EDVR fills all but
    ``upsample_more`` (``model.strict_checkpoint=False``). What differs:

    - the scale, by further PixelShuffle stages of ``hr_channels`` channels;
    - frames with sides that are no multiples of 4 are extended by repeating
    the last row and column, and the result is cropped;
    - only the middle of a window longer than ``num_frames`` is used, so that
    networks of 5 and of 7 frames can read the same data;
    - all frames are aligned at once;
    - weights are channels-last, the faster layout, and the deformable
    convolutions support that and autocast.

    With the defaults, those of EDVR-L, it has 20,929,251 parameters; with 7
    frames it has 20,994,787. The DKSAN paper prints 20.6M for its EDVR, the
    original with only the upscale module changed, "from factor 4 to factor
    16". But 20.6M is EDVR-L at x4 (5 frames, 20,633,827), without the two
    stages of 147,712 parameters each that x16 adds.

    Args:
        in_channels (int): Channels of the LR images. Default: 3.
        out_channels (int): Channels of the result; equal to ``in_channels``.
            Default: 3.
        mid_channels (int): Channels C of the features. Default: 128.
        num_frames (int): Number T of frames used, odd; the middle one is
            restored. Default: 5, as in EDVR for REDS (7 for Vimeo-90K).
        deform_groups (int): Groups of the deformable convolutions; a divisor
            of C. Default: 8.
        num_blocks_extraction (int): Residual blocks of the feature
            extraction. Default: 5.
        num_blocks_reconstruction (int): Residual blocks of the
            reconstruction. Default: 40.
        with_tsa (bool): Whether frames are fused by temporal and spatial
            attention. Default: True.
        scale (int): 4, 8 or 16. Default: 16.
        hr_channels (int): Channels after the second PixelShuffle. Default: 64.
        init_cfg (dict, optional): As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: An argument breaks the rules above.
    """

    # pixels of a frame per pixel of the smallest features
    feature_stride = 4
    # read by dksan_mm.utils.precision.short_copy
    keeps_images = True

    def __init__(self,
                 in_channels: int = 3,
                 out_channels: int = 3,
                 mid_channels: int = 128,
                 num_frames: int = 5,
                 deform_groups: int = 8,
                 num_blocks_extraction: int = 5,
                 num_blocks_reconstruction: int = 40,
                 with_tsa: bool = True,
                 scale: int = 16,
                 hr_channels: int = 64,
                 init_cfg: Optional[dict] = None) -> None:
        _check_config(in_channels, out_channels, mid_channels, num_frames,
                      deform_groups)
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            mid_channels=mid_channels,
            num_frames=num_frames,
            deform_groups=deform_groups,
            num_blocks_extraction=num_blocks_extraction,
            num_blocks_reconstruction=num_blocks_reconstruction,
            center_frame_idx=num_frames // 2,
            with_tsa=with_tsa,
            init_cfg=init_cfg)
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.extend_upsampling(mid_channels, out_channels, hr_channels, scale)
        _use_own_op(self.pcd_alignment, mid_channels, deform_groups)
        use_channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """Restore the middle frame.

        Args:
            x (Tensor): Window of LR frames, (N, T, in_channels, H, W), RGB in
                [0, 1], T odd and at least ``num_frames``, H and W at least 1.

        Returns:
            Tensor: The restored frame, (N, out_channels, scale * H, scale *
            W), not clipped to [0, 1].

        Raises:
            ValueError: ``x`` has another shape.
        """
        check_window(x, self.in_channels, self.num_frames)
        x = middle_frames(x, self.num_frames)
        image = x[:, self.num_frames // 2]
        if not is_watched():
            # rounding in PyTorch's kernels depends on the batch size: features
            # kept from window to window must have the same bits
            return self.restore_features(
                [self.extract_features(frame) for frame in x.unbind(1)], image)
        # frame by frame, so that each frame's features are one block of
        # memory: (T * N, C, H, W)
        pyramid = self.extract_features(x.transpose(0, 1).flatten(0, 1))
        return self._restore(pyramid, image)

    def extract_features(self, frames: Tensor) -> List[Tensor]:
        """Return a frame's features, which do not depend on other frames; for
        :meth:`restore_features`.

        Args:
            frames (Tensor): (N, in_channels, H, W), RGB in [0, 1].

        Returns:
            list[Tensor]: Features (N, C, H', W'), where H' and W' are H and W
                rounded up to a multiple of 4, and features of half and of a
                quarter of that size.
        """
        return self.extract_pyramid(
            pad_to_multiple(frames, self.feature_stride))

    def restore_features(self, features: Sequence[Sequence[Tensor]],
                         image: Tensor) -> Tensor:
        """Restore the middle frame of a window from its frames' features.

        Without autograd the result is bit-identical to :meth:`forward`, if
        features were extracted in batches of the same N.

        Args:
            features (Sequence[Sequence[Tensor]]): Results of
                :meth:`extract_features` for each of the T frames.
            image (Tensor): The middle frame, (N, in_channels, H, W).

        Returns:
            Tensor: (N, out_channels, scale * H, scale * W).
        """
        return self._restore([torch.cat(level) for level in zip(*features)],
                             image)

    def _restore(self, pyramid: List[Tensor], image: Tensor) -> Tensor:
        """Return the restored frame; ``pyramid`` has shapes (T * N, C, ...).
        """
        height, width = (self.scale * side for side in image.shape[2:])
        features = self.reconstruction(self.fuse_frames(pyramid))
        image = pad_to_multiple(image, self.feature_stride)
        return self.enlarge(features, image)[..., :height, :width]

    def extract_pyramid(self, frames: Tensor) -> List[Tensor]:
        """Return the features of frames at three sizes.

        Args:
            frames (Tensor): (T * N, in_channels, H, W), H and W multiples
                of 4.

        Returns:
            list[Tensor]: Features (T * N, C, H, W), and of half and of a
                quarter of that size.
        """
        frames = frames.to(self.conv_first.weight.dtype)
        level1 = self.feature_extraction(self.lrelu(self.conv_first(frames)))
        level2 = self.feat_l2_conv2(self.feat_l2_conv1(level1))
        level3 = self.feat_l3_conv2(self.feat_l3_conv1(level2))
        return [level1, level2, level3]

    def fuse_frames(self, pyramid: List[Tensor]) -> Tensor:
        """Align all frames with the middle one, and fuse them.

        Args:
            pyramid (list[Tensor]): Result of :meth:`extract_pyramid`.

        Returns:
            Tensor: (N, C, H, W).
        """
        frames = self.num_frames
        references = [
            self._middle(level).repeat(frames, 1, 1, 1) for level in pyramid
        ]
        # the middle frame as well, as in EDVR
        aligned = self.pcd_alignment(pyramid, references)
        aligned = aligned.unflatten(0, (frames, -1)).transpose(0, 1)
        # MMagic's TSA takes views that only NCHW allows
        aligned = aligned.contiguous()
        return self.fusion(aligned if self.with_tsa else aligned.flatten(1, 2))

    def _middle(self, frames: Tensor) -> Tensor:
        """Return the (N, C, H, W) of the middle frame in (T * N, C, H, W)."""
        return frames.unflatten(0, (self.num_frames, -1))[self.num_frames // 2]


def _use_own_op(alignment: PCDAlignment, mid_channels: int,
                deform_groups: int) -> None:
    """Replace the deformable convolutions; tensors keep names and shapes."""

    def pack() -> GuidedDeformConv:
        return GuidedDeformConv(
            mid_channels,
            mid_channels,
            3,
            padding=1,
            deform_groups=deform_groups)

    for level in alignment.dcn_pack:
        alignment.dcn_pack[level] = pack()
    alignment.cas_dcnpack = pack()


def _check_config(in_channels: int, out_channels: int, mid_channels: int,
                  num_frames: int, deform_groups: int) -> None:
    if in_channels != out_channels:
        raise ValueError('out_channels must be equal to in_channels = '
                         f'{in_channels}, the enlarged image being added, got '
                         f'{out_channels}')
    if num_frames < 1 or num_frames % 2 == 0:
        raise ValueError(f'num_frames must be odd, got {num_frames}')
    if mid_channels % deform_groups:
        raise ValueError('deform_groups must be a divisor of mid_channels = '
                         f'{mid_channels}, got {deform_groups}')
