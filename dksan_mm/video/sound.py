"""Re-encodes a source's sound."""
import logging
from fractions import Fraction
from itertools import groupby
from typing import Iterable, Iterator, List, Tuple

import av

from dksan_mm.utils.log import print_log
from .clock import demux_others
from .source import SourceInfo, content_tags, describe_stream, open_video

# names and arguments
Filters = List[Tuple[str, str]]


def add_sound(container: av.container.OutputContainer,
              stream: av.audio.stream.AudioStream,
              encoder: str) -> av.audio.stream.AudioStream:
    """Add a stream to an output for the re-encoded sound of another stream."""
    coder = av.codec.Codec(encoder, 'w')
    context = stream.codec_context
    rates = coder.audio_rates
    rate = context.sample_rate
    if rates and rate not in rates:  # the next higher one, or the highest
        rate = min((r for r in rates if r >= rate), default=max(rates))
    sound = container.add_stream(encoder, rate=rate)
    sound.codec_context.layout = _layout(context.layout)
    deep = context.format is not None and context.format.bytes > 2
    formats = [form.name for form in coder.audio_formats]
    sound.codec_context.format = formats[-1] if deep else formats[0]
    if encoder != 'flac':
        channels = context.layout.nb_channels
        sound.codec_context.bit_rate = 96000 * max(1, channels)
    sound.metadata.update(content_tags(stream))
    sound.disposition = stream.disposition
    return sound


def _layout(layout: av.AudioLayout) -> av.AudioLayout:
    """Return the usual layout for the number of channels if none is stated."""
    usual = ('mono', 'stereo', '2.1', '4.0', '5.0', '5.1', '6.1', '7.1')
    if not layout.name.endswith('channels'):
        return layout
    return av.AudioLayout(usual[min(layout.nb_channels, len(usual)) - 1])


def encode_packets(info: SourceInfo, number: int,
                   sound: av.audio.stream.AudioStream) -> Iterator[av.Packet]:
    """Yield the packets of a source's sound, re-encoded for ``sound``; gaps
    are filled with silence, to keep it in time with the pictures."""
    context = sound.codec_context
    form = ('aformat', f'sample_fmts={context.format.name}:sample_rates='
            f'{context.sample_rate}:channel_layouts={context.layout.name}')
    with open_video(info.path) as source:
        frames = _decode_sound(source, source.streams[number], info)
        # the first filter makes them alike, the second sees all gaps
        alike = _filter(frames, [form])
        for frame in _filter(alike, [('aresample', 'async=1'), form]):
            yield from sound.encode(frame)
    yield from sound.encode(None)


def _decode_sound(source: av.container.InputContainer,
                  stream: av.audio.stream.AudioStream,
                  info: SourceInfo) -> Iterator[av.AudioFrame]:
    """Yield the frames that begin in the restored part of a source, with times
    from its start."""
    broken = end = 0
    for packet in demux_others(source, [stream], info):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            if frame.pts is None:  # no known time: right after the one before
                frame.pts = end
            seconds = Fraction(frame.samples, frame.sample_rate)
            end = frame.pts + round(seconds / frame.time_base)
            if info.contains(frame.pts * frame.time_base):
                frame.pts -= round(info.start / frame.time_base)
                yield frame
    if broken:
        print_log(
            f'{broken} packets of {describe_stream(stream)} of {source.name} '
            'are damaged; there is silence in their place', 'current',
            logging.WARNING)


def _filter(frames: Iterable[av.AudioFrame],
            steps: Filters) -> Iterator[av.AudioFrame]:
    """Yield frames of sound after filters, which begin anew where the frames'
    rate, format or layout changes."""
    for _, alike in groupby(frames, _kind):
        graph = None
        for frame in alike:
            graph = graph or _graph(frame, steps)
            graph.push(frame)
            yield from _pull(graph)
        graph.push(None)
        yield from _pull(graph)


def _kind(frame: av.AudioFrame) -> tuple:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _graph(frame: av.AudioFrame, steps: Filters) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=_layout(frame.layout).name,
        time_base=frame.time_base)
    graph.link_nodes(source, *(graph.add(*step) for step in steps),
                     graph.add('abuffersink')).configure()
    return graph


def _pull(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
