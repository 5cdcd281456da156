"""The deformable-kernel convolution and the modulated deformable one. Needs
PyTorch alone.

The backend is chosen by the device of the tensors. Of the deformable-kernel
convolution: ``cpp`` on CPUs (``portable`` where it could not be built, which
is logged once), ``triton`` on CUDA devices, and ``portable``, plain PyTorch,
on any other. Of the modulated deformable convolution: ``cpp`` on CPUs
(``mmcv`` where it could not be built, which is logged once) and ``mmcv`` on
CUDA devices; mmcv is imported when it is first run. :class:`use_backend`
chooses by name, for tests and benchmarks; :func:`backends` lists what is
installed.
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
