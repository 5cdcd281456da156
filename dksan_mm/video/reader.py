"""Reads a source's frames, starting anywhere."""
import logging
import os.path as osp
from itertools import dropwhile
from typing import Callable, Iterator, Optional, Set, Tuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from dksan_mm.utils.faults import telling
from dksan_mm.utils.log import print_log
from .clock import Clock
from .folders import read_image
from .scanning import decode_packet
from .source import (CURE, MATRICES, SourceInfo, full_scale, is_grey,
                     open_video, set_decoder)

# interpolates chroma between its samples, with the same bits on any CPU
ACCURATE = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP)
_THREADS = 2  # each holds a frame


def rgb_format(bit_depth: int) -> str:
    """Return PyAV's pixel format for arrays of 8-bit or 10-bit frames."""
    return 'rgb24' if bit_depth == 8 else 'gbrp10le'


def _go_on() -> None:
    pass


def read_frames(info: SourceInfo,
                start: int = 0,
                stop: Optional[int] = None,
                skipping: Callable[[], None] = _go_on) -> Iterator[np.ndarray]:
    """Yield a source's frames from ``start`` to before ``stop``, as coded (not
    turned), in display order.

    A frame has the same values wherever reading began. Only a few frames are
    in memory at a time. Sources of more than 10 bits are reduced to 10. An
    opaque alpha channel is dropped; the two fields of interlaced video stay in
    one frame. Damaged frames are used as the decoder gives them, with a
    warning if it reports the damage.

    Args:
        info (SourceInfo): The source.
        start (int): First frame, counted from 0. Default: 0.
        stop (int, optional): One past the last frame. Default: to the end.
        skipping (Callable): Called for each frame decoded before ``start``;
            may raise. Default: do nothing.

    Yields:
        ndarray: (H, W, 3) RGB, uint8, or uint16 with 0 to 1023 for a source
        of 10 bits.

    Raises:
        ValueError: A frame cannot be decoded, is transparent, has another size
            than the first, or has another time than ``info`` says.
    """
    stop = info.num_frames if stop is None else stop
    if not 0 <= start <= stop <= info.num_frames:
        raise ValueError(f'start and stop must be 0 <= start <= stop <= '
                         f'{info.num_frames}, got {start} and {stop}')
    if start == stop:
        return
    if info.kind == 'frames':
        yield from _read_images(info, start, stop)
    else:
        yield from _read_video(info, start, stop, skipping)


def _read_video(info: SourceInfo, start: int, stop: int,
                skipping: Callable[[], None]) -> Iterator[np.ndarray]:
    to_rgb = _ToRGB(info)
    frames = _frames_from(info, start, skipping)
    for index in range(start, stop):
        frame = next(frames, None)
        if frame is None or info.timed and frame.pts != info.times[index]:
            raise ValueError(
                f'{info.describe_frame(index)} must be there, as there is a '
                f'packet for it, but cannot be decoded; {CURE}')
        if frame.is_corrupt and info.strict:
            raise ValueError(f'{info.describe_frame(index)} must be undamaged '
                             f'(strict, --strict), found damage; {CURE}')
        if frame.is_corrupt:
            print_log(
                f'{info.describe_frame(index)} is damaged; it is used as the '
                'decoder gives it', 'current', logging.WARNING)
        with telling(info.path):
            image = to_rgb(frame, index)
        yield image


def _read_images(info: SourceInfo, start: int,
                 stop: int) -> Iterator[np.ndarray]:
    for index in range(start, stop):
        image = read_image(info.describe_frame(index))
        _check_size(info, index, image.shape[1], image.shape[0])
        yield image


def _check_size(info: SourceInfo, index: int, width: int, height: int) -> None:
    if (width, height) != (info.width, info.height):
        raise ValueError(
            f'{info.describe_frame(index)} must be as large as the first, '
            f'{info.width}x{info.height}, found {width}x{height}; split '
            f'{osp.basename(info.path)} there')


