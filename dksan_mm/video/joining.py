"""Joins a video's segments, together with the source's other streams."""
import heapq
import os
import os.path as osp
from contextlib import ExitStack
from typing import Iterator, List, Sequence, Tuple

import av

from dksan_mm.utils.files import remove, sync
from .encoding import (TICK, add_video_stream, check_encoder, close_quietly,
                       create, told_reasons, writing)
from .options import EncoderOptions
from .plan import Plan, find_lost_tags, plan_streams, short_reason
from .sound import encode_packets
from .source import SourceInfo, open_video
from .streams import (copy_packets, copy_streams, decoding_time, file_tags,
                      list_left_out, output_format, video_tags)


def check_container(info: SourceInfo, output: str, scale: int,
                    options: EncoderOptions) -> List[str]:
    """Check that the encoder takes the frames, and that the output's format
    (by its suffix) can hold them and everything copied from the source. All of
    the source's packets are tried.

    Args:
        info (SourceInfo): The source.
        output (str): Path of the output: .mp4, .m4v, .mov, .mkv, .webm or .ts.
            A .ts file cannot hold frames that are shown turned.
        scale (int): How many times larger the restored frames are.
        options (EncoderOptions): Codec, and streams to leave out.

    Returns:
        list[str]: A line for each thing that is not copied unchanged: streams
            left out as asked, data streams, attachments and cover pictures
            that the format cannot hold, re-encoded sound, corrected times,
            lost tags.

    Raises:
        ValueError: The format is unknown, or cannot hold the codec, turned
            frames or one of the streams; see :func:`check_encoder`.
    """
    check_encoder(info, scale, options)
    name = output_format(output)
    if name == 'mpegts' and (info.rotation or info.mirrored):
        raise ValueError(
            f'{output} must be of a format that tells players to turn frames, '
            f'as {info.path} does, found {name}; choose .mp4, .mov or .mkv')
    with ExitStack() as stack:
        stack.enter_context(told_reasons())
        # closing it without a frame may raise meaningless errors
        container = create(os.devnull, name)
        stack.callback(close_quietly, container)
        _try_codec(container, output, info, scale, options)
        left_out = []
        if info.kind == 'video':
            source = stack.enter_context(open_video(info.path))
            plan = plan_streams(info, name, options)
            if not plan.any_sound:  # else streams were tried one by one
                copy_streams(source, container, name, info, options,
                             plan.encoders)
            left_out = list_left_out(source, name, info, options) + plan.lines
            if plan.any_sound and source.chapters():
                left_out.append(
                    f'chapters of {info.path} are left out, as its sound has '
                    f'no name of its own in {name} (--audio aac keeps them)')
            tags = find_lost_tags(file_tags(source, info), name)
            if tags:
                left_out.append(f'tags of {info.path} are left out, as {name} '
                                f'holds none of these: {", ".join(tags)}')
            lost = {*info.side_data}
            tags = source.streams[info.stream_index].metadata
            if name == 'matroska' and 'stereo_mode' in tags:
                lost.discard('STEREO3D')  # the tag says it
            if lost:
                left_out.append(f'{", ".join(sorted(lost))} of the video of '
                                f'{info.path} is left out: it is not passed '
                                'on to encoders')
        _try_header(container, output)
        return left_out


def _try_codec(container: av.container.OutputContainer, output: str,
               info: SourceInfo, scale: int, options: EncoderOptions) -> None:
    try:
        add_video_stream(container, info, info.width * scale,
                         info.height * scale, options)
    except ValueError as error:
        raise ValueError(
            f'{output} must be of a format that can hold {options.codec}, '
            f'found: {error}; choose .mkv, or another codec') from error


def _try_header(container: av.container.OutputContainer, output: str) -> None:
    try:
        container.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(
            f'{output} must be of a format that can hold this video with all '
            f'its streams, found: {error}; choose .mkv, or leave some out '
            '(--leave-out, leave_out)') from error


def join_segments(paths: Sequence[str], info: SourceInfo, output: str,
                  scale: int, options: EncoderOptions) -> None:
    """Join the segments of a video, without re-encoding them, and add the rest
    of the source.

    Frames keep their times (Matroska rounds to milliseconds), and the video
    keeps its pixel aspect ratio, rotation, tags and language. Sound,
    subtitles, further videos, cover pictures, attachments (Matroska), chapters
    and the file's tags are copied; sound that is longer than the video is kept
    whole. :func:`check_container` lists what cannot be copied. Times of a
    transport stream are made to count from the beginning of the file; other
    times stay as they are.

    Args:
        paths (Sequence[str]): Files written by :func:`write_segment`, in
            order, covering all frames of the source.
        info (SourceInfo): The source.
        output (str): The result. It is written as ``output.partial`` and
            renamed once it is complete.
        scale (int): How many times larger the restored frames are.
        options (EncoderOptions): The options that the segments were encoded
            with.

    Raises:
        ValueError: A segment is damaged or has other settings, or there are
            more or fewer frames than in the source; see also
            :func:`check_container`.
        OutputError: The disk is full, the folder read-only, ...
    """
    delay = _check_segments(paths, info, scale)
    partial = f'{output}.partial'
    try:
        name = output_format(output)
        plan = (
            plan_streams(info, name, options)
            if info.kind == 'video' else Plan({}, [], False))
        with writing(output), told_reasons():
            with create(partial, name, plan.any_sound) as container:
                _join(paths, info, container, output, delay, options, plan)
            sync(partial)
            os.replace(partial, output)
    except BaseException:
        remove(partial)
        raise


