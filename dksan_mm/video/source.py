"""The source of frames: a video file, or a folder of images."""
import errno
import math
import os.path as osp
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Dict, Iterator, List, Optional, Tuple, Union

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange

from dksan_mm.utils.faults import DAMAGED, cure_of, is_of_library
from dksan_mm.utils.log import print_log
from . import check_av

check_av()
CURE = DAMAGED


def _unknown_side_data(cls: type, value: int) -> Type:
    member = object.__new__(cls)
    member._name_, member._value_ = f'UNKNOWN_{value}', value
    return member


# Reading a frame's side data raises ValueError if PyAV has no name for one of
# its kinds (such as EXIF): name those kinds.
Type._missing_ = classmethod(_unknown_side_data)

# tags that are not UTF-8 are passed on unchanged
TAG_ERRORS = 'surrogateescape'

# AVColorSpace, ITU-T H.273's matrix coefficients
BT709, UNSPECIFIED, SMPTE170M = 1, 2, 6
# tags that describe a stream's coding, not its content
_CODED_TAGS = ('encoder', 'DURATION', 'BPS', 'NUMBER_OF_', '_STATISTICS_',
               'SOURCE_ID')
# swscale's numbers for the matrices that it converts
MATRICES = {BT709: 1, 4: 4, 5: 5, SMPTE170M: 5, 7: 7, 9: 9}


@dataclass(frozen=True)
class SourceInfo:
    """A source of frames, and what its restored copy must keep.

    A copy with another ``width`` (``dataclasses.replace``) describes an output
    of that width with the same sound and times, such as two pictures side by
    side.

    Args:
        path (str): The file or folder.
        kind (str): ``'video'`` or ``'frames'``.
        width (int): Coded width, before rotation, in pixels.
        height (int): Coded height, before rotation, in pixels.
        num_frames (int): Exact number of frames that are shown.
        times (tuple[int]): When each frame is shown, ascending, in units of
            ``time_base``, as stated in the file: the first need not be 0. For
            a folder: 0, 1, ...
        last_duration (int): How long the last frame is shown, in the same
            units.
        time_base (Fraction): Unit of times, in seconds.
        rate (Fraction): Frames per second, on average.
        bit_depth (int): Bits per channel of the frames as read, 8 or 10.
        color_range (int): Range of the output, by AVColorRange: 1 limited
            (also if the source states none or is RGB), 2 full.
        colorspace (int): Matrix of the output, by H.273. If the source states
            none, it is what players guess: BT.709 if the source is RGB, at
            least 1280 wide or higher than 576 rows, otherwise BT.601. The
            output must state it, since players would guess differently from
            its larger size.
        primaries (int): Colour primaries, by H.273.
        trc (int): Transfer characteristics, by H.273.
        sample_aspect_ratio (Fraction): Width of a pixel over its height.
        rotation (int): Frames are to be shown turned counter-clockwise by
            this many degrees, 0, 90, 180 or 270, ...
        mirrored (bool): ... and then mirrored, left to right.
        has_alpha (bool): Whether there is an alpha channel, or a palette that
            may have one; it must be opaque.
        side_data (tuple[str]): Names of the first frame's metadata that the
            output does not keep: static and dynamic HDR metadata, captions.
        stream_index (int): Number of the video among the file's streams.
        start (Fraction): Origin of the file's times, in seconds, for formats
            in which it is arbitrary (MPEG transport streams).
        timed (bool): Whether decoded frames carry the times, which identify
            them.
        seekable (bool): Whether reading can start in the middle of the file.
        names (tuple[str]): File names of a folder's frames.
        skip (int): For a part made by :func:`cut_source`: the number of frames
            in the file before it.
        span (tuple, optional): For such a part: where it begins and ends in
            the file, in seconds, as a Fraction; without a stated duration it
            ends at ``inf``, as sound may be longer than the pictures.
        damaged (int): Number of places where the file is damaged, as far as
            its packets show.
        jumps (tuple[tuple]): For each jump of the file's clock: where it is, a
            byte of the file, and the seconds added to all times after it, so
            that they go on evenly.
        strict (bool): Whether to refuse damage and changes of size.
    """
    path: str
    kind: str
    width: int
    height: int
    num_frames: int
    times: Tuple[int, ...]
    last_duration: int
    time_base: Fraction
    rate: Fraction
    bit_depth: int = 8
    color_range: int = ColorRange.MPEG
    colorspace: int = BT709
    primaries: int = UNSPECIFIED
    trc: int = UNSPECIFIED
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    mirrored: bool = False
    has_alpha: bool = False
    side_data: Tuple[str, ...] = ()
    stream_index: int = 0
    start: Fraction = Fraction(0)
    timed: bool = True
    seekable: bool = False
    names: Tuple[str, ...] = ()
    skip: int = 0
    span: Optional[Tuple[Fraction, Union[Fraction, float]]] = None
    damaged: int = 0
    jumps: Tuple[Tuple[int, Fraction], ...] = ()
    strict: bool = False

    @property
    def constant_rate(self) -> bool:
        """Return whether the frames come at a constant rate: each within half
        a frame, or the file's resolution, of its time at the average rate."""
        step = 1 / (self.rate * self.time_base)
        return all(
            abs(time - self.times[0] - index * step) <= max(1, step / 2)
            for index, time in enumerate(self.times))

    def contains(self, time: Fraction) -> bool:
        """Return whether a time in the file, in seconds, is in the span."""
        return self.span is None or self.span[0] <= time < self.span[1]

    def describe_frame(self, index: int) -> str:
        """Return a name of a frame for messages."""
        if self.kind == 'frames':
            return osp.join(self.path, self.names[index])
        return f'frame {index + self.skip} of {self.path}'


