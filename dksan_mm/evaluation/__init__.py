"""Metrics that MMagic lacks."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from .sequence_metrics import SequencePSNR, SequenceSSIM  # noqa: E402

__all__ = ['SequencePSNR', 'SequenceSSIM']