def _join(paths: Sequence[str], info: SourceInfo,
          container: av.container.OutputContainer, output: str, delay: int,
          options: EncoderOptions, plan: Plan) -> None:
    name = output_format(output)
    with ExitStack() as stack:
        template = stack.enter_context(open_video(paths[0])).streams.video[0]
        video = _add_video(container, name, info, template)
        others: List[Iterator[av.Packet]] = []
        if info.kind == 'video':
            source = stack.enter_context(open_video(info.path))
            video.metadata.update(video_tags(source, info))
            pairs = copy_streams(source, container, name, info, options,
                                 plan.encoders)
            # the one that players choose
            video.disposition = (
                source.streams[info.stream_index].disposition
                | av.stream.Disposition.default)
            copied = [(stream, copy) for stream, copy in pairs
                      if stream.index not in plan.encoders]
            others = [copy_packets(source, info, copied, name, {})] + [
                encode_packets(info, stream.index, sound)
                for stream, sound in pairs if stream.index in plan.encoders
            ]
        with writing(output):
            container.start_encoding()
        packets = _video_packets(paths, info, video, delay)
        for packet in heapq.merge(packets, *others, key=decoding_time):
            with writing(output):
                _mux(container, packet, info)


def _mux(container: av.container.OutputContainer, packet: av.Packet,
         info: SourceInfo) -> None:
    number = packet.stream_index
    try:
        container.mux(packet)
    except ValueError as error:  # raised by the muxer, not by the disk
        name = container.format.name
        cure = ('--leave-out'
                if name == 'webm' else '--audio aac or --leave-out')
        raise ValueError(
            f'{name} must take all packets of {info.path}, found one of '
            f'stream {number} that it refuses: {short_reason(error)}; go on '
            f'with --resume and {cure}, or write .mkv: what is restored is '
            'kept') from error


def _add_video(
        container: av.container.OutputContainer, name: str, info: SourceInfo,
        template: av.video.stream.VideoStream) -> av.video.stream.VideoStream:
    video = container.add_stream_from_template(template, opaque=True)
    video.time_base = info.time_base
    video.sample_aspect_ratio = info.sample_aspect_ratio
    if info.rotation or info.mirrored:
        video.set_display_rotation(info.rotation, hflip=info.mirrored)
    if info.constant_rate:
        video.framerate = info.rate
    if name in ('mp4', 'mov') and template.name == 'hevc':
        video.codec_tag = 'hvc1'  # Apple's players accept no other tag
    return video


def _numbered(path: str) -> Iterator[Tuple[av.Packet, int]]:
    """Yield a segment's packets in file order, each with the number of its
    frame in the segment."""
    with open_video(path) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet, round(packet.pts * packet.time_base / TICK)


def count_frames(path: str) -> int:
    """Return the number of frames in a segment, 0 if it cannot be read."""
    try:
        return sum(1 for _ in _numbered(path)) if osp.exists(path) else 0
    except ValueError:
        return 0


def _check_segments(paths: Sequence[str], info: SourceInfo, scale: int) -> int:
    """Return by how many frames, at most, a frame is shown later than its
    place in the order of packets.

    Raises:
        ValueError: A segment is incomplete or has other settings, or frames
            are missing.
    """
    count, delay, expected = 0, 0, None
    for path in paths:
        try:
            with open_video(path) as container:
                stream = container.streams.video[0]
                found = (stream.name, stream.width, stream.height,
                         stream.codec_context.extradata)
        except ValueError as error:
            raise ValueError(
                f'{path} must be whole, found: {error.__cause__ or error}; '
                'remove it, so that it is made anew') from error
        expected = expected or found
        size = (info.width * scale, info.height * scale)
        if found != expected or found[1:3] != size:
            raise ValueError(
                f'{path} must be encoded like {paths[0]}, {expected[0]} of '
                f'{size[0]}x{size[1]}, found {found[0]} of {found[1]}x'
                f'{found[2]} or other settings; remove it, so that it is '
                'made anew')
        numbers = [number for _, number in _numbered(path)]
        if sorted(numbers) != list(range(len(numbers))):
            raise ValueError(f'{path} must hold every frame once; remove it, '
                             'so that it is made anew')
        delay = max([delay] + [i - n for i, n in enumerate(numbers)])
        count += len(numbers)
    if count != info.num_frames:
        raise ValueError(
            f'the segments of {info.path} must hold its {info.num_frames} '
            f'frames, found {count}; remove those that are not whole')
    return delay


def _video_packets(paths: Sequence[str], info: SourceInfo,
                   video: av.video.stream.VideoStream,
                   delay: int) -> Iterator[av.Packet]:
    """Yield the packets of all segments, with their frames' times.

    Decoding times are the frames' times in order, shifted ``delay`` frames
    earlier: they ascend, and never come after the frame is shown.
    """
    shift = round(info.start / info.time_base)
    times = info.times
    step = max(1, round(1 / (info.rate * info.time_base)))
    index = start = 0
    for path in paths:
        for packet, number in _numbered(path):
            number += start
            before = index - delay
            packet.time_base = info.time_base
            packet.pts = times[number] - shift
            packet.dts = (times[before] if before >= 0 else times[0] +
                          before * step) - shift
            packet.duration = (
                times[number + 1] - times[number] if number +
                1 < len(times) else info.last_duration or step)
            packet.stream = video
            index += 1
            yield packet
        start = index
