"""Describes a source of frames, with the exact time of each frame."""
import logging
import os.path as osp
from fractions import Fraction
from typing import Any, Dict, List, Optional, Tuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange

from dksan_mm.utils.faults import told
from dksan_mm.utils.log import print_log
from .clips import Clip, read_clip
from .folders import check_exists, list_frames
from .scanning import (Scan, count_broken, first_frame, scan_frames,
                       scan_packets)
from .source import (BT709, CURE, MATRICES, SMPTE170M, UNSPECIFIED, SourceInfo,
                     find_video_stream, open_video)

# Formats in which a seek leads to a key frame at or before the target.
_SEEKABLE = ('mov', 'matroska')
# side data of frames that is not passed on to encoders
_NOT_KEPT = ('A53_CC', 'AMBIENT_VIEWING_ENVIRONMENT', 'CONTENT_LIGHT_LEVEL',
             'DOVI_METADATA', 'DOVI_RPU_BUFFER', 'DYNAMIC_HDR_PLUS',
             'DYNAMIC_HDR_VIVID', 'ICC_PROFILE', 'MASTERING_DISPLAY_METADATA',
             'SPHERICAL', 'STEREO3D')
_LAYER = 'matroska_block_additional'
# frames per second; damaged files state more than this
_MOST_RATE = Fraction(10**6)
# Codecs with packets that hold no visible frame.
_FRAMELESS = ('vp8', 'mpeg4', 'msmpeg4', 'h263', 'flv')


@told('path')
def probe(path: str,
          rate: Fraction = Fraction(25),
          strict: bool = False,
          video_stream: Optional[int] = None,
          decode: bool = False) -> SourceInfo:
    """Return the description of a video file or a folder of frames.

    The frames of a video are counted from its packets, without decoding. Where
    packets do not tell (AVI, bare H.264, VP8, MPEG-4 part 2, interlaced H.264,
    pictures before the first key frame, frames at the same time, ...), the
    video is decoded once. The images of a folder are all read once.
    :func:`find_video_stream` chooses among several videos in a file. Damage is
    reported, and damaged frames are used as the decoder gives them; where the
    clock jumps, times are made to go on. The first frame of an AVI file counts
    as shown at the time of the first packet.

    Args:
        path (str): The file or folder.
        rate (Fraction): Frames per second of a folder.
        strict (bool): Whether to refuse damaged files.
        video_stream (int, optional): Number of the video among the streams.
        decode (bool): Whether to decode a video once in any case, so that
            damage which its packets do not show is known of before it is
            reached. Default: False.

    Raises:
        FileNotFoundError: There is nothing there.
        ValueError: There is no video or no frame; the file is damaged or ends
            early; times do not ascend; the video is transparent; frames of a
            folder differ in size, or a number is missing.
    """
    check_exists(path)
    if osp.isdir(path):
        return _probe_folder(path, Fraction(rate))
    index = find_video_stream(path, video_stream)
    packets = scan = scan_packets(path, index, strict)
    scan.first = first_frame(path, index) if scan.timed else None
    unsure = (
        scan.damaged or scan.jumps or scan.first is None
        or scan.first.pts != scan.times[0] or scan.codec.startswith(_FRAMELESS)
        or scan.codec == 'h264' and scan.first.interlaced_frame)
    if decode and not unsure:
        scan.damaged = count_broken(path, index, scan.times)
    if unsure or scan.damaged:
        scan = scan_frames(path, index)
        scan.damaged = max(scan.damaged, packets.damaged)
        scan.jumps = packets.jumps
    if scan.damaged and strict:
        raise ValueError(f'{path} must be undamaged (strict, --strict), found '
                         f'{scan.damaged} broken packets or frames; {CURE}')
    places = scan.damaged + len(scan.jumps)
    if places:
        print_log(
            f'{path} is damaged in {places} places: {scan.damaged} broken '
            f'packets or frames, {len(scan.jumps)} jumps of its clock; it is '
            'used as the decoder gives it (--strict refuses it)', 'current',
            logging.WARNING)
    if scan.first.interlaced_frame:
        print_log(
            f'{path} is interlaced: its two fields are read as one picture, '
            'with combing where things move; deinterlace it first', 'current',
            logging.WARNING)
    return _describe(path, scan, index, strict)


def _probe_folder(path: str, rate: Fraction) -> SourceInfo:
    if rate <= 0:
        raise ValueError(f'rate must be positive, got {rate}')
    names = list_frames(path)
    for image in read_clip(Clip(path)):  # it checks them
        height, width = image.shape[:2]
    return SourceInfo(
        path=path,
        kind='frames',
        width=width,
        height=height,
        num_frames=len(names),
        times=tuple(range(len(names))),
        last_duration=1,
        time_base=1 / rate,
        rate=rate,
        names=tuple(names))


