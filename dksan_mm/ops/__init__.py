"""The deformable-kernel convolution and the modulated deformable convolution.
Needs only PyTorch.

The device of the tensors chooses the backend. The deformable-kernel
convolution runs on ``cpp`` on CPUs (on ``portable`` if the C++ kernels could
not be built, which is logged once), on ``triton`` on CUDA devices, and on
``portable``, plain PyTorch, elsewhere. The modulated deformable convolution
runs on ``cpp`` on CPUs (on ``mmcv`` if they could not be built, which is
logged once) and on ``mmcv`` on CUDA devices; mmcv is imported at its first
run. :class:`use_backend` chooses by name, for tests and benchmarks;
:func:`backends` lists what is installed.
"""
from ._library import backends, use_backend
from .accelerate import accelerate
from .deform_kernel import (DeformKernelConv2d, DeformKernelConv2dPack,
                            deform_kernel_conv2d)
from .modulated_deform_conv import modulated_deform_conv2d

__all__ = [
    'DeformKernelConv2d', 'DeformKernelConv2dPack', 'accelerate', 'backends',
    'deform_kernel_conv2d', 'modulated_deform_conv2d', 'use_backend'
]
