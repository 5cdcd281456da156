"""What a source of frames is: a video file, or a folder of frames."""
import os.path as osp
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Iterator, Tuple

import av
import numpy as np
from av.video.reformatter import ColorRange

CURE = 'copy or convert the file again'

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
        return f'frame {index} of {self.path}'


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
    except av.error.FFmpegError as error:
        raise ValueError(f'{path} must be a video that can be read, found: '
                         f'{error}; {CURE}') from error


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


def find_video_stream(
        container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """Return the first video stream that is not a cover picture.

    Raises:
        ValueError: There is none, or no decoder for it.
    """
    for stream in container.streams.video:
        if is_cover(stream):
            continue
        if stream.codec_context is None:
            raise ValueError(
                f'{container.name} must have a video that can be decoded, '
                f'found stream {stream.index} of an unknown codec; convert '
                'it to another')
        return stream
    raise ValueError(f'{container.name} must have a video stream, found none; '
                     'choose another file')