def _frames_from(info: SourceInfo, start: int,
                 skipping: Callable[[], None]) -> Iterator[av.VideoFrame]:
    """Return the frames from ``start`` on; decode from the beginning of the
    file if a seek does not lead exactly there."""
    if not info.timed:
        frames = _decode(info)
        for _ in range(info.skip + start):
            next(frames, None)
            skipping()
        return frames
    target = info.times[start]

    def is_before(frame: av.VideoFrame) -> bool:
        skipping()
        return frame.pts < target

    for sought in ([target]
                   if info.seekable and info.skip + start else []) + [None]:
        frames = dropwhile(is_before, _decode(info, sought))
        try:
            first = next(frames, None)
        except ValueError:
            if sought is None:
                raise
            continue  # the seek led to no key frame
        if first is not None and first.pts == target:
            break
    return _chain(first, frames)


def _chain(first: Optional[av.VideoFrame],
           rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    if first is not None:
        yield first
        del first  # else it stays in memory to the end
        yield from rest


def _decode(info: SourceInfo,
            sought: Optional[int] = None) -> Iterator[av.VideoFrame]:
    """Decode from a key frame at or before a time, or from the beginning;
    yield nothing if the seek led elsewhere."""
    with open_video(info.path) as container:
        stream, clock = container.streams[info.stream_index], Clock(container)
        stream.thread_type = 'AUTO'
        # with several threads, damaged frames decode differently each time
        stream.thread_count = 1 if info.damaged else _THREADS
        set_decoder(stream)
        if sought is not None:
            container.seek(sought, stream=stream)
        for packet in container.demux(stream):
            if sought is not None:
                if not packet.is_keyframe or packet.pts > sought:
                    return
                sought = None
            if packet.size:
                clock.mend(packet)
            for frame in decode_packet(packet):
                if frame is not None:
                    yield frame
                elif not info.damaged:
                    raise ValueError(f'{info.path} must be undamaged, found a '
                                     f'packet that cannot be decoded; {CURE}')


def _expand(image: np.ndarray) -> np.ndarray:
    """Return a grey image of limited range, which swscale mistakes for full
    range, expanded to full range."""
    white = full_scale(image)
    black, span = (16, 219) if white == 255 else (64, 876)
    levels = np.arange(white + 1)
    table = np.round((levels - black) * (white / span)).clip(0, white)
    return table.astype(image.dtype)[image]


class _ToRGB:
    """Converts decoded frames to RGB arrays, by each frame's matrix and range.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.format = rgb_format(info.bit_depth)
        self.reformatter = VideoReformatter()
        self.told: Set[Tuple[int, int]] = set()

    def __call__(self, frame: av.VideoFrame, index: int) -> np.ndarray:
        info = self.info
        if info.strict:
            _check_size(info, index, frame.width, frame.height)
        size = frame.width, frame.height
        if size != (info.width, info.height) and size not in self.told:
            self.told.add(size)
            print_log(
                f'{info.describe_frame(index)} is {size[0]}x{size[1]}, the '
                f'first is {info.width}x{info.height}: frames of this size '
                'are resized to that (--strict refuses them)', 'current',
                logging.WARNING)
        if self.info.has_alpha:
            self._check_opaque(frame, index)
        limited = is_grey(frame.format) and (frame.color_range
                                             == ColorRange.MPEG)
        matrix = None
        if not frame.format.is_rgb and frame.colorspace not in MATRICES:
            matrix = MATRICES[self.info.colorspace]
        frame = self.reformatter.reformat(
            frame,
            width=info.width,
            height=info.height,
            format=self.format,
            src_colorspace=matrix,
            interpolation=ACCURATE,
            threads=1)
        image = frame.to_ndarray()
        return _expand(image) if limited else image

    def _check_opaque(self, frame: av.VideoFrame, index: int) -> None:
        alpha = frame.reformat(format='rgba').to_ndarray()[..., 3].min()
        if alpha < 255:
            raise ValueError(
                f'{self.info.describe_frame(index)} must be opaque, found '
                f'alpha values down to {alpha}; draw it on a background '
                'first')
