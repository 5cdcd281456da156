"""The former place of
:func:`dksan_mm.ops.modulated_deform_conv.modulated_deform_conv2d`."""
from dksan_mm.ops.modulated_deform_conv import modulated_deform_conv2d

__all__ = ['modulated_deform_conv2d']
