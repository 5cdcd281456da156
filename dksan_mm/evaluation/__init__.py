"""Metrics that MMagic lacks, and hooks that keep a test's results."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from .hooks import ResultHook, SaveFramesHook, SelfEnsembleHook  # noqa: E402
from .lpips import SequenceLPIPS  # noqa: E402
from .pictures import RestoredFrameVisualizer  # noqa: E402
from .sequence_metrics import SequenceNIQE  # noqa: E402
from .sequence_metrics import SequencePSNR  # noqa: E402
from .sequence_metrics import SequenceQuality, SequenceSSIM  # noqa: E402
from .temporal import SequenceTOF  # noqa: E402

__all__ = [
    'RestoredFrameVisualizer', 'ResultHook', 'SaveFramesHook',
    'SelfEnsembleHook', 'SequenceLPIPS', 'SequenceNIQE', 'SequencePSNR',
    'SequenceQuality', 'SequenceSSIM', 'SequenceTOF'
]
