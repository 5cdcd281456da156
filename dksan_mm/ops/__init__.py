"""The deformable-kernel convolution. Needs PyTorch alone.

One operator, three backends, chosen by the device of its tensors: ``cpp`` on
CPUs (``portable`` where it could not be built, which is logged once),
``triton`` on CUDA devices, and ``portable``, plain PyTorch, on any other. None
falls back on another. :class:`use_backend` chooses by name, for tests and
benchmarks; :func:`backends` lists what is installed.
"""
from ._library import backends, use_backend
from .deform_kernel import (DeformKernelConv2d, DeformKernelConv2dPack,
                            deform_kernel_conv2d)

__all__ = [
    'DeformKernelConv2d', 'DeformKernelConv2dPack', 'backends',
    'deform_kernel_conv2d', 'use_backend'
]
