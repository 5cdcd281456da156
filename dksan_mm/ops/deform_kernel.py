"""Deformable-kernel convolution: the public function and its modules.

Deformable kernels come from Gao et al., "Deformable Kernels: Adapting
Effective Receptive Fields for Object Deformation" (ICLR 2020); together with
deformed image positions they are eq. 11 of the DKSAN paper.
"""
import math
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from . import _library  # noqa: F401, defines the op
from ._validation import Size, check_arguments, check_geometry, check_pair


def deform_kernel_conv2d(x: Tensor,
                         weight: Tensor,
                         kernel_offset: Tensor,
                         offset: Optional[Tensor] = None,
                         bias: Optional[Tensor] = None,
                         *,
                         kernel_size: Size = 3,
                         stride: Size = 1,
                         padding: Size = 0,
                         dilation: Size = 1) -> Tensor:
    """Convolve with a depthwise kernel that is resampled at every pixel.

    With K = k_h * k_w taps, tap k = (i, j), group g = c mod G and B bilinear
    interpolation (zero outside, reaching one pixel past the border)::

        out[n, c, p] = bias[c] + sum over taps of
            B(weight[c], i + dk_y + (S_h - k_h) / 2,
                         j + dk_x + (S_w - k_w) / 2)
          * B(x[n, c], p_y * stride - padding + i * dilation + dp_y,
                       p_x * stride - padding + j * dilation + dp_x)

    This is eq. 11 of the DKSAN paper; with ``offset=None`` it is the
    deformable kernel alone. A position outside ``(-1, size)`` on either axis,
    or one that is not finite, reads zero and sends no gradient anywhere. At
    whole positions, where bilinear interpolation has a kink, the gradient of
    an offset is the slope towards larger positions.

    Args:
        x (Tensor): Input, (N, C, H, W), N >= 0, in any memory format.
        weight (Tensor): Scope kernel, (C, 1, S_h, S_w).
        kernel_offset (Tensor): Offsets dk in the scope, in scope cells,
            (N, G*2*K, H_out, W_out): for each group, for each tap (dy, dx).
            G is read from the shape and divides C.
        offset (Tensor, optional): Offsets dp in the image, in pixels,
            (N, 2*K, H_out, W_out): for each tap (dy, dx). Default: None, no
            offset.
        bias (Tensor, optional): Bias, (C,). Default: None.
        kernel_size (int or tuple[int]): (k_h, k_w). Default: 3.
        stride (int or tuple[int]): Stride. Default: 1.
        padding (int or tuple[int]): Zeros around the image. Default: 0.
        dilation (int or tuple[int]): Dilation. Default: 1.

    Returns:
        Tensor: (N, C, H_out, W_out), with the size that
        :func:`torch.nn.functional.conv2d` gives, in the dtype and memory
        format of ``x``.

    Dtypes are float32, float64, bfloat16 and float16, and may be mixed.
    Computing is done in the widest of them, but at least in float32. This
    holds under autocast, too, which casts no tensor; the result has the dtype
    of ``x``. The result and each gradient differ from those in float64 on the
    same inputs by at most 1e-5 in float32, 2**-7 in bfloat16 and 2**-10 in
    float16 (relative plus absolute, for values of order one). Second-order
    gradients are not implemented.

    This is the op ``torch.ops.dksan_mm.deform_kernel_conv2d``, which can be
    compiled and exported; the device chooses the backend, see
    :mod:`dksan_mm.ops`. In inference, the C++ backend needs memory for the
    result and, if ``x`` is not channels-last, for one copy of it. The portable
    backend needs at most four times the memory of ``x`` (float32, C = 128, K =
    9, G = 1, inputs of half a MiB and more), or up to 5.5 times in bfloat16
    and float16.

    The C++ backend gives the same bits in every run with the same number of
    threads. The Triton backend sums the gradient of ``x`` in an order that is
    not fixed, unless :func:`torch.use_deterministic_algorithms` is set.

    Raises:
        TypeError: An argument is no tensor, or has another dtype.
        ValueError: A shape, a device or a hyper-parameter breaks the rules
            above; the message names it.
        NotImplementedError: A second-order gradient is requested.
    """
    geometry = check_geometry(kernel_size, stride, padding, dilation)
    check_arguments(x, weight, kernel_offset, offset, bias, geometry)
    return torch.ops.dksan_mm.deform_kernel_conv2d(x, weight, kernel_offset,
                                                   offset, bias, *geometry)


