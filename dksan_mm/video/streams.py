"""Copies what a source has beside its video: sound, subtitles, further videos,
cover pictures, attachments, chapters and tags."""
import math
import os.path as osp
from fractions import Fraction
from typing import Any, Dict, Iterator, List, Optional, Tuple

import av

from .clock import demux_others, shift_times
from .options import EncoderOptions
from .sound import add_sound
from .source import (SourceInfo, content_tags, describe_stream, is_cover,
                     open_video)

Pairs = List[Tuple[av.stream.Stream, av.stream.Stream]]
# by stream number: how many packets had their times corrected, and the time of
# the first one in seconds
TimesMended = Dict[int, Tuple[int, float]]
# formats that store the time of every frame
_FORMATS = {
    '.mp4': 'mp4',
    '.m4v': 'mp4',
    '.mov': 'mov',
    '.mkv': 'matroska',
    '.webm': 'webm',
    '.ts': 'mpegts',
}
_TS_SOUND = ('aac', 'aac_latm', 'ac3', 'dca', 'eac3', 'mp2', 'mp3', 'mp3float',
             'opus', 'truehd')
# transfer characteristics by H.273: PQ and HLG
_HDR = (16, 18)
# tags that describe the source's file, not its content
_FILE_TAGS = ('major_brand', 'minor_version', 'compatible_brands', 'encoder',
              'software')


def output_format(output: str) -> str:
    """Return FFmpeg's name for an output's format, by its suffix.

    Raises:
        ValueError: There is no suffix, or its format cannot store the time of
            every frame.
    """
    suffix = osp.splitext(output)[1].lower()
    if suffix not in _FORMATS:
        raise ValueError(
            f'{output} must end in {", ".join(_FORMATS)}, formats that hold '
            f'the time of every frame, found {suffix!r}; choose one of them')
    return _FORMATS[suffix]


OUTPUT_SUFFIXES = tuple(_FORMATS)


def _why_left_out(stream: av.stream.Stream, name: str, info: SourceInfo,
                  options: EncoderOptions) -> Optional[str]:
    """Return the reason why a stream is not copied, None if it is."""
    if stream.type in options.leave_out or (stream.type == 'audio'
                                            and options.audio == 'none'):
        return 'as asked'
    if info.span is not None and stream.type == 'video' and not is_cover(
            stream):
        return 'of a part of a video its first stream alone is kept'
    if stream.type in ('data', 'unknown'):
        return 'telemetry and other data are not copied'
    if stream.type == 'attachment' and name != 'matroska':
        return f'{name} holds no attachments'
    if is_cover(stream) and name not in ('mp4', 'mov', 'matroska'):
        return f'{name} holds no cover pictures'
    return None


def _left_out(stream: av.stream.Stream, info: SourceInfo, reason: str) -> str:
    return f'{describe_stream(stream)} of {info.path} is left out: {reason}'


def list_left_out_of_folder(info: SourceInfo) -> List[str]:
    """Return lines on what a folder of frames cannot keep."""
    reason = 'a folder holds pictures alone'
    with open_video(info.path) as source:
        lines = [
            _left_out(stream, info, reason) for stream in source.streams
            if stream.index != info.stream_index
        ]
        facts = {
            'chapters': source.chapters(),
            'tags': file_tags(source, info),
            'frame times': not info.constant_rate,
            'pixel aspect ratio': info.sample_aspect_ratio != 1,
            'transfer characteristics': info.trc in _HDR,
            **dict.fromkeys(info.side_data, True)
        }
    lost = ', '.join(name for name in facts if facts[name])
    if lost:
        lines.append(f'{lost} of {info.path} are left out: {reason}')
    return lines


def _is_kept_otherwise(source: av.container.InputContainer,
                       stream: av.stream.Stream, info: SourceInfo) -> bool:
    """Return whether a data stream's content is kept another way: as chapters,
    or as the time code in the video's tags, from which MP4 and MOV create a
    new one.
    """
    if stream.type != 'data':
        return False
    code = stream.metadata.get('timecode')
    tags = source.streams[info.stream_index].metadata
    return bool(source.chapters()) if stream.name == 'bin_data' else (
        code is not None and code == tags.get('timecode'))


