"""What a source of frames is: a video file, or a folder of frames."""
import errno
import os.path as osp
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Iterator, List, Optional, Tuple, Union

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange

from dksan_mm.utils.faults import DAMAGED, cure_of, is_of_library
from dksan_mm.utils.log import print_log

CURE = DAMAGED

# seconds that a clock may leave out and still be the same clock
_GAP = 10


def _unknown_side_data(cls: type, value: int) -> Type:
    member = object.__new__(cls)
    member._name_, member._value_ = f'UNKNOWN_{value}', value
    return member


# A frame has all its side data or, where PyAV has no name for one of them
# (such as EXIF), a ValueError for all: give those names.
Type._missing_ = classmethod(_unknown_side_data)

# tags in another encoding than UTF-8 are passed on as they are
TAG_ERRORS = 'surrogateescape'

# AVColorSpace, ITU-T H.273's matrix coefficients
BT709, UNSPECIFIED, SMPTE170M = 1, 2, 6
# swscale's numbers of those that it converts
MATRICES = {BT709: 1, 4: 4, 5: 5, SMPTE170M: 5, 7: 7, 9: 9}


@dataclass(frozen=True)
class SourceInfo:
    """A source of frames, and what its restored copy must keep.

    A copy with another ``width`` (``dataclasses.replace``) describes an
    output of another width over the same sound and times, such as two
    pictures side by side.

    Args:
        path (str): The file or folder.
        kind (str): ``'video'`` or ``'frames'``.
        width (int): As coded, before turning, in pixels.
        height (int): As coded, in pixels.
        num_frames (int): Number of frames that are shown, exactly.
        times (tuple[int]): When each is shown, ascending, in ``time_base``;
            as the file says, wherever it begins. Frames: 0, 1, ...
        last_duration (int): How long the last one is shown.
        time_base (Fraction): Seconds.
        rate (Fraction): Frames per second, on average.
        bit_depth (int): Of the frames that are read, 8 or 10.
        pix_fmt (str): As coded.
        color_range (int): Of the output, by AVColorRange: 1 limited (also
            where the source states none, or is RGB), 2 full.
        colorspace (int): Matrix of the output, by H.273. Where the source
            states none, BT.709 if it is at least 1280 wide or higher than 576
            rows, or RGB, otherwise BT.601, as players guess; it must be
            stated then, since from the larger output they would guess
            otherwise.
        primaries (int): By H.273.
        trc (int): Transfer characteristics, by H.273.
        sample_aspect_ratio (Fraction): Width of a pixel over its height.
        rotation (int): Frames are to be shown turned counter-clockwise by
            this many degrees, 0, 90, 180 or 270, ...
        mirrored (bool): ... and then mirrored, left to right.
        has_alpha (bool): There is an alpha channel, or a palette, which may
            have one; it must be opaque.
        interlaced (bool): Frames are two fields each; they are read as whole.
        side_data (tuple[str]): Names of what the first frame carries and a
            copy does not get: HDR's static and dynamic metadata, captions.
        stream_index (int): Of the video among the file's streams.
        start (Fraction): Seconds that all times in the file count from, where
            its format counts from anything (MPEG transport streams).
        timed (bool): Decoded frames carry the times, by which they can be
            told.
        seekable (bool): Frames need not be read from the beginning on.
        names (tuple[str]): Of a folder's frames.
        skip (int): Frames of the file before the first of these, of a part
            that :func:`cut_source` describes.
        span (tuple[Fraction], optional): Of such a part: the seconds in the
            file at which it begins and ends.
        damaged (int): Places where the file is damaged, as far as its packets
            tell.
        jumps (tuple[Fraction]): Where the file's clock jumps, what is added
            to the times from there on, in seconds, so that they go on.
        strict (bool): What is damaged or changes its size is refused.
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
    pix_fmt: str = 'rgb24'
    color_range: int = ColorRange.MPEG
    colorspace: int = BT709
    primaries: int = UNSPECIFIED
    trc: int = UNSPECIFIED
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    mirrored: bool = False
    has_alpha: bool = False
    interlaced: bool = False
    side_data: Tuple[str, ...] = ()
    stream_index: int = 0
    start: Fraction = Fraction(0)
    timed: bool = True
    seekable: bool = False
    names: Tuple[str, ...] = ()
    skip: int = 0
    span: Optional[Tuple[Fraction, Fraction]] = None
    damaged: int = 0
    jumps: Tuple[Fraction, ...] = ()
    strict: bool = False

    @property
    def constant_rate(self) -> bool:
        """Return whether every frame comes at the average rate, to half a
        frame's time in all and to the file's resolution."""
        step = 1 / (self.rate * self.time_base)
        return all(
            abs(time - self.times[0] - index * step) <= max(1, step / 2)
            for index, time in enumerate(self.times))

    def describe_frame(self, index: int) -> str:
        """Return a frame's name, for messages."""
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
    # to the file's resolution: Matroska's is a millisecond
    first = bisect_right(times, round(Fraction(start) / unit)) - 1
    last = len(times)
    if duration is not None:
        end = round((Fraction(start) + Fraction(duration)) / unit)
        last = max(bisect_left(times, end), first + 1)
    whole = (*info.times, info.times[-1] + (info.last_duration or 1))
    begin, end = (whole[index] * unit for index in (first, last))
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
    """Return an image (H, W, 3) of a source as it is to be shown: turned by
    quarters and mirrored."""
    if not info.rotation and not info.mirrored:
        return image
    image = np.rot90(image, info.rotation // 90)
    return np.ascontiguousarray(image[:, ::-1] if info.mirrored else image)


def local_name(path: str) -> str:
    """Return a file's name as FFmpeg takes it for one: ``12:30.mp4`` would be
    of a protocol 12."""
    return osp.abspath(path)


@contextmanager
def open_video(path: str,
               **options: str) -> Iterator[av.container.InputContainer]:
    """Open a video file, by FFmpeg's ``options`` of its format; what cannot
    be read is a ValueError.

    Raises:
        ValueError: It is no such file, or is damaged.
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
    """Return why a file cannot be read, and what to do."""
    if not osp.isfile(path):
        return f'{error}; {cure_of(error, CURE)}'
    with open(path, 'rb') as file:
        head = file.read(21)
    if head[:4] + head[8:16] == b'RIFFWEBPVP8X' and head[20] & 2:
        return ('an animated WebP, of which FFmpeg reads single pictures '
                'alone; convert it to a video or to a folder of PNGs first')
    if isinstance(error, IndexError):  # PyAV does not know it
        return f'a stream that begins within the file; {CURE}'
    if getattr(error, 'errno', None) == errno.ENOENT:
        return ('that it is a list of other files, which are not there; name '
                'the video itself')
    return f'{error}; {cure_of(error, CURE)}'


def set_decoder(stream: av.video.stream.VideoStream) -> None:
    """Prepare a stream to be decoded: chroma is where H.264 and most others
    have it if the stream does not tell; ``strict`` keeps frames in order where
    H.264 does not tell how far they are out of it."""
    stream.codec_context.options = dict(
        chroma_sample_location='left', strict='1')


def is_grey(pix_fmt: av.VideoFormat) -> bool:
    """Return whether a pixel format has luma alone."""
    return sum(not part.is_alpha for part in pix_fmt.components) == 1


def describe_stream(stream: av.stream.Stream) -> str:
    """Return a stream's number, kind and codec, for messages."""
    codec = getattr(stream, 'name', None) or 'unknown'
    return f'stream {stream.index} ({stream.type}, {codec})'


def is_cover(stream: av.stream.Stream) -> bool:
    """Return whether a stream is a picture attached to the file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def find_video_stream(path: str, wanted: Optional[int] = None) -> int:
    """Return the number, among a file's streams, of the video that is meant:
    no cover picture; of several no still picture, the one that the file says
    is the default, and the longest, or else the first.

    Args:
        path (str): The file.
        wanted (int, optional): Number to take instead.

    Raises:
        ValueError: There is none, no decoder for it, or none of that number.
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
    """Return whether the header of an MP4 file tells of a video that is
    encrypted."""
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


class Clock:
    """Lets the times of a stream's packets go on where the clock of its file
    jumps, as in transport streams that are joined.

    Args:
        container (InputContainer): The file.
        jumps (Sequence[Fraction]): Those of the video, for other streams to
            stay in time with it.

    Attributes:
        jumps (list[Fraction]): What is added to the times from each jump on,
            seconds.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        jumps: Tuple[Fraction, ...] = ()
    ) -> None:
        flags = container.format.flags
        self.jumps: List[Fraction] = []
        # Matroska has no decoding times; FFmpeg guesses
        self._works = not container.format.name.startswith('matroska')
        self._gaps = bool(flags & av.format.Flags.ts_discont.value)
        self._known = list(jumps)
        self._last: Optional[Fraction] = None
        self._step = Fraction(0)

    def mend(self, packet: av.Packet) -> None:
        """Give the next packet the time at which it goes on."""
        time = packet.pts if packet.dts is None else packet.dts
        if time is None or not self._works:
            return
        base = packet.time_base
        stated = time * base
        now = stated + (self.jumps[-1] if self.jumps else 0)
        if self._last is not None and (now < self._last or self._gaps
                                       and now > self._last + _GAP):
            self.jumps.append(self._next(stated))
            now = stated + self.jumps[-1]
        elif self._last is not None and now > self._last:
            self._step = now - self._last
        self._last = now
        if self.jumps:
            shift = round(self.jumps[-1] / base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift

    def _next(self, stated: Fraction) -> Fraction:
        """Return what to add: what the video adds, if that goes on here."""
        while self._known:
            jump = self._known.pop(0)
            if 0 <= stated + jump - self._last < 2:
                return jump
        return self._last + self._step - stated