def cut_source(info: SourceInfo,
               start: Union[Fraction, float] = 0,
               duration: Union[Fraction, float, None] = None) -> SourceInfo:
    """Return the description of a part of a source.

    Args:
        info (SourceInfo): The whole source.
        start (Fraction or float): Seconds from its first frame. The part
            begins with the frame that is shown then. Default: 0.
        duration (Fraction or float, optional): Seconds. Default: to the end.

    Raises:
        ValueError: ``start`` is negative, or behind the last frame;
            ``duration`` is not above 0.
    """
    unit = info.time_base
    times = [time - info.times[0] for time in info.times]
    total = (times[-1] + (info.last_duration or 1)) * unit
    if not 0 <= start < total:
        raise ValueError(
            f'start (--start) must be from 0 to the length of {info.path}, '
            f'{float(total):.3f} s, got {float(start)}')
    if duration is not None and not duration > 0:
        raise ValueError('duration (--duration) must be above 0 s, got '
                         f'{float(duration)}')
    # rounded to the file's resolution: in Matroska, a millisecond
    first = bisect_right(times, round(Fraction(start) / unit)) - 1
    last = len(times)
    if duration is not None:
        end = round((Fraction(start) + Fraction(duration)) / unit)
        last = max(bisect_left(times, end), first + 1)
    whole = (*info.times, info.times[-1] + (info.last_duration or 1))
    begin, end = (whole[index] * unit for index in (first, last))
    if last == len(times):  # sound may go on
        end = math.inf if duration is None else max(
            end, info.times[0] * unit + Fraction(start) + Fraction(duration))
    return replace(
        info,
        times=info.times[first:last],
        num_frames=last - first,
        last_duration=(whole[last] - whole[last - 1]
                       if last < len(times) else info.last_duration),
        names=info.names[first:last],
        start=begin,
        skip=info.skip + first,
        span=(begin, end))


def full_scale(frame: np.ndarray) -> int:
    """Return the value of white: 255 for uint8, 1023 for uint16, 1 for
    float32. Black is 0.

    Raises:
        TypeError: The array has another dtype.
    """
    try:
        return {'uint8': 255, 'uint16': 1023, 'float32': 1}[frame.dtype.name]
    except KeyError:
        raise TypeError('frames must be uint8, uint16 with values from 0 to '
                        '1023, or float32 with values from 0 to 1, got '
                        f'{frame.dtype}; convert them') from None


