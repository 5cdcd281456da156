"""Data sets, samplers and transforms that MMagic lacks."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from .degradations import RandomH264Compression, RoundFrames  # noqa: E402
from .loading import CopyFrames, LoadFrames, PackClip  # noqa: E402
from .photo_windows import PhotoWindowDataset  # noqa: E402
from .samplers import SeededInfiniteSampler  # noqa: E402
from .seeding import SeededConcatDataset  # noqa: E402
from .sequence_sampler import SequenceSampler  # noqa: E402
from .video_sr_dataset import VideoSRDataset  # noqa: E402

__all__ = [
    'CopyFrames', 'LoadFrames', 'PackClip', 'PhotoWindowDataset',
    'RandomH264Compression', 'RoundFrames', 'SeededConcatDataset',
    'SeededInfiniteSampler', 'SequenceSampler', 'VideoSRDataset'
]
