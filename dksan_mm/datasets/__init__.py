"""Data sets, samplers and transforms that MMagic lacks."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from .loading import LoadFrames  # noqa: E402
from .samplers import SeededInfiniteSampler  # noqa: E402
from .video_sr_dataset import VideoSRDataset  # noqa: E402

__all__ = ['LoadFrames', 'SeededInfiniteSampler', 'VideoSRDataset']
