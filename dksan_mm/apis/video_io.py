"""Videos and folders of frames, in and out.

- :func:`probe` tells what a source is, :func:`read_frames` reads frames of it
  from any one on.
- :func:`check_encoder` and :func:`check_container` tell, before any work,
  whether the output can be made.
- :func:`write_segment` encodes a part of a video, :func:`join_segments` makes
  the parts one file with the source's sound, subtitles, chapters and times.
- :func:`write_frame` writes a frame as an image.
"""
from .video_encoding import SegmentWriter, check_encoder, write_segment
from .video_images import frame_name, write_frame
from .video_joining import check_container, join_segments
from .video_options import EncoderOptions
from .video_probe import probe
from .video_reading import read_frames
from .video_source import SourceInfo, turn_upright

__all__ = [
    'EncoderOptions', 'SegmentWriter', 'SourceInfo', 'check_container',
    'check_encoder', 'frame_name', 'join_segments', 'probe', 'read_frames',
    'turn_upright', 'write_frame', 'write_segment'
]