def list_left_out(source: av.container.InputContainer, name: str,
                  info: SourceInfo, options: EncoderOptions) -> List[str]:
    """Return a line for each stream that is not copied to a format, with the
    reason."""
    reasons = [(stream, _why_left_out(stream, name, info, options))
               for stream in source.streams
               if stream.index != info.stream_index
               and not _is_kept_otherwise(source, stream, info)]
    lines = [
        _left_out(stream, info, reason) for stream, reason in reasons if reason
    ]
    if name == 'mpegts' and source.chapters():
        lines.append(f'chapters of {info.path} are left out: {name} holds '
                     'none')
    video = source.streams[info.stream_index]
    if info.skip and 'timecode' in map(str.lower, video.metadata):
        lines.append(f'the time code of {info.path} is left out: it is that '
                     'of the first frame, with which the part does not begin')
    return lines


def is_copied(stream: av.stream.Stream, name: str, info: SourceInfo,
              options: EncoderOptions) -> bool:
    """Return whether a source's stream is copied to an output packet by
    packet."""
    return (stream.index != info.stream_index and stream.type != 'attachment'
            and not _why_left_out(stream, name, info, options)
            and not (is_cover(stream) and name == 'matroska'))


def copy_streams(source: av.container.InputContainer,
                 container: av.container.OutputContainer, name: str,
                 info: SourceInfo, options: EncoderOptions,
                 encoders: Dict[int, str]) -> Pairs:
    """Add a source's streams, chapters and tags to an output; return pairs of
    streams, of the source and of the output. Streams whose number is in
    ``encoders`` are re-encoded; packets of the others are to be copied.

    Raises:
        ValueError: The format cannot hold a stream.
    """
    pairs = []
    for stream in source.streams:
        if stream.index == info.stream_index or _why_left_out(
                stream, name, info, options):
            continue
        if stream.index in encoders:
            pairs.append(
                (stream, add_sound(container, stream, encoders[stream.index])))
        elif is_copied(stream, name, info, options):
            pairs.append((stream, copy_stream(container, name, stream)))
        elif is_cover(stream):
            _attach_cover(container, info, stream)
        else:  # an attachment, which has no packets
            copy_stream(container, name, stream)
    container.set_chapters(_chapters(source, info))
    container.metadata.update(file_tags(source, info))
    return pairs


def file_tags(source: av.container.InputContainer,
              info: SourceInfo) -> Dict[str, str]:
    """Return the tags of a source that also apply to its copy."""
    return {
        key: value
        for key, value in source.metadata.items()
        if key.lower() not in _FILE_TAGS and _holds(key, info)
    }


def _holds(key: str, info: SourceInfo) -> bool:
    """Return whether a tag holds for the restored part of a source: a time
    code is that of the first frame."""
    return not info.skip or key.lower() != 'timecode'


def _chapters(source: av.container.InputContainer,
              info: SourceInfo) -> List[Dict[str, Any]]:
    """Return the chapters of the restored part of a source."""
    chapters = source.chapters()
    if info.span is None:
        return chapters
    begin, end = info.span
    inside = []
    for chapter in chapters:
        unit = chapter['time_base']
        first = max(chapter['start'] * unit, begin)
        last = min(chapter['end'] * unit, end)
        if first < last:
            inside.append({
                **chapter, 'start': round((first - begin) / unit),
                'end': round((last - begin) / unit)
            })
    return inside


def copy_stream(container: av.container.OutputContainer, name: str,
                stream: av.stream.Stream) -> av.stream.Stream:
    """Add a stream with another one's parameters to an output.

    Raises:
        ValueError: The format cannot hold this stream.
    """
    if name == 'mpegts' and stream.type == 'subtitle' and (
            not stream.name.startswith('dvb')):
        raise ValueError('its subtitles are dvb_subtitle and dvb_teletext')
    if name == 'mpegts' and stream.type == 'audio' and (
            stream.name not in _TS_SOUND):  # players cannot read those
        raise ValueError(f'its sound is one of {", ".join(_TS_SOUND)}')
    copy = container.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(content_tags(stream))
    copy.disposition = stream.disposition
    if stream.type == 'video':  # the restored one is the default
        copy.disposition &= ~av.stream.Disposition.default
    return copy


