"""Degradations of real video that MMagic lacks."""
from fractions import Fraction
from typing import Iterable, Iterator, List, Optional, Tuple

import av
import numpy as np
from mmagic.datasets.transforms import RandomVideoCompression
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

# x264 in one thread and with the same instructions everywhere: else its bits
# depend on the number of cores and, now and then, on uninitialised memory
_SAME_BITS = {'x264-params': 'cpu-independent=1'}


@TRANSFORMS.register_module()
class RandomH264Compression(RandomVideoCompression):
    """:class:`mmagic.datasets.transforms.RandomVideoCompression` by H.264 of
    a random quality (crf), as most videos are made, instead of a random
    bitrate: a bitrate is another quality for each size and scene.

    The frames of a window are compressed as one video by libx264, at one crf.
    The result depends on the frames and on NumPy's generator alone: the same
    bits on any number of cores.

    Args:
        params (dict): ``crf``: range of x264's constant rate factor, whole
            numbers from 0 to 51, both ends included; ``preset``: x264's
            presets to choose from, default ``['medium']``; ``prob``: share
            of the windows that are compressed, default 1.
        keys (list[str]): Keys of frames, lists of (H, W, 3) uint8 RGB with
            even sides. They are replaced by frames of the same shape and
            type.

    Raises:
        ValueError: A parameter breaks a rule above; or frames do, when they
            are compressed.
    """

    def __init__(self, params: dict, keys: List[str]) -> None:
        super().__init__(params, keys)
        crf = params.get('crf', ())
        if len(crf) != 2 or not 0 <= crf[0] <= crf[1] <= 51:
            raise ValueError('params must hold crf, a range (low, high) from '
                             f'0 to 51, got {params}')
        self.presets = list(params.get('preset', ['medium']))

    def _apply_random_compression(self,
                                  imgs: List[np.ndarray]) -> List[np.ndarray]:
        low, high = self.params['crf']
        crf = np.random.randint(low, high + 1)
        preset = self.presets[np.random.randint(len(self.presets))]
        return list(compress(imgs, crf, preset))


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


@TRANSFORMS.register_module()
class RoundFrames(BaseTransform):
    """Round frames to 8 bits, as files hold them: noise and resizing leave
    fractions, and values below 0 and above 255.

    Args:
        keys (list[str]): Keys of a list of frames, (H, W, C) in 0 to 255;
            they become uint8.
    """

    def __init__(self, keys: List[str]) -> None:
        self.keys = keys

    def transform(self, results: dict) -> dict:
        """Round what the keys hold."""
        for key in self.keys:
            results[key] = [
                frame if frame.dtype == np.uint8 else np.clip(
                    np.rint(frame), 0, 255).astype(np.uint8)
                for frame in results[key]
            ]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys})'
