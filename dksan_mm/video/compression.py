"""H.264 compression of frames in memory, as a degradation."""
from fractions import Fraction
from typing import Iterable, Iterator, Optional, Tuple

import av
import numpy as np

from .options import SAME_BITS


def compress(frames: Iterable[np.ndarray],
             crf: int,
             preset: str = 'medium') -> Iterator[np.ndarray]:
    """Yield a video's frames after compression to H.264 (libx264, 4:2:0). This
    is a stream: the output lags some 50 frames behind the input.

    Args:
        frames (Iterable[np.ndarray]): Each (H, W, 3) uint8 RGB, all of one
            size, H and W even.
        crf (int): x264's constant rate factor, 0 to 51; higher is worse.
        preset (str): x264's speed preset. Default: 'medium'.

    Yields:
        np.ndarray: As many frames, of the same shape and type.

    Raises:
        ValueError: Frames are not uint8, or have odd sides.
    """
    encoder = av.CodecContext.create('libx264', 'w')
    encoder.pix_fmt, encoder.thread_count = 'yuv420p', 1
    encoder.framerate, encoder.time_base = 25, Fraction(1, 25)
    encoder.options = dict(crf=str(crf), preset=preset, **SAME_BITS)
    decoder = av.CodecContext.create('h264', 'r')
    decoder.thread_count = 1
    for number, frame in enumerate(frames):
        if number == 0:
            encoder.height, encoder.width = _check_frame(frame)
        image = av.VideoFrame.from_ndarray(frame, format='rgb24')
        image.pts = number
        yield from _decode(decoder, encoder.encode(image))
    yield from _decode(decoder, [*encoder.encode(), None])


def _check_frame(frame: np.ndarray) -> Tuple[int, int]:
    """Return a frame's height and width, if it can be compressed."""
    height, width = frame.shape[:2]
    if frame.dtype != np.uint8 or height % 2 or width % 2:
        raise ValueError('frames must be uint8 with even sides to be '
                         f'compressed, got {frame.dtype} of {width}x{height}; '
                         'put RoundFrames, and is_size_even of RandomResize, '
                         'before')
    return height, width


def _decode(decoder: av.CodecContext,
            packets: Iterable[Optional[av.Packet]]) -> Iterator[np.ndarray]:
    for packet in packets:
        for image in decoder.decode(packet):
            yield image.to_ndarray(format='rgb24')
