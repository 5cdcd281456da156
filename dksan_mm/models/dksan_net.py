"""The DKSAN network, Fig. 1 of the paper."""
from typing import Iterable, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmagic.models.utils import make_layer
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .blocks import (RCAB, PointwiseConv2d, add, leaky_relu, recomputed,
                     use_channels_last)
from .dkc_align import DKCAlign
from .dksa import DKSA
from .level import Reconstruction, Upscale
from .optical_flow import estimate_flow
from .strips import is_watched

# of a frame
Features = Union[Tensor, List[Tensor]]


@MODELS.register_module()
class DKSANNet(BaseModule):
    """DKSAN: a cascade of x2 levels over deformably aligned frames.

    Paper: Xu, Xiong, Wang and Li, "Deformable Kernel Convolutional Network
    for Video Extreme Super-Resolution", ECCV 2020 Workshops.

    Each level adds its reconstructed residual to the bicubically doubled image
    of the level before (eqs. 5 to 8). With the defaults, the three switches
    give the four rows of the paper's Table 3: 26.1M parameters with all
    switched off ("backbone"), 26.3M with channel attention, 27.0M with
    alignment as well, and 29.5M with all (DKSAN). The paper's text leaves
    details open; those here are one of several readings that give these
    counts.

    A level gets only the image from the level before, so levels may differ in
    width: wide where images are small, narrow where they are large.

    Images keep their own dtype: with convolutions in bfloat16 or float16
    (:func:`dksan_mm.utils.precision.short_copy`), features have that dtype
    too, while float32 images are added up and returned in float32.

    Args:
        in_channels (int): Channels of the images. Default: 3.
        mid_channels (int or Sequence[int]): Channels C of the features, one
            number or one for each level. Extraction, alignment and fusion have
            the width of level 1. Default: 128.
        num_frames (int): Number T of frames in the window, odd; the middle one
            is restored. Default: 7.
        num_blocks (Sequence[int]): RCABs of each level. Their number is the
            number of levels L, and the scale is 2 ** L.
            Default: (30, 20, 15, 10), x16.
        num_extraction_blocks (int): Residual blocks of the feature
            extraction. Default: 5.
        num_align_layers (int): Deformable-kernel layers of the alignment.
            Default: 6.
        deform_groups (int): Groups of the alignment's modulated deformable
            convolution; a divisor of level 1's C. Default: 8.
        num_dksa_layers (int): Deformable-kernel layers of the spatial
            attention in levels 2 to L; level 1 has the light version with one
            layer. Default: 3.
        scope_size (int): Side of the scope kernels. Default: 4.
        reduction (int or Sequence[int]): Reduction of the channel attention,
            at most C, one number or one for each level. Default: 16.
        with_channel_attention (bool): Whether RCABs have channel attention.
            Default: True.
        with_alignment (bool): Whether to align frames; a single frame is never
            aligned. Default: True.
        with_dksa (bool): Whether levels have spatial attention. Default: True.
        with_cp (bool): Whether to keep only the inputs of blocks for the
            backward pass and recompute the rest (activation checkpointing),
            which gives the same gradients with less memory in more time.
            Default: False.
        flow_guided (bool): Whether the alignment starts from the optical flow
            between the frames (:func:`.optical_flow.estimate_flow`), so that a
            short training learns to use them all. This is ours, not the
            paper's. It adds no weights, so checkpoints do not tell whether
            they were trained with it; configs do. Default: False.
        init_cfg (dict, optional): As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: An argument breaks the rules above.
    """

    # read by dksan_mm.utils.precision.short_copy
    keeps_images = True

    def __init__(self,
                 in_channels: int = 3,
                 mid_channels: Union[int, Sequence[int]] = 128,
                 num_frames: int = 7,
                 num_blocks: Sequence[int] = (30, 20, 15, 10),
                 num_extraction_blocks: int = 5,
                 num_align_layers: int = 6,
                 deform_groups: int = 8,
                 num_dksa_layers: int = 3,
                 scope_size: int = 4,
                 reduction: Union[int, Sequence[int]] = 16,
                 with_channel_attention: bool = True,
                 with_alignment: bool = True,
                 with_dksa: bool = True,
                 with_cp: bool = False,
                 flow_guided: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        widths = _of_levels('mid_channels', mid_channels, len(num_blocks))
        reductions = _of_levels('reduction', reduction, len(num_blocks))
        _check_config(widths, num_frames, num_blocks, deform_groups,
                      reductions)
        width = widths[0]
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.with_cp = with_cp
        self.num_levels = len(num_blocks)
        self.scale = 2**self.num_levels

        # E_res, eq. 2, and E_2 to E_L, eqs. 6 to 8
        self.extract = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), leaky_relu(),
            make_layer(
                RCAB,
                num_extraction_blocks,
                mid_channels=width,
                with_channel_attention=False))
        self.extract_levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 3, padding=1), leaky_relu())
            for channels in widths[1:])
        self.align = None
        self.flow_guided = False
        if with_alignment and num_frames > 1:
            self.flow_guided = flow_guided
            self.align = DKCAlign(width, num_align_layers, deform_groups,
                                  scope_size)
        # W_E, eq. 4
        self.fuse = PointwiseConv2d(num_frames * width, width)
        self.reconstruct = nn.ModuleList()
        for level, channels in enumerate(widths):
            dksa = None
            if with_dksa:
                layers = num_dksa_layers if level else 1
                dksa = DKSA(channels, layers, not level, scope_size)
            self.reconstruct.append(
                Reconstruction(
                    channels,
                    num_blocks[level],
                    dksa,
                    with_cp=with_cp,
                    with_channel_attention=with_channel_attention,
                    reduction=reductions[level]))
        self.upscale = nn.ModuleList(
            Upscale(channels, in_channels) for channels in widths)
        # features are channels-last; other weights would be copied in every
        # call
        use_channels_last(self)

    def forward(
            self,
            x: Tensor,
            return_levels: bool = False) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Restore the middle frame.

        Args:
            x (Tensor): Window of LR frames, (N, T, in_channels, H, W), RGB in
                [0, 1], H and W at least 1. For T = 1, (N, in_channels, H, W)
                is accepted.
            return_levels (bool): Whether to return the images of all levels.
                Default: False.

        Returns:
            Tensor or tuple[Tensor]: The restored frame, (N, in_channels,
            scale * H, scale * W), not clipped to [0, 1]. With
            ``return_levels`` the images at 2x, 4x, ... and, last, the
            restored frame.

        Raises:
            ValueError: ``x`` has another shape.
        """
        x = self._check_input(x)
        middle = x[:, self.num_frames // 2]
        images = self._enlarge(self.fuse_frames(x), middle)
        return tuple(images) if return_levels else images[-1]

    def extract_features(self, frames: Tensor) -> Features:
        """Return a frame's features, which do not depend on other frames, eq.
        2; for :meth:`restore_features`.

        Args:
            frames (Tensor): (N, in_channels, H, W), RGB in [0, 1].

        Returns:
            Tensor or list[Tensor]: (N, C, H, W). With ``flow_guided`` also the
            frame itself.
        """
        features = self._run(self.extract,
                             self._as_features(channels_last(frames)))
        return [features, frames] if self.flow_guided else features

    def restore_features(self, features: Sequence[Features],
                         image: Tensor) -> Tensor:
        """Restore the middle frame of a window from its frames' features.

        Without autograd the result is bit-identical to :meth:`forward`, if
        features were extracted in batches of the same N.

        Args:
            features (Sequence): Results of :meth:`extract_features` for each
                of the T frames.
            image (Tensor): The middle frame, (N, in_channels, H, W).

        Returns:
            Tensor: (N, in_channels, scale * H, scale * W).
        """
        return self._enlarge(self._fuse(features), image)[-1]

    def fuse_frames(self, x: Tensor) -> Tensor:
        """Extract, align and fuse the frames, eqs. 2 to 4.

        Args:
            x (Tensor): (N, T, in_channels, H, W).

        Returns:
            Tensor: F_fusion, (N, C, H, W).
        """
        if not is_watched():
            # rounding in PyTorch's kernels depends on the batch size: features
            # kept from window to window must have the same bits
            return self._fuse([self.extract_features(f) for f in x.unbind(1)])
        # frame by frame, so that each frame's features are one block of
        # memory: (T * N, C, H, W)
        features = self.extract_features(x.transpose(0, 1).flatten(0, 1))
        shape = self.num_frames, -1
        if self.flow_guided:
            maps, frames = features
            return self._fuse(
                zip(maps.unflatten(0, shape), frames.unflatten(0, shape)))
        return self._fuse(features.unflatten(0, shape))

    def _fuse(self, features: Iterable[Features]) -> Tensor:
        """Align the features of T frames, (N, C, H, W) each, with the middle
        frame's, eq. 3, and fuse them, eq. 4."""
        features, images = list(features), None
        if self.flow_guided:
            features, images = map(list, zip(*features))
        if self.align is not None:
            features = self._align(features, images)
        return self.fuse(torch.cat(features, 1))

    def _align(self, features: List[Tensor],
               images: Optional[List[Tensor]]) -> List[Tensor]:
        """Return the features of T frames, aligned with the middle one's; with
        images, from the flow between these."""
        middle = self.num_frames // 2
        others = [i for i in range(self.num_frames) if i != middle]
        parts = [others]
        if images is not None and not is_watched():
            # one at a time: offsets have three times as many channels as
            # features, and are in float32
            parts = [[i] for i in others]
        aligned = list(features)
        for part in parts:
            flow = None
            if images is not None:
                flow = estimate_flow(*_pair(images, middle, part))
            reference, neighbours = _pair(features, middle, part)
            out = self._run(self.align, neighbours, reference, flow)
            for i, maps in zip(part, out.unflatten(0, (len(part), -1))):
                aligned[i] = maps
        return aligned

    def _enlarge(self, features: Tensor, image: Tensor) -> List[Tensor]:
        """Return the images of all levels, eqs. 5 to 8.

        Args:
            features (Tensor): F_fusion, (N, C, H, W).
            image (Tensor): The middle frame, (N, in_channels, H, W).
        """
        images: List[Tensor] = []
        image = channels_last(image)
        for level, upscale in enumerate(self.upscale):
            if level:
                features = self.extract_levels[level - 1](
                    self._as_features(image))
            features = self.reconstruct[level](features)
            residual = self._run(upscale, features)
            # written over the enlarged image: the residual may be short
            image = add(residual, twice_as_large(image))
            images.append(image)
        return images

    def _as_features(self, image: Tensor) -> Tensor:
        """Return an image in the dtype of the weights."""
        return image.to(self.extract[0].weight.dtype)

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Return a module's output; with ``with_cp``, recompute it in the
        backward pass."""
        if self.with_cp:
            return recomputed(module, *inputs)
        return module(*inputs)

    def _check_input(self, x: Tensor) -> Tensor:
        """Return ``x`` as (N, T, in_channels, H, W), or raise."""
        if x.dim() == 4 and self.num_frames == 1:
            x = x.unsqueeze(1)
        if x.dim() != 5 or x.shape[1:3] != (
                self.num_frames, self.in_channels) or 0 in x.shape[3:]:
            raise ValueError(
                'x must have shape (N, T, C, H, W) with T = num_frames = '
                f'{self.num_frames}, C = in_channels = {self.in_channels} and '
                f'H, W of at least 1, got {tuple(x.shape)}')
        return x


def _pair(maps: Sequence[Tensor], middle: int,
          others: Sequence[int]) -> Tuple[Tensor, Tensor]:
    """Return the middle frame's map once for each other frame, and those of
    the other frames, ((number of these) * N, ...) each."""
    return (torch.cat([maps[middle]] * len(others)),
            torch.cat([maps[i] for i in others]))


def channels_last(x: Tensor) -> Tensor:
    """Return (N, C, H, W) in the channels-last memory format."""
    return x.contiguous(memory_format=torch.channels_last)


def twice_as_large(image: Tensor) -> Tensor:
    """Return an image, (N, in_channels, H, W), at twice the size, bicubic."""
    return F.interpolate(
        image, scale_factor=2, mode='bicubic', align_corners=False)


def _of_levels(name: str, value: Union[int, Sequence[int]],
               levels: int) -> Tuple[int, ...]:
    """Return an argument's value for each level, or raise."""
    values = (value, ) * levels if isinstance(value, int) else tuple(value)
    if len(values) != levels or not all(
            isinstance(v, int) and v > 0 for v in values):
        raise ValueError(
            f'{name} must be one positive number or one for each of the '
            f'{levels} levels that num_blocks names, got {value}')
    return values


def _check_config(widths: Sequence[int], num_frames: int,
                  num_blocks: Sequence[int], deform_groups: int,
                  reductions: Sequence[int]) -> None:
    if num_frames < 1 or num_frames % 2 == 0:
        raise ValueError(f'num_frames must be odd, got {num_frames}')
    if not num_blocks or min(num_blocks) < 1:
        raise ValueError('num_blocks must name at least one level, with at '
                         f'least one block each, got {num_blocks}')
    if widths[0] % deform_groups:
        raise ValueError('deform_groups must be a divisor of mid_channels = '
                         f'{widths[0]}, got {deform_groups}')
    for width, reduction in zip(widths, reductions):
        if reduction > width:
            raise ValueError('reduction must be from 1 to mid_channels = '
                             f'{width}, got {reduction}')