def _describe(path: str, scan: Scan, index: int, strict: bool) -> SourceInfo:
    with open_video(path) as container:
        stream = container.streams[index]
        if _has_alpha_layer(path, stream):
            raise ValueError(f'{path} must be opaque, found an alpha layer; '
                             'draw it on a background first')
        start = Fraction(0)
        if container.format.flags & av.format.Flags.ts_discont.value:
            start = Fraction(container.start_time or 0, av.time_base)
        return SourceInfo(
            path=path,
            kind='video',
            num_frames=len(scan.times),
            times=tuple(scan.times),
            last_duration=scan.last_duration,
            time_base=stream.time_base,
            rate=_average_rate(stream, scan.times),
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            stream_index=stream.index,
            start=start,
            timed=scan.timed,
            damaged=scan.damaged,
            jumps=tuple(scan.jumps),
            strict=strict,
            seekable=scan.timed and not scan.damaged
            and container.format.name.startswith(_SEEKABLE),
            **_describe_frame(path, scan.first))


def _has_alpha_layer(path: str, stream: av.video.stream.VideoStream) -> bool:
    """Return whether a video is transparent anywhere, by the separate layer in
    which VP8 and VP9 store alpha. (Browsers announce this layer without
    writing it.)"""
    if not any(key.lower() == 'alpha_mode' and value == '1'
               for key, value in stream.metadata.items()):
        return False
    decoder = av.CodecContext.create(stream.name, 'r')
    with open_video(path) as container:
        for packet in container.demux(container.streams[stream.index]):
            if not packet.has_sidedata(_LAYER):
                continue
            # after 8 bytes that hold its number
            data = bytes(packet.get_sidedata(_LAYER))[8:]
            for frame in decoder.decode(av.Packet(data)):
                # coding losses are not transparency
                if frame.to_ndarray()[:frame.height, :frame.width].min() < 250:
                    return True
    return False


def _describe_frame(path: str, frame: av.VideoFrame) -> Dict[str, Any]:
    rotation, mirrored = _orientation(frame)
    return dict(
        width=frame.width,
        height=frame.height,
        bit_depth=10 if _depth(frame) > 8 else 8,
        color_range=_range(frame),
        colorspace=_matrix(path, frame),
        primaries=frame.color_primaries,
        trc=frame.color_trc,
        rotation=rotation,
        mirrored=mirrored,
        has_alpha=frame.format.name == 'pal8'
        or any(part.is_alpha for part in frame.format.components),
        side_data=tuple(
            sorted(data.type.name for data in frame.side_data
                   if data.type.name in _NOT_KEPT)))


def _depth(frame: av.VideoFrame) -> int:
    return max(part.bits for part in frame.format.components)


def _average_rate(stream: av.video.stream.VideoStream,
                  times: List[int]) -> Fraction:
    """Return the header's rate if it agrees with the frames' times, else the
    rate that these give."""
    stated = stream.average_rate
    if len(times) < 2:
        return stated or Fraction(25)
    found = (len(times) - 1) / ((times[-1] - times[0]) * stream.time_base)
    if stated and abs(stated / found - 1) < Fraction(1, 1000):
        return stated
    return simple_rate(found)


def simple_rate(rate: Fraction) -> Fraction:
    """Return the nearest rate with a small denominator, or one frame in such a
    number of seconds, within the range that FFmpeg takes."""
    rate = min(max(rate, 1 / _MOST_RATE), _MOST_RATE)
    if rate < 1:
        return 1 / (1 / rate).limit_denominator(1001)
    return rate.limit_denominator(1001)


def _range(frame: av.VideoFrame) -> int:
    """Return the range of the output's colours; an RGB source states none."""
    stated = None if frame.format.is_rgb else frame.color_range
    return stated or ColorRange.MPEG.value


def _matrix(path: str, frame: av.VideoFrame) -> int:
    """Return the matrix of a frame's colours, chosen as :class:`SourceInfo`
    says.

    Raises:
        ValueError: This matrix cannot be converted.
    """
    if frame.format.is_rgb:
        return BT709
    if frame.colorspace in MATRICES:
        return frame.colorspace
    if frame.colorspace not in (0, UNSPECIFIED, 3):  # RGB, ..., reserved
        raise ValueError(
            f"{path} must have a colour matrix of H.273's numbers "
            f'{sorted(MATRICES)}, found {frame.colorspace}; convert it to '
            'BT.709')
    large = frame.width >= 1280 or frame.height > 576
    return BT709 if large else SMPTE170M


def _orientation(frame: av.VideoFrame) -> Tuple[int, bool]:
    """Return the rotation in degrees, counter-clockwise, a multiple of 90, and
    whether the frame is mirrored afterwards."""
    side_data = frame.side_data.get(Type.DISPLAYMATRIX)
    if side_data is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].astype(float)
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b, -a if mirrored else a))
    return round(angle / 90) % 4 * 90, bool(mirrored)