class DeformKernelConv2d(nn.Module):
    """Deformable-kernel convolution with given offsets.

    The arguments up to ``bias`` are those of :class:`torch.nn.Conv2d`. The
    convolution is always depthwise.

    Args:
        in_channels (int): Channels C of the input.
        out_channels (int): Must equal ``in_channels``.
        kernel_size (int or tuple[int]): Taps (k_h, k_w). Default: 3.
        stride (int or tuple[int]): Stride. Default: 1.
        padding (int or tuple[int]): Zeros around the image. Default: 0.
        dilation (int or tuple[int]): Dilation. Default: 1.
        groups (int): 1 or ``in_channels``, which mean the same here:
            OpenMMLab's builders pass 1 by default. Default: 1.
        bias (bool): Whether to add a bias. Default: True.
        scope_size (int or tuple[int]): Size (S_h, S_w) of the scope kernel.
            Default: 4.
        negative_slope (float): Slope of the leaky ReLU that follows, used only
            for the initial weights; see :meth:`init_weights`. Default: 0.1.

    Raises:
        ValueError: ``out_channels`` or ``groups`` breaks the rules above, or a
            size is not a positive integer.
    """

    # attributes that mmcv's ConvModule expects of a convolution
    transposed = False
    output_padding = (0, 0)

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Size = 3,
                 stride: Size = 1,
                 padding: Size = 0,
                 dilation: Size = 1,
                 groups: int = 1,
                 bias: bool = True,
                 scope_size: Size = 4,
                 negative_slope: float = 0.1) -> None:
        super().__init__()
        if in_channels < 1 or out_channels != in_channels:
            raise ValueError('out_channels must equal in_channels, the '
                             'convolution being depthwise, got '
                             f'{out_channels} and {in_channels}')
        if groups not in (1, in_channels):
            raise ValueError(f'groups must be 1 or in_channels = '
                             f'{in_channels}, got {groups}')
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        (self.kernel_size, self.stride, self.padding,
         self.dilation) = check_geometry(kernel_size, stride, padding,
                                         dilation)
        self.scope_size = check_pair('scope_size', scope_size, 1)
        self.negative_slope = negative_slope
        self.weight = nn.Parameter(
            torch.empty(in_channels, 1, *self.scope_size))
        self.bias = nn.Parameter(torch.empty(in_channels)) if bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """Initialise the scope so that, at zero offsets, the layer and the
        leaky ReLU after it preserve the input's mean square; set the bias to
        zero.

        At zero offsets a tap is a bilinear average of scope cells (of four,
        for 3 taps and scope 4), which reduces variance; the usual fan-in rule
        ignores that.
        """
        energy = 1.
        for taps, scope in zip(self.kernel_size, self.scope_size):
            energy *= sum(
                max(0., 1 - abs(tap + (scope - taps) / 2 - cell))**2
                for tap in range(taps) for cell in range(scope))
        # a scope smaller than the taps may leave every tap outside
        gain = 2 / (1 + self.negative_slope**2)
        nn.init.normal_(self.weight, std=math.sqrt(gain / max(energy, 1.)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self,
                x: Tensor,
                kernel_offset: Tensor,
                offset: Optional[Tensor] = None) -> Tensor:
        """Return :func:`deform_kernel_conv2d` of the arguments; shapes are the
        same."""
        return deform_kernel_conv2d(
            x,
            self.weight,
            kernel_offset,
            offset,
            self.bias,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation)

    def extra_repr(self) -> str:
        return (f'{self.in_channels}, {self.out_channels}, '
                f'kernel_size={self.kernel_size}, '
                f'scope_size={self.scope_size}, stride={self.stride}, '
                f'padding={self.padding}, dilation={self.dilation}, '
                f'bias={self.bias is not None}')


class DeformKernelConv2dPack(DeformKernelConv2d):
    """Deformable-kernel convolution that predicts its own offsets.

    One ordinary convolution, ``conv_offset``, gives the image offsets (2*K
    channels), followed by the kernel offsets (G*2*K channels). It starts at
    zero, so that the layer starts as an ordinary depthwise convolution.

    Args:
        *args: As for :class:`DeformKernelConv2d`.
        kernel_offset_groups (int): Groups G, a divisor of ``in_channels``.
            Default: 1.
        guide_channels (int, optional): Channels of the ``guide`` that the
            offsets are predicted from. Default: None, ``in_channels``.
        clip_kernel_offset (bool): Whether to clip kernel offsets so that
            each tap stays on the scope's cells. Default: False.
        **kwargs: As for :class:`DeformKernelConv2d`.

    Raises:
        ValueError: As for :class:`DeformKernelConv2d`, or
            ``kernel_offset_groups`` does not divide ``in_channels``.
    """

    def __init__(self,
                 *args,
                 kernel_offset_groups: int = 1,
                 guide_channels: Optional[int] = None,
                 clip_kernel_offset: bool = False,
                 **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if kernel_offset_groups < 1 or self.in_channels % kernel_offset_groups:
            raise ValueError('kernel_offset_groups must be a divisor of '
                             f'in_channels = {self.in_channels}, got '
                             f'{kernel_offset_groups}')
        self.kernel_offset_groups = kernel_offset_groups
        self.clip_kernel_offset = clip_kernel_offset
        self._num_offsets = 2 * self.kernel_size[0] * self.kernel_size[1]
        self.conv_offset = nn.Conv2d(
            guide_channels or self.in_channels,
            self._num_offsets * (1 + kernel_offset_groups),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation)
        self.init_offset()

    def init_offset(self) -> None:
        """Set ``conv_offset`` to zero."""
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def init_weights(self) -> None:
        """Like :meth:`DeformKernelConv2d.init_weights`; offsets start at zero.
        """
        super().init_weights()
        if hasattr(self, 'conv_offset'):
            self.init_offset()

    def _scope_limits(self, like: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the smallest and largest kernel offsets, (G*2*K, 1, 1).

        They are made when used: buffers outside the state dict would be
        undefined after construction on the meta device.
        """
        steps = (
            torch.arange(size, device=like.device, dtype=like.dtype)
            for size in self.kernel_size)
        places = torch.stack(torch.meshgrid(*steps, indexing='ij'), -1)
        limits = []
        for axis, (scope,
                   size) in enumerate(zip(self.scope_size, self.kernel_size)):
            place = places[..., axis] + (scope - size) / 2
            limits.append(torch.stack((-place, scope - 1 - place)))
        low, high = torch.stack(limits, -1).flatten(1)
        return tuple(
            limit.repeat(self.kernel_offset_groups)[:, None, None]
            for limit in (low, high))

    def forward(self, x: Tensor, guide: Optional[Tensor] = None) -> Tensor:
        """Convolve ``x`` with offsets predicted from ``guide``.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor, optional): (N, guide_channels, H, W).
                Default: None, ``x`` itself.

        Returns:
            Tensor: (N, C, H_out, W_out).
        """
        offsets = self.conv_offset(x if guide is None else guide)
        offset, kernel_offset = offsets.tensor_split([self._num_offsets], 1)
        if self.clip_kernel_offset:
            kernel_offset = kernel_offset.clamp(
                *self._scope_limits(kernel_offset))
        return super().forward(x, kernel_offset, offset)
