"""Sound that a container cannot hold, or only with other times."""
from fractions import Fraction

import av
import numpy as np
import pytest
from raw_material import make_frames
from video_files import convert, packets_of, read_all, write_clip

from dksan_mm.apis import (EncoderOptions, check_container, join_segments,
                           probe, read_frames, write_segment)

RATE = 44100


def write_with_sound(path, codec, layout='mono', rate=RATE, seconds=1, late=0):
    """Write ten frames with a tone; return the path. ``late`` packets get
    the time of the one before."""
    frames = make_frames(10, (34, 50))
    with av.open(str(path), 'w') as container:
        video = container.add_stream('mpeg4', rate=10)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = 'yuv420p'
        sound = container.add_stream(codec, rate=rate)
        sound.codec_context.layout = layout
        sound.codec_context.bit_rate = 128000
        container.start_encoding()
        packets = [
            packet
            for frame in [*map(av.VideoFrame.from_ndarray, frames), None]
            for packet in video.encode(frame)
        ]
        wave = np.sin(np.arange(seconds * rate) / 9) * 9000
        channels = sound.codec_context.layout.nb_channels
        frame = av.AudioFrame.from_ndarray(
            np.repeat(wave[:, None], channels,
                      1).astype(np.int16).reshape(1, -1), 's16', layout)
        frame.rate, frame.pts = rate, 0
        heard = [*sound.encode(frame), *sound.encode(None)]
        for before, packet in zip(heard[3:], heard[4:4 + late]):
            packet.pts, packet.dts = before.pts, before.dts
        for packet in sorted(
                packets + heard, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return str(path)


def level(path):
    """Return seconds and strength of a file's sound."""
    with av.open(str(path)) as container:
        arrays = [
            frame.to_ndarray().astype(float)
            for frame in container.decode(container.streams.audio[0])
        ]
        rate = container.streams.audio[0].codec_context.sample_rate
        form = container.streams.audio[0].codec_context.format
    sound = np.concatenate([
        array[0] if form.is_planar else array.reshape(-1) for array in arrays
    ])
    channels = 1 if form.is_planar else (av.open(
        str(path)).streams.audio[0].codec_context.layout.nb_channels)
    full = dict(flt=1, s16=32768, s32=2**31)[form.packed.name]
    return len(sound) / channels / rate, np.sqrt(np.mean(sound**2)) / full


@pytest.mark.parametrize('codec, first, second, found', [
    ('wmav2', '.wmv', '.mkv', 'wmav2'),
    ('wmav2', '.wmv', '.mp4', 'aac'),
    ('wmav2', '.wmv', '.webm', 'opus'),
    ('adpcm_ms', '.avi', '.mkv', 'adpcm_ms'),
    ('adpcm_ms', '.avi', '.mp4', 'aac'),
    ('pcm_s16le', '.avi', '.mp4', 'aac'),
    ('pcm_s16le', '.avi', '.mkv', 'pcm_s16le'),
    ('pcm_s16le', '.avi', '.ts', 'aac'),
])
def test_sound_gets_into_every_container(tmp_path, codec, first, second,
                                         found):
    source = write_with_sound(tmp_path / f'in{first}', codec, 'stereo')
    options = {}
    if second == '.webm':
        options = dict(options)
        info = probe(source)
        coder = EncoderOptions('libvpx-vp9', preset='8')
        lines = check_container(info, str(tmp_path / 'o.webm'), 1, coder)
        write_segment(
            str(tmp_path / 's'), read_frames(info), info, 0, 1, coder)
        join_segments([str(tmp_path / 's')], info, str(tmp_path / 'o.webm'), 1,
                      coder)
    else:
        lines = convert(source, tmp_path / f'o{second}')
    output = tmp_path / f'o{second}'
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.name == found
    assert len(read_all(output)[0]) == 10
    seconds, strength = level(output)
    assert seconds == pytest.approx(1, abs=0.15)
    assert strength == pytest.approx(9000 / 32768 / np.sqrt(2), rel=0.15)
    if found == codec:
        assert not lines
        assert ([data for _, data in packets_of(output, 'audio')
                 ] == [data for _, data in packets_of(source, 'audio')])
    else:
        assert len(lines) == 1 and 'encoded anew' in lines[0]


def test_lossless_sound_stays_lossless_in_matroska(tmp_path):
    source = write_with_sound(tmp_path / 'in.avi', 'pcm_s16le')
    lines = convert(source, tmp_path / 'out.mkv', audio='flac')
    assert 'as flac: as asked' in lines[0]
    samples = []
    for path in (source, tmp_path / 'out.mkv'):
        with av.open(str(path)) as container:
            samples.append(
                np.concatenate([
                    frame.to_ndarray().reshape(-1)
                    for frame in container.decode(container.streams.audio[0])
                ]))
    np.testing.assert_array_equal(*samples)


def test_what_is_asked_for_is_done(tmp_path):
    source = write_with_sound(tmp_path / 'in.wmv', 'wmav2')
    with pytest.raises(
            ValueError,
            match='wmav2.*in.wmv must be one that mp4 '
            'can hold.*leave out --audio.*as aac'):
        convert(source, tmp_path / 'out.mp4', audio='copy')
    lines = convert(source, tmp_path / 'out.mp4', audio='none')
    assert 'as asked' in lines[0]
    assert not packets_of(tmp_path / 'out.mp4', 'audio')
    with pytest.raises(ValueError, match="audio must be one of .*got 'mp3'"):
        EncoderOptions(audio='mp3')


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.ts', '.mkv'])
def test_packets_at_the_same_time(tmp_path, suffix):
    source = write_with_sound(tmp_path / 'in.mkv', 'aac', late=2)
    lines = convert(source, tmp_path / f'out{suffix}')
    assert len(packets_of(
        tmp_path / f'out{suffix}',
        'audio')) >= len(packets_of(source, 'audio')) - 1  # a priming packet
    times = [
        time for time, _ in packets_of(tmp_path / f'out{suffix}', 'audio')
    ]
    if suffix == '.mkv':
        assert not lines and times == sorted(times)
    else:
        assert 'the times of 2 of its packets do not ascend' in lines[0]
        assert all(a < b for a, b in zip(times, times[1:]))


def test_gap_in_encoded_sound_is_silence(tmp_path):
    """Sound that begins late is heard as late when it is encoded anew."""
    source = write_clip(
        tmp_path / 'in.mkv',
        sound='pcm_s16le',
        sound_start=4000,
        rate=Fraction(5))
    convert(source, tmp_path / 'out.mp4', audio='aac')
    times = [time for time, _ in packets_of(tmp_path / 'out.mp4', 'audio')]
    assert float(min(times)) == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize('layout, rate', [('stereo', 44100), ('mono', 32000)])
def test_sound_whose_format_changes(tmp_path, layout, rate):
    """As at an advertisement in a broadcast."""
    source = tmp_path / 'in.ts'
    parts = [
        write_with_sound(tmp_path / f'{index}.ts', 'mp2', *settings)
        for index, settings in enumerate((('mono', RATE), (layout, rate)))
    ]
    source.write_bytes(b''.join(open(part, 'rb').read() for part in parts))
    convert(source, tmp_path / 'out.mkv', audio='flac')
    seconds, strength = level(tmp_path / 'out.mkv')
    assert seconds == pytest.approx(2, abs=0.1)
    assert strength == pytest.approx(level(parts[0])[1], rel=0.05)


@pytest.mark.parametrize('second, audio, usual', [
    ('.webm', 'aac', 'opus'),
    ('.webm', 'flac', 'opus'),
    ('.mov', 'flac', 'aac'),
    ('.ts', 'flac', 'aac'),
])
def test_codings_that_a_container_does_not_hold(tmp_path, second, audio,
                                                usual):
    """It is told before work begins, and the cure helps."""
    info = probe(write_with_sound(tmp_path / 'in.avi', 'adpcm_ms'))
    codec = 'libvpx-vp9' if second == '.webm' else 'libx264'
    output = str(tmp_path / f'out{second}')
    with pytest.raises(
            ValueError, match=rf'\(--audio\) must .* {audio}; .*{usual}\)$'):
        check_container(info, output, 1, EncoderOptions(codec, audio=audio))
    lines = check_container(info, output, 1, EncoderOptions(codec))
    assert f'as {"lib" * (usual == "opus")}{usual}: ' in lines[0]


def test_a_refused_packet_is_not_a_full_disk(tmp_path, monkeypatch):
    from dksan_mm.video import joining
    source = write_clip(tmp_path / 'in.mp4', sound='aac')

    def twice(source, info, pairs, name, mended):
        for stream, copy in pairs:
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream, packet.dts, packet.pts = copy, 7, 9
                    yield packet

    monkeypatch.setattr(joining, 'copy_packets', twice)
    with pytest.raises(
            ValueError,
            match='mp4 must take all packets of .*in'
            '.mp4.*non monotonically.*--resume') as error:
        convert(source, tmp_path / 'out.mp4')
    assert 'disk' not in str(error.value)
