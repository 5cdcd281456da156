"""DKSAN, video extreme super-resolution, as a plug-in for MMagic.

Importing this package, or :mod:`dksan_mm.ops`, needs PyTorch at most; the
network, data sets and tools need the whole of MMagic and are imported by
name (``custom_imports`` in the configs).
"""
__version__ = '0.1.0'

__all__ = ['__version__']
