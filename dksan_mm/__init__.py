"""DKSAN, video extreme super-resolution, as a plug-in for MMagic.

Importing this package, or :mod:`dksan_mm.ops`, needs at most PyTorch. The
network, data sets and tools need all of MMagic and are imported by name
(``custom_imports`` in the configs).
"""
__version__ = '0.1.0'

__all__ = ['__version__']
