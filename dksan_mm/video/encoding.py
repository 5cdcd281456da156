"""Encoding of frames: segments of a video."""
import itertools
import os
import os.path as osp
import threading
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import (BinaryIO, Callable, Iterable, Iterator, Optional, Tuple,
                    Union)

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from dksan_mm.utils.files import OutputError, output_error, remove, sync
from .options import EncoderOptions
from .reader import ACCURATE, rgb_format
from .source import MATRICES, TAG_ERRORS, SourceInfo, is_grey, local_name

# In the file of a segment, frame n has the time n * TICK: the time identifies
# the frame. The real times are set when segments are joined.
TICK = Fraction(1, 25)
# by how many frames decoding may precede showing: more than any encoder needs
_EARLY = 1000
# the threads of this process, on Linux
_THREADS = '/proc/self/task'
# a size that every encoder takes, if it takes the other options
_EASY_SIZE = (256, 256)


def check_encoder(info: SourceInfo, scale: int,
                  options: EncoderOptions) -> None:
    """Raise ValueError unless the encoder takes frames of this size and
    format; this opens the encoder to find out."""
    width, height = info.width * scale, info.height * scale
    error = _try_encoder(info, width, height, options)
    if error is None:
        return
    coder = f'{options.codec} in {options.pixel_format(info.bit_depth)}'
    if _try_encoder(info, *_EASY_SIZE, options) is not None:
        raise ValueError(
            f'the options of {coder} must be ones that its encoder accepts, '
            f'found: {error}; choose others of codec, preset, crf, pix_fmt '
            'or extra') from error
    raise ValueError(
        f'restored frames of {width}x{height} ({info.path}) must fit the '
        f'encoder of {coder}, found: {error}; choose another size (--height, '
        '--width), codec or pix_fmt (yuv444p for odd sizes), or write a '
        'folder of frames') from error


def _try_encoder(info: SourceInfo, width: int, height: int,
                 options: EncoderOptions) -> Optional[Exception]:
    """Return the reason why an encoder cannot be opened, None if it can."""
    try:
        with told_reasons(), create(os.devnull, 'matroska') as container:
            stream = add_video_stream(container, info, width, height, options)
            _open_encoder(container)
    except (av.error.FFmpegError, ValueError) as error:
        return error
    # the encoder removes the options that it knows
    unknown = sorted(stream.codec_context.options)
    if unknown:
        return ValueError(f'it has no option {", ".join(unknown)}')
    return None


def close_quietly(container: av.container.OutputContainer) -> None:
    """Close an output that was a trial, or that has failed already."""
    try:
        container.close()
    except (av.error.FFmpegError, OSError, ValueError):
        pass  # it was reported already


@contextmanager
def told_reasons() -> Iterator[None]:
    """Make PyAV's errors include FFmpeg's last log message."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture():
            yield
    finally:
        av.logging.set_level(level)


def create(path: Union[str, BinaryIO],
           name: str,
           any_sound: bool = False) -> av.container.OutputContainer:
    """Open an output of a format; its bytes depend neither on the date nor on
    FFmpeg's version. For a trial ``path`` is ``os.devnull``.

    ``any_sound`` is for Matroska, which can hold sound of any codec under the
    codec's WAV tag. PyAV refuses some of these codecs itself, so the output
    goes through FFmpeg's ``tee``, which passes everything on to Matroska but
    drops chapters.
    """
    if any_sound and name == 'matroska':
        place = local_name(path)
        for special in "\\'|":
            place = place.replace(special, f'\\{special}')
        path, name = f'[f=matroska]{place}', 'tee'
    elif isinstance(path, str):
        path = local_name(path)
    container = av.open(path, 'w', format=name, metadata_errors=TAG_ERRORS)
    container.flags |= av.container.Flags.bitexact.value
    return container


def add_video_stream(container: av.container.OutputContainer, info: SourceInfo,
                     width: int, height: int,
                     options: EncoderOptions) -> av.video.stream.VideoStream:
    """Add the restored video to an output, to be encoded."""
    encoder, settings = options.encoder(info.bit_depth)
    if encoder == 'libsvtav1':  # else it logs its progress to the terminal
        os.environ.setdefault('SVT_LOG', '1')
    pix_fmt = av.VideoFormat(options.pixel_format(info.bit_depth))
    # where swscale puts chroma; AV1 and VP9 have no name for this position
    if pix_fmt.chroma_height(2) < 2:
        settings.setdefault('chroma_sample_location', 'center')
    stream = container.add_stream(encoder, rate=info.rate, options=settings)
    stream.width, stream.height = width, height
    stream.pix_fmt = pix_fmt.name
    stream.sample_aspect_ratio = info.sample_aspect_ratio
    stream.thread_count = options.threads
    stream.thread_type = 'FRAME'  # libx264's slices would cost quality
    stream.color_range, stream.colorspace = output_colors(info, options)
    stream.color_primaries, stream.color_trc = info.primaries, info.trc
    return stream


def _open_encoder(container: av.container.OutputContainer) -> None:
    """Open the encoder, and leave all threads at the usual priority.

    Where the user is root, SVT-AV1 gives the thread that opens it, and its
    own threads, the highest real-time priority (SCHED_FIFO, 99). The network
    would then take the cores from everything else on the machine, and so
    would every process that is started later.
    """
    if not osp.isdir(_THREADS):
        container.start_encoding()
        return
    before = set(os.listdir(_THREADS)) - {str(threading.get_native_id())}
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        container.start_encoding()
    finally:
        for thread in set(os.listdir(_THREADS)) - before:
            try:
                os.sched_setscheduler(int(thread), *usual)
            except ProcessLookupError:
                pass  # it has ended


def output_colors(info: SourceInfo, options: EncoderOptions) -> tuple:
    """Return the range (AVColorRange) and matrix (H.273) of the output. They
    are the source's, except for RGB, and for grey, which swscale converts to
    full range."""
    pix_fmt = av.VideoFormat(options.pixel_format(info.bit_depth))
    if pix_fmt.is_rgb:
        return ColorRange.JPEG.value, 0
    if is_grey(pix_fmt):
        return ColorRange.JPEG.value, info.colorspace
    return info.color_range, info.colorspace


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Raise errors of the system or an encoder as a file's OutputError.
    """
    try:
        yield
    except OutputError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        raise output_error(
            path, error,
            'then go on with --resume: what is finished is kept') from error


