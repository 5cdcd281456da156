"""The deformable-kernel convolution. Needs PyTorch alone."""
from .deform_kernel import (DeformKernelConv2d, DeformKernelConv2dPack,
                            deform_kernel_conv2d)

__all__ = [
    'DeformKernelConv2d', 'DeformKernelConv2dPack', 'deform_kernel_conv2d'
]
