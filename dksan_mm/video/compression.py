"""Frames as H.264 leaves them, in memory."""
from fractions import Fraction
from typing import Iterable, Iterator, Optional, Tuple

import av
import numpy as np

# x264 in one thread and with the same instructions everywhere: else its bits
# depend on the number of cores and, now and then, on uninitialised memory
_SAME_BITS = {'x264-params': 'cpu-independent=1'}


def compress(frames: Iterable[np.ndarray],
             crf: int,
             preset: str = 'medium') -> Iterator[np.ndarray]:
    """Yield a video's frames as they are after H.264 in 4:2:0, by libx264.

    They come as a stream, some 50 frames behind those that are read.

    Args:
        frames (Iterable[np.ndarray]): Each (H, W, 3) uint8 RGB, all of one
            size, H and W even.
        crf (int): x264's constant rate factor, 0 to 51; more is worse.
        preset (str): x264's. Default: 'medium'.

    Yields:
        np.ndarray: As many, of the same shape and type.

    Raises:
        ValueError: Frames have another type, or odd sides.
    """
    encoder = av.CodecContext.create('libx264', 'w')
    encoder.pix_fmt, encoder.thread_count = 'yuv420p', 1
    encoder.framerate, encoder.time_base = 25, Fraction(1, 25)
    encoder.options = dict(crf=str(crf), preset=preset, **_SAME_BITS)
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
