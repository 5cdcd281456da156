"""Plans what to do with a source's other streams: copy each one, or re-encode
sound that the container cannot hold. A trial with the container decides."""
import os
from contextlib import ExitStack
from io import BytesIO
from typing import Dict, List, NamedTuple, Optional, Tuple

import av

from .encoding import close_quietly, create, told_reasons
from .options import EncoderOptions
from .source import (TAG_ERRORS, SourceInfo, describe_stream, encrypted,
                     open_video)
from .streams import Pairs, TimesMended, copy_packets, copy_stream, is_copied

# what can be asked for, and the formats that hold it
_ENCODERS = dict(
    aac=('mp4', 'mov', 'matroska', 'mpegts'), flac=('mp4', 'matroska'))


class Plan(NamedTuple):
    """How a source's streams get into an output.

    Attributes:
        encoders (dict[int, str]): The encoder of each sound stream that is not
            copied, by the stream's number.
        lines (list[str]): Lines that tell the user about it.
        any_sound (bool): Argument of :func:`~.video.encoding.create`.
    """
    encoders: Dict[int, str]
    lines: List[str]
    any_sound: bool


def plan_streams(info: SourceInfo, name: str, options: EncoderOptions) -> Plan:
    """Try to put a source's streams, with all packets and times, into the
    container, and plan what to do with each.

    Args:
        info (SourceInfo): The source, a video.
        name (str): Format of the output.
        options (EncoderOptions): Streams to leave out, and what to do with
            sound.

    Raises:
        ValueError: The container cannot hold a stream that may not be
            re-encoded.
    """
    refused, mended, any_sound = _try_streams(info, name, options)
    encoders, lines = {}, []
    with open_video(info.path) as source:
        for stream in source.streams:
            what = f'{describe_stream(stream)} of {info.path}'
            if stream.index in mended:
                count, example = mended[stream.index]
                lines.append(
                    f'{what}: the times of {count} of its packets do not '
                    f'ascend, first at {example:.3f} s; each of these is '
                    'moved a tick after the one before')
            reason = refused.get(stream.index)
            wanted = options.audio in _ENCODERS and stream.type == 'audio'
            if not is_copied(stream, name, info, options):
                continue
            if reason is None and not wanted:
                continue
            encoders[stream.index] = coder = _choose(stream, what, name,
                                                     reason, options)
            why = 'as asked' if reason is None else (
                f'{name} cannot hold it as it is ({reason})')
            lines.append(f'{what} is encoded anew, as {coder}: {why}')
    return Plan(encoders, lines, any_sound)


def _choose(stream: av.stream.Stream, what: str, name: str,
            reason: Optional[str], options: EncoderOptions) -> str:
    """Return the encoder for a stream that is not copied."""
    cure = f'leave it out (--leave-out {stream.type}, leave_out)'
    usual = 'libopus' if name == 'webm' else 'aac'
    if stream.type != 'audio':
        raise ValueError(
            f'{what} must be one that {name} can hold, found: {reason}; '
            f'choose .mkv (or .mp4 for its own kinds), or {cure}')
    if options.audio == 'copy':
        raise ValueError(
            f'{what} must be one that {name} can hold, found: {reason}; '
            f'choose .mkv, leave out --audio (to encode it as {usual}), or '
            f'{cure}')
    if stream.codec_context is None:
        raise ValueError(f'{what} must be one that {name} can hold or that '
                         f'can be decoded, found neither; {cure}')
    if options.audio is not None:
        if name not in _ENCODERS[options.audio]:
            raise ValueError(
                f'audio (--audio) must be a coding that {name} can hold, got '
                f'{options.audio}; choose .mkv, or leave out --audio (to copy '
                f'sound, or else encode it as {usual})')
        return options.audio
    lossless = stream.codec_context.codec.lossless
    return 'flac' if lossless and name == 'matroska' else usual


def _try_streams(info: SourceInfo, name: str,
                 options: EncoderOptions) -> tuple:
    """Return, by the numbers of streams, why the container refuses one and
    where times need correction; and whether the codec of some sound has no
    name of its own in Matroska."""
    refused: Dict[int, str] = {}
    mended: TimesMended = {}
    any_sound = False
    with ExitStack() as stack:
        stack.enter_context(told_reasons())
        source = stack.enter_context(open_video(info.path))
        pairs: Pairs = []
        for stream in source.streams:
            if not is_copied(stream, name, info, options):
                continue
            try:
                copy, special = _try_stream(stack, stream, name)
                pairs.append((stream, copy))
                any_sound |= special
            except (av.error.FFmpegError, ValueError) as error:
                refused[stream.index] = short_reason(error)
        numbers = {id(copy): stream.index for stream, copy in pairs}
        for packet in copy_packets(source, info, pairs, name, mended):
            number = numbers[id(packet.stream)]
            if packet.has_sidedata('encryption_info'):
                raise encrypted(info.path, source.streams[number])
            if number in refused:
                continue
            try:
                packet.stream.container.mux(packet)
            except (av.error.FFmpegError, ValueError) as error:
                refused[number] = short_reason(error)
        for stream, copy in pairs:
            try:
                copy.container.close()
            except (av.error.FFmpegError, ValueError) as error:
                refused.setdefault(stream.index, short_reason(error))
    return refused, mended, any_sound


def _try_stream(stack: ExitStack, stream: av.stream.Stream,
                name: str) -> Tuple[av.stream.Stream, bool]:
    """Return a copy of a stream in a container of its own, and whether that
    container needed ``any_sound``."""
    special = False
    container = create(os.devnull, name)
    try:
        copy = copy_stream(container, name, stream)
    except ValueError:
        if name != 'matroska' or stream.type != 'audio':
            raise
        special, container = True, create(os.devnull, name, True)
        copy = copy_stream(container, name, stream)
    stack.callback(close_quietly, container)
    container.start_encoding()
    return copy, special


def find_lost_tags(tags: Dict[str, str], name: str) -> List[str]:
    """Return the tags that a format does not hold: those that are not found
    again after they were written to such a file."""
    if name in ('matroska', 'webm'):  # which hold any tag
        return []
    if not tags or name == 'mpegts':  # which holds no tag
        return sorted(tags)
    file = BytesIO()
    with create(file, name) as container:
        container.add_mux_stream('mpeg4', 25, width=16, height=16)
        container.metadata.update(tags)
        container.start_encoding()
    file.seek(0)
    with av.open(file, metadata_errors=TAG_ERRORS) as container:
        holders = (container, *container.streams)
        kept = {key.lower() for holder in holders for key in holder.metadata}
    return sorted(key for key in tags if key.lower() not in kept)


def short_reason(error: Exception) -> str:
    """Return FFmpeg's log message for an error, or else the error's own."""
    text = str(error.__cause__ or error)
    return text.split('last error log: ')[-1].strip()