def turn_upright(image: np.ndarray, info: SourceInfo) -> np.ndarray:
    """Return a source's image, (H, W, 3), as it is to be shown: rotated and
    mirrored."""
    if not info.rotation and not info.mirrored:
        return image
    image = np.rot90(image, info.rotation // 90)
    return np.ascontiguousarray(image[:, ::-1] if info.mirrored else image)


def local_name(path: str) -> str:
    """Return a path that FFmpeg takes for a file: it would read ``12:30.mp4``
    as a URL of protocol 12."""
    return osp.abspath(path)


@contextmanager
def open_video(path: str,
               **options: str) -> Iterator[av.container.InputContainer]:
    """Open a video file, with FFmpeg's ``options`` for its format.

    Raises:
        ValueError: The file is no video, or is damaged.
    """
    try:
        with av.open(
                local_name(path), options=options,
                metadata_errors=TAG_ERRORS) as file:
            yield file
    except (av.error.FFmpegError, IndexError, OverflowError) as error:
        if not is_of_library(error):
            raise
        raise ValueError(f'{path} must be a video that can be read, found: '
                         f'{_reason(path, error)}') from error


def _reason(path: str, error: Exception) -> str:
    """Return why a file cannot be read, and the cure."""
    if not osp.isfile(path):
        return f'{error}; {cure_of(error, CURE)}'
    with open(path, 'rb') as file:
        head = file.read(21)
    if head[:4] + head[8:16] == b'RIFFWEBPVP8X' and head[20] & 2:
        return ('an animated WebP, of which FFmpeg reads single pictures '
                'alone; convert it to a video or to a folder of PNGs first')
    if isinstance(error, IndexError):  # PyAV has no entry for it
        return f'a stream that begins within the file; {CURE}'
    if getattr(error, 'errno', None) == errno.ENOENT:
        return ('that it is a list of other files, which are not there; name '
                'the video itself')
    return f'{error}; {cure_of(error, CURE)}'


def set_decoder(stream: av.video.stream.VideoStream) -> None:
    """Prepare a stream for decoding. If it does not state where chroma is, the
    position usual in H.264 and most codecs is taken; ``strict`` keeps frames
    in order where H.264 does not state how many are reordered."""
    stream.codec_context.options = dict(
        chroma_sample_location='left', strict='1')


def is_grey(pix_fmt: av.VideoFormat) -> bool:
    """Return whether a pixel format has luma only."""
    return sum(not part.is_alpha for part in pix_fmt.components) == 1


def describe_stream(stream: av.stream.Stream) -> str:
    """Return a stream's number, kind and codec, for messages."""
    codec = getattr(stream, 'name', None) or 'unknown'
    return f'stream {stream.index} ({stream.type}, {codec})'


def content_tags(stream: av.stream.Stream) -> Dict[str, str]:
    """Return the tags of a stream that also apply to a copy of a part of it,
    or in another coding."""
    return {
        key: value
        for key, value in stream.metadata.items()
        if not key.startswith(_CODED_TAGS)
    }


def is_cover(stream: av.stream.Stream) -> bool:
    """Return whether a stream is a picture attached to the file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def find_video_stream(path: str, wanted: Optional[int] = None) -> int:
    """Return the stream number of a file's main video. Cover pictures are left
    out. Among several videos a moving one is preferred, then the file's
    default, then the longest, then the first.

    Args:
        path (str): The file.
        wanted (int, optional): The number of the stream to take.

    Raises:
        ValueError: There is no video, no decoder for it, or no video of that
            number.
    """
    with open_video(path) as container:
        numbers = [stream.index for stream in container.streams.video]
        if wanted is not None and wanted not in numbers:
            raise ValueError(
                f'video_stream (--video-stream) must be a video of {path}, '
                f'which are {numbers or "none"}, got {wanted}')
        streams = [
            stream for stream in container.streams.video if
            stream.index == wanted or wanted is None and not is_cover(stream)
        ]
        if not streams:
            raise ValueError(f'{path} must have a video stream, found none; '
                             'choose another file')
        stream = streams[0]
        if len(streams) > 1:
            stream = _choose_stream(container, streams)
        if stream.codec_context is None:
            if _has_encrypted_entry(path):
                raise encrypted(path, stream)
            raise ValueError(
                f'{path} must have a video that can be decoded, found stream '
                f'{stream.index} of an unknown codec; convert it to another')
        return stream.index


def encrypted(path: str, stream: av.stream.Stream) -> ValueError:
    """Return the error to raise for a stream that is encrypted."""
    return ValueError(
        f'{path} must not be encrypted, found {describe_stream(stream)} '
        'encrypted, as shops do for their players; use a file without copy '
        'protection')


def _has_encrypted_entry(path: str) -> bool:
    """Return whether an MP4 file's header announces an encrypted video."""
    with open(path, 'rb') as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], 'big'), head[4:]
            if size == 1:
                size = int.from_bytes(file.read(8), 'big') - 8
            if kind == b'moov':
                header = file.read(max(size - 8, 0))
                return any(entry in header for entry in (b'encv', b'drmi'))
            if size < 8:
                return False
            file.seek(size - 8, 1)
    return False


def _choose_stream(container: av.container.InputContainer,
                   streams: List[av.stream.Stream]) -> av.stream.Stream:
    counts = {stream.index: stream.frames for stream in streams}
    if not all(counts.values()):
        counts = dict.fromkeys(counts, 0)
        for packet in container.demux(streams):
            counts[packet.stream_index] += packet.size > 0
    most = max(counts.values())

    def rank(stream: av.stream.Stream) -> tuple:
        count = counts[stream.index]
        default = stream.disposition & av.stream.Disposition.default
        return (stream.codec_context is None, count <= 1, not default, count
                < 0.9 * most, stream.index)

    stream = min(streams, key=rank)
    print_log(
        f'{container.name} has several videos, streams {sorted(counts)}: '
        f'{stream.index} is taken (video_stream, --video-stream)', 'current')
    return stream
