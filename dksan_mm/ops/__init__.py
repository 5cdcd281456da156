"""The deformable-kernel convolution. Needs PyTorch alone."""
from ._library import backends, use_backend
from .deform_kernel import (DeformKernelConv2d, DeformKernelConv2dPack,
                            deform_kernel_conv2d)

__all__ = [
    'DeformKernelConv2d', 'DeformKernelConv2dPack', 'backends',
    'deform_kernel_conv2d', 'use_backend'
]
