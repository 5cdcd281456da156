"""Restoration of videos, from reading to writing."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from dksan_mm.video.encoding import check_encoder, write_segment  # noqa: E402
from dksan_mm.video.images import frame_name, write_frame  # noqa: E402
from dksan_mm.video.joining import check_container, join_segments  # noqa: E402
from dksan_mm.video.options import EncoderOptions  # noqa: E402
from dksan_mm.video.probing import probe  # noqa: E402
from dksan_mm.video.reader import read_frames  # noqa: E402
from dksan_mm.video.source import SourceInfo  # noqa: E402
from .estimate import estimate  # noqa: E402
from .inferencer import DKSANVideoInferencer  # noqa: E402
from .loading import load_model  # noqa: E402
from .options import NetworkOptions, RestoreOptions  # noqa: E402
from .restore_video import Summary, restore_video  # noqa: E402
from .window_restorer import WindowRestorer  # noqa: E402

__all__ = [
    'DKSANVideoInferencer', 'EncoderOptions', 'NetworkOptions',
    'RestoreOptions', 'SourceInfo', 'Summary', 'WindowRestorer',
    'check_container', 'check_encoder', 'estimate', 'frame_name',
    'join_segments', 'load_model', 'probe', 'read_frames', 'restore_video',
    'write_frame', 'write_segment'
]
