"""Clocks of files that jump, and streams with gaps."""
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from raw_material import make_frames
from video_files import MS, convert, packets_of

from dksan_mm.video.clock import Clock
from dksan_mm.video.probing import probe
from dksan_mm.video.reader import read_frames

SUBTITLE = bytes([15, 128, 0, 1, 0, 0])  # the end of a display set
RATE = 16000
NO_FILE = av.open(os.devnull, 'w', format='mpegts')
SOUND = 2  # the number of its packets, 258, without 256


def write_ts(path, begin, seconds, sound=(), subtitles=()):
    """Write a frame a second, a tone in some spans, and subtitles, at times
    that count from ``begin``; return the file's bytes."""
    with av.open(str(path), 'w', format='mpegts') as container:
        video = container.add_stream('mpeg2video', rate=25)
        video.height, video.width, video.pix_fmt = 34, 50, 'yuv420p'
        texts = container.add_mux_stream('dvb_subtitle')
        heard = container.add_stream('mp2', rate=RATE)
        heard.codec_context.layout = 'mono'
        container.start_encoding()
        packets = []
        for index, frame in enumerate(make_frames(seconds, (34, 50))):
            frame = av.VideoFrame.from_ndarray(frame)
            frame.pts, frame.time_base = 25 * index, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        tone = np.sin(np.arange(576) * np.pi / 16)[None] * 9000
        for first, last in sound:
            for start in range(int(first * RATE), int(last * RATE), 576):
                frame = av.AudioFrame.from_ndarray(
                    tone.astype(np.int16), 's16', 'mono')
                frame.rate, frame.pts = RATE, start
                packets += heard.encode(frame)
        packets += heard.encode(None)
        for time in subtitles:
            packet = av.Packet(SUBTITLE)
            packet.pts = packet.dts = 1000 * time
            packet.time_base, packet.stream = MS, texts
            packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            ticks = round(begin / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            container.mux(packet)
    return path.read_bytes()


def stamp(seconds):
    """Return a time as transport streams store it."""
    ticks = 90000 * seconds
    return bytes([
        33 | ticks >> 29 & 14, ticks >> 22 & 255, 1 | ticks >> 14 & 254,
        ticks >> 7 & 255, 1 | ticks << 1 & 254
    ])


def seconds_of(path, kind):
    return [float(time) for time, _ in packets_of(path, kind)]


@pytest.mark.parametrize('audio', ['copy', 'aac'])
def test_gaps_are_no_jumps(tmp_path, audio):
    """Of subtitles, and of sound from 1 to 15 s."""
    source, output = tmp_path / 'a.ts', tmp_path / 'b.mkv'
    write_ts(source, 0, 50, [(0, 1), (15, 16)], (2, 20, 45))
    convert(source, output, audio=audio)
    np.testing.assert_allclose(
        seconds_of(output, 'subtitle'), [2, 20, 45], atol=0.05)
    loud = []
    with av.open(str(output)) as container:
        for frame in container.decode(container.streams.audio[0]):
            if np.abs(frame.to_ndarray()).max() > 0.1:
                loud.append(frame.time)
    assert np.ptp([time for time in loud if time < 8]) < 1.1
    np.testing.assert_allclose([loud[0], loud[-1]], [0, 16], atol=0.15)


@pytest.mark.parametrize('begin, audio, late', [(0, 'copy', False),
                                                (8, 'copy', False),
                                                (11, 'aac', False),
                                                (600, 'aac', False),
                                                (0, 'copy', True),
                                                (600, 'copy', True)])
def test_other_streams_jump_with_the_video(tmp_path, begin, audio, late):
    """The clock goes on from another time after 12 s; ``late``: in the file,
    sound comes a second after the pictures."""
    source, output = tmp_path / 'a.ts', tmp_path / 'b.mkv'
    parts = [
        write_ts(source, 0, 12, [(0, 12)], (1, 3)),
        write_ts(source, begin, 12, [(0, 12)], (4, 9))
    ]
    data = b''.join(parts)
    if late:
        packets = [data[i:i + 188] for i in range(0, len(data), 188)]
        order = [
            i + len(packets) // 24 * (packet[2] == SOUND)
            for i, packet in enumerate(packets)
        ]
        data = b''.join(packets[i] for i in np.argsort(order, kind='stable'))
    source.write_bytes(data)
    info = probe(str(source))
    assert len(info.jumps) == 1
    convert(source, output, audio=audio)
    np.testing.assert_allclose(
        seconds_of(output, 'video'), range(24), atol=0.05)
    np.testing.assert_allclose(
        seconds_of(output, 'subtitle'), [1, 3, 16, 21], atol=0.05)
    heard = np.array(seconds_of(output, 'audio'))
    np.testing.assert_allclose([heard[0], heard[-1]], [0, 24], atol=0.15)
    assert (np.diff(heard) > 0.02).all() and (np.diff(heard) < 0.1).all()


def test_times_below_zero():
    """FFmpeg gives them before a clock's overflow."""
    clock, found = Clock(NO_FILE, [(0, Fraction(-300))]), []
    for mend, time in ((clock.mend, -700), (clock.follow, -399)):
        packet = av.Packet(b'')
        packet.time_base, packet.dts, packet.pts = Fraction(1), time, time
        mend(packet)
        found.append(packet.pts)
    assert found == [-700, -699]


@pytest.mark.parametrize('times, mended, jumps', [
    ((0, 40, 80, 60, 160, 200), (0, 40, 80, 120, 160, 200), []),
    ((0, 40, 80, 9**9, 160, 200), (0, 40, 80, 120, 160, 200), []),
    ((0, 40, 80, 10, 60, 90), (0, 40, 80, 120, 170, 200), [110]),
    ((0, 40, 80, 90000, 90040), (0, 40, 80, 120, 160), [-89880]),
    ((0, 40, 0, 40, 0, 40), (0, 40, 80, 120, 160, 200), [80, 160]),
])
def test_one_wrong_time_is_no_jump(times, mended, jumps):
    """Two are one; frames are shown later than decoded."""
    clock, found = Clock(NO_FILE), []
    for time in times:
        packet = av.Packet(b'')
        packet.time_base = MS
        packet.dts, packet.pts = time, time + 80
        clock.mend(packet)
        assert packet.pts == packet.dts + 80
        found.append(packet.dts)
    assert tuple(found) == mended
    assert [shift / MS for _, shift in clock.jumps] == jumps


def test_a_frame_with_a_wrong_time(tmp_path):
    """Only this frame is moved; --strict refuses it."""
    path = tmp_path / 'a.ts'
    data = bytearray(write_ts(path, 0, 12, [(0, 12)]))
    right = probe(str(path))
    places = [
        place for place in range(0, len(data), 188)
        if data[place + 1] & 64 and b'\0\0\1\xe0' in data[place:place + 188]
    ]
    place = data.index(b'\0\0\1\xe0', places[6])
    before = data.index(b'\0\0\1\xe0', places[4])
    data[place + 9:place + 19] = data[before + 9:before + 19]
    path.write_bytes(data)
    found = probe(str(path))
    assert found.times == right.times and not found.jumps
    assert len(list(read_frames(found))) == 12
    with pytest.raises(ValueError, match='undamaged.*after frame 6'):
        probe(str(path), strict=True)


@pytest.mark.parametrize('seconds', [0, 4000])
@pytest.mark.parametrize('audio', ['copy', 'aac'])
def test_sound_with_a_wrong_time(tmp_path, seconds, audio):
    """Sound stays beside the pictures, and no silence is added."""
    source, output = tmp_path / 'a.ts', tmp_path / 'b.mkv'
    data = bytearray(write_ts(source, 40, 12, [(0, 12)]))
    place = data.index(b'\0\0\1\xc0', len(data) // 2)
    data[place + 9:place + 14] = stamp(seconds)
    source.write_bytes(data)
    convert(source, output, audio=audio)
    heard = np.array(seconds_of(output, 'audio'))
    np.testing.assert_allclose([heard[0], heard[-1]], [0, 12], atol=0.15)
    steps = np.diff(heard)
    assert (steps >= 0).all() and (steps < 0.15).all()
