"""Registers the packed convolution as mmcv's conv layer ``DKC``.

Kept out of ``dksan_mm.ops`` so that the operator needs only PyTorch. In a
config: ``custom_imports = dict(imports=['dksan_mm.ops.mmcv_layer'])``.
"""
from mmengine.registry import MODELS

from .deform_kernel import DeformKernelConv2dPack

MODELS.register_module('DKC', module=DeformKernelConv2dPack)