def _attach_cover(container: av.container.OutputContainer, info: SourceInfo,
                  stream: av.video.stream.VideoStream) -> None:
    """Add a cover picture as an attachment, as is usual in Matroska."""
    kind = dict(mjpeg='jpeg').get(stream.name, stream.name)
    file_name = stream.metadata.get('filename', f'cover.{kind}')
    with open_video(info.path) as again:
        data = next(again.demux(again.streams[stream.index]))
        container.add_attachment(file_name, f'image/{kind}', bytes(data))


def video_tags(source: av.container.InputContainer,
               info: SourceInfo) -> Dict[str, str]:
    """Return the tags of the source's video that also apply to its copy."""
    tags = content_tags(source.streams[info.stream_index])
    return {key: value for key, value in tags.items() if _holds(key, info)}


def _is_gap(packet: av.Packet) -> bool:
    """Return whether a packet is the empty text between two MP4 subtitles,
    which the writer adds by itself."""
    return packet.stream.name == 'mov_text' and bytes(packet) == b'\0\0'


def _is_inside(packet: av.Packet, info: SourceInfo) -> bool:
    """Return whether a packet begins within the restored part of a source."""
    time = packet.dts if packet.pts is None else packet.pts
    return is_cover(packet.stream) or info.contains(time * packet.time_base)


def copy_packets(source: av.container.InputContainer, info: SourceInfo,
                 pairs: Pairs, name: str,
                 mended: TimesMended) -> Iterator[av.Packet]:
    """Yield the packets of a source's other streams, unchanged, for the copies
    of these streams, whose headers must be written already. A packet whose
    time does not follow the one before, which few containers accept, is moved
    a tick after it and noted in ``mended``.

    Packets that an MP4 file's edit list cuts off (such as the priming of its
    sound) are copied only to MP4 and MOV: elsewhere they would be heard and
    delay everything. For a part of a source, the packets that begin in it are
    copied.
    """
    if not pairs:
        return
    copies = {stream.index: copy for stream, copy in pairs}
    into_mp4 = name in ('mp4', 'mov')
    clocks = {stream.index: _Clock(copy) for stream, copy in pairs}
    for packet in demux_others(source, [stream for stream, _ in pairs], info):
        unknown = packet.dts is None and packet.pts is None
        if unknown and not packet.size:  # the end of the file
            continue
        if unknown:
            # a cover picture, or no known time: right after the one before
            packet.pts = packet.dts = clocks[packet.stream_index].next(packet)
        elif not _is_inside(packet, info):
            continue
        elif not is_cover(packet.stream):
            shift_times(packet, -info.start)
        if into_mp4:
            if _is_gap(packet):
                continue
        elif packet.is_discard:  # cut off by MP4's edit list
            continue
        number, time = packet.stream_index, float(decoding_time(packet))
        packet.stream = copies[number]
        if clocks[number].set(packet):
            count, first = mended.get(number, (0, time))
            mended[number] = count + 1, first
        yield packet


def decoding_time(packet: av.Packet) -> Fraction:
    """Return when a packet is decoded, or else shown, in seconds."""
    time = packet.pts if packet.dts is None else packet.dts
    return time * packet.time_base


class _Clock:
    """Makes the times of a stream's packets ascend."""

    def __init__(self, copy: av.stream.Stream) -> None:
        self._copy = copy
        may_equal = (
            copy.container.format.flags & av.format.Flags.ts_nonstrict.value)
        self._step = 0 if may_equal else 1  # ticks
        self._last: Optional[int] = None  # in ticks of the copy
        self._end: Optional[Fraction] = None  # of the last packet, seconds

    def next(self, packet: av.Packet) -> int:
        """Return the end of the last packet, in a packet's ticks; 0 at first.
        """
        return round((self._end or 0) / packet.time_base)

    def set(self, packet: av.Packet) -> bool:
        """Move a packet after the one before; return whether that was needed.
        """
        base, tick = packet.time_base, self._copy.time_base
        if packet.dts is None:
            packet.dts = packet.pts
        self._end = (packet.dts + (packet.duration or 0)) * base
        ticks = math.floor(packet.dts * base / tick + Fraction(1, 2))
        late = self._last is not None and ticks < self._last + self._step
        if late:
            ticks = self._last + self._step
            shown = (packet.dts if packet.pts is None else packet.pts) * base
            packet.time_base = tick
            packet.dts = ticks
            packet.pts = max(ticks, round(shown / tick))
        elif packet.pts is not None and packet.pts < packet.dts:
            packet.pts = packet.dts
            late = True
        self._last = ticks
        return late
