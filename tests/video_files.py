"""Videos with sound, subtitles, chapters and odd clocks, for the tests."""
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from raw_material import make_frames

from dksan_mm.video.encoding import write_segment
from dksan_mm.video.joining import check_container, join_segments
from dksan_mm.video.options import EncoderOptions
from dksan_mm.video.probing import probe
from dksan_mm.video.reader import read_frames

MS = Fraction(1, 1000)
AUDIO_RATE = 16000


@dataclass
class Video:
    """What :func:`write_clip` writes; by default bit-exact H.264."""
    frames: np.ndarray = field(
        default_factory=lambda: make_frames(9, (34, 50)))
    codec: str = 'libx264rgb'
    pix_fmt: str = 'rgb24'
    options: dict = field(default_factory=lambda: dict(
        qp='0', preset='ultrafast', bf='2', g='4'))
    rate: Fraction = Fraction(24)
    times: list = None  # in time_base; default: at the rate
    time_base: Fraction = None
    colors: dict = field(default_factory=dict)
    matrix: int = None  # swscale's, for the conversion
    rotation: int = 0
    mirrored: bool = False
    ratio: Fraction = Fraction(1)
    sound: str = None  # codec
    sound_seconds: float = None
    sound_start: int = 0  # samples
    subtitles: str = None  # codec
    chapters: tuple = ()
    tags: dict = field(default_factory=dict)
    container_options: dict = field(default_factory=dict)
    video_tags: dict = field(default_factory=lambda: dict(language='fin'))
    no_frames: bool = False
    attachment: bytes = None
    cover: bytes = None


def write_clip(path, **settings):
    """Write a video; return its path."""
    clip = Video(**settings)
    with av.open(str(path), 'w', options=clip.container_options) as container:
        cover = _add_cover(container, clip)
        video = _add_video(container, clip)
        sound = _add_sound(container, clip)
        subtitles = _add_subtitles(container, clip)
        if clip.attachment:
            container.add_attachment('a.ttf', 'font/ttf', clip.attachment)
        if clip.chapters:
            container.set_chapters([
                dict(
                    id=i + 1,
                    start=start,
                    end=end,
                    time_base=MS,
                    metadata=dict(title=f'part {i}'))
                for i, (start, end) in enumerate(clip.chapters)
            ])
        container.metadata.update(clip.tags)
        container.start_encoding()
        for stream, packets in ((cover, _cover_packets), (video,
                                                          _video_packets),
                                (sound, _sound_packets), (subtitles,
                                                          _subtitle_packets)):
            for packet in packets(stream, clip) if stream else ():
                packet.stream = stream
                container.mux(packet)
    return str(path)


def _add_video(container, clip):
    video = container.add_stream(
        clip.codec, rate=clip.rate, options=clip.options)
    video.height, video.width = clip.frames[0].shape[:2]
    video.pix_fmt = clip.pix_fmt
    video.codec_context.time_base = clip.time_base or 1 / clip.rate
    if clip.time_base:
        video.time_base = clip.time_base
    video.sample_aspect_ratio = clip.ratio
    for name, value in clip.colors.items():
        setattr(video, name, value)
    if clip.rotation or clip.mirrored:
        video.set_display_rotation(clip.rotation, hflip=clip.mirrored)
    video.metadata.update(clip.video_tags)
    return video


def _video_packets(video, clip):
    if clip.no_frames:
        return
    deep = clip.frames.dtype == np.uint16
    for index, frame in enumerate(clip.frames):
        coded = av.VideoFrame.from_ndarray(
            frame,
            format='gbrp10le' if deep else
            ('rgba' if frame.shape[-1] == 4 else 'rgb24'))
        if coded.format.name != clip.pix_fmt:
            coded = coded.reformat(
                format=clip.pix_fmt,
                dst_colorspace=clip.matrix,
                dst_color_range=clip.colors.get('color_range'),
                interpolation=0x2 | 0x40000 | 0x80000 | 0x4000)
        coded.pts = index if clip.times is None else clip.times[index]
        coded.time_base = clip.time_base or 1 / clip.rate
        yield from video.encode(coded)
    yield from video.encode()


def _add_sound(container, clip):
    if not clip.sound:
        return None
    sound = container.add_stream(clip.sound, rate=AUDIO_RATE)
    sound.codec_context.layout = 'mono'
    sound.metadata['language'] = 'deu'
    return sound


def _sound_packets(sound, clip):
    seconds = clip.sound_seconds or len(clip.frames) / float(clip.rate)
    wave = np.sin(np.arange(int(seconds * AUDIO_RATE)) / 9) * 9000
    step = 1024
    for start in range(0, len(wave), step):
        frame = av.AudioFrame.from_ndarray(
            wave[None, start:start + step].astype(np.int16), 's16', 'mono')
        frame.rate = AUDIO_RATE
        frame.pts = start + clip.sound_start
        frame.time_base = Fraction(1, AUDIO_RATE)
        yield from sound.encode(frame)
    yield from sound.encode()


def _add_subtitles(container, clip):
    if not clip.subtitles:
        return None
    stream = container.add_mux_stream(clip.subtitles)
    stream.time_base = MS
    stream.metadata['language'] = 'swe'
    return stream


def _subtitle_packets(stream, clip):
    for start, text in ((50, 'first'), (170, 'second line')):
        data = text.encode()
        if clip.subtitles == 'mov_text':
            data = len(data).to_bytes(2, 'big') + data
        packet = av.Packet(data)
        packet.pts = packet.dts = start
        packet.duration, packet.time_base = 100, MS
        yield packet


def _add_cover(container, clip):
    if not clip.cover:
        return None
    cover = container.add_mux_stream('png', width=2, height=3)
    cover.disposition = av.stream.Disposition.attached_pic
    return cover


def _cover_packets(stream, clip):
    packet = av.Packet(clip.cover)
    packet.pts = packet.dts = 0
    packet.time_base = MS
    packet.is_keyframe = True
    yield packet


def read_all(path):
    """Return a video's frames, (T, H, W, 3), and their times in seconds."""
    frames, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            frames.append(frame.to_ndarray(format='rgb24'))
            if frame.pts is not None:
                times.append(frame.pts * frame.time_base)
    return np.stack(frames), times


def packets_of(path, kind):
    """Return (seconds, bytes) of every packet of a kind of stream."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        return [(packet.pts * packet.time_base, bytes(packet))
                for packet in (container.demux(streams) if streams else ())
                if packet.size]


def convert(source, output, video_stream=None, **options):
    """Copy a video at scale 1; return what was told."""
    info = probe(str(source), video_stream=video_stream)
    options = EncoderOptions(preset='ultrafast', **options)
    lines = check_container(info, str(output), 1, options)
    segment = f'{output}.segment'
    write_segment(segment, read_frames(info), info, 0, 1, options)
    join_segments([segment], info, str(output), 1, options)
    return lines