def write_segment(path: str, frames: Iterable[np.ndarray], info: SourceInfo,
                  start: int, scale: int, options: EncoderOptions) -> int:
    """Encode a segment of a video as a closed group of pictures.

    Args:
        path (str): The segment's file, in Matroska format whatever its
            suffix. It is written as ``path.partial`` and renamed once it is
            complete.
        frames (Iterable[ndarray]): (scale * H, scale * W, 3) RGB, uint8, or
            uint16 with 0 to 1023 for a source of 10 bits.
        info (SourceInfo): The source.
        start (int): Number of the first frame in the video.
        scale (int): How many times larger the restored frames are.
        options (EncoderOptions): Codec and quality.

    Returns:
        int: Number of frames.

    Raises:
        ValueError: A frame has another size or type; there is no frame, or
            more than the source has.
        OutputError: The disk is full, the folder read-only, ...
    """
    partial = f'{path}.partial'
    size = info.width * scale, info.height * scale
    count, numbers = 0, itertools.count(-_EARLY)
    try:
        with ExitStack() as stack:
            with writing(path):
                os.makedirs(osp.dirname(path) or '.', exist_ok=True)
                container = create(partial, 'matroska')
                stack.callback(close_quietly, container)
                stream = add_video_stream(container, info, *size, options)
                _open_encoder(container)
            convert = _converter(path, info, size, options)
            for frame in frames:
                coded = convert(frame)
                coded.pts, coded.time_base = count, 1 / info.rate
                count += 1
                with writing(path):
                    _mux(stream, coded, numbers)
            if not 0 < count <= info.num_frames - start:
                raise ValueError(
                    f'{path} must hold 1 to {info.num_frames - start} frames '
                    f'of {info.path}, from number {start} on, got {count}')
            with writing(path):
                _mux(stream, None, numbers)
                container.close()
                sync(partial)
                os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise
    return count


def _converter(path: str, info: SourceInfo, size: Tuple[int, int],
               options: EncoderOptions) -> Callable:
    """Return a function that checks a frame, and converts it for the encoder.
    """
    pix_fmt = options.pixel_format(info.bit_depth)
    color_range, matrix = output_colors(info, options)
    dtype = np.uint8 if info.bit_depth == 8 else np.uint16
    shape = (*size[::-1], 3)
    reformatter = VideoReformatter()

    def convert(frame: np.ndarray) -> av.VideoFrame:
        if frame.shape != shape or frame.dtype != dtype:
            raise ValueError(
                f'frames of {path} must be {shape} {dtype.__name__}, got '
                f'{frame.shape} {frame.dtype}; give the scale that they have')
        source = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format=rgb_format(info.bit_depth))
        return reformatter.reformat(
            source,
            format=pix_fmt,
            dst_colorspace=MATRICES.get(matrix),
            dst_color_range=color_range,
            interpolation=ACCURATE,
            threads=1)

    return convert


def _mux(stream: av.video.stream.VideoStream, frame: Optional[av.VideoFrame],
         numbers: Iterator[int]) -> None:
    for packet in stream.encode(frame):
        packet.time_base = TICK
        # Matroska does not store it, and for one or two frames x265 leaves it
        # uninitialised
        packet.dts = next(numbers)
        packet.stream.container.mux(packet)
