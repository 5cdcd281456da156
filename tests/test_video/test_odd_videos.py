"""Videos as users have them: damaged, joined, of several streams or sizes."""
import os.path as osp
from fractions import Fraction

import av
import numpy as np
import pytest
from commands import ROOT
from raw_material import make_frames
from video_files import convert, read_all, write_clip

from dksan_mm.apis import probe, read_frames
from dksan_mm.video import probing as video_probe
from dksan_mm.video import source as video_source

DATA = osp.join(ROOT, 'tests', 'data', 'videos')
MPEG2 = dict(
    codec='mpeg2video',
    pix_fmt='yuv420p',
    options=dict(g='4'),
    rate=Fraction(25))


@pytest.fixture
def told(monkeypatch):
    """Return the list of what is told."""
    lines = []
    for module in (video_probe, video_source):
        monkeypatch.setattr(module, 'print_log',
                            lambda text, *args: lines.append(text))
    return lines


def check_any_start(info):
    """Frames are the same wherever reading began; return them."""
    whole = list(read_frames(info))
    assert len(whole) == info.num_frames
    for start in range(0, info.num_frames, 4):
        part = list(read_frames(info, start, start + 1))
        assert np.array_equal(part, whole[start:start + 1])
    return whole


def test_a_broken_packet_is_told(told):
    path = osp.join(DATA, 'cat13.ts')
    info = probe(path)
    assert info.damaged == 1 and len(told) == 1
    assert 'damaged in 1 places' in told[0] and '--strict' in told[0]
    assert len(check_any_start(info)) == len(read_all(path)[0]) == 30
    with pytest.raises(
            ValueError,
            match='cat13.ts must be undamaged.*--strict'
            '.*after frame 11'):
        probe(path, strict=True)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_a_packet_that_cannot_be_decoded(tmp_path, told, suffix):
    """Packets do not show it: the video must be decoded."""
    path = tmp_path / f'a{suffix}'
    write_clip(path, frames=make_frames(20, (98, 130)))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        data = bytes(packets[9])
    whole = path.read_bytes()
    assert whole.count(data) == 1
    path.write_bytes(whole.replace(data, bytes(len(data))))
    info = probe(str(path))
    assert not info.damaged and not told
    with pytest.raises(ValueError, match='cannot be decoded.*again'):
        list(read_frames(info))
    info = probe(str(path), decode=True)
    assert info.damaged and len(told) == 1
    assert 0 < 20 - info.num_frames < 8
    check_any_start(info)
    with pytest.raises(ValueError, match='must be undamaged.*--strict'):
        probe(str(path), decode=True, strict=True)


def test_a_lost_packet_of_a_transport_stream(tmp_path, told):
    path = tmp_path / 'a.ts'
    write_clip(path, frames=make_frames(20, (98, 130)), **MPEG2)
    data = path.read_bytes()
    places = [
        place for place in range(0, len(data), 188)
        if data[place + 1] & 31 == 1 and data[place + 2] == 0
    ]
    place = places[len(places) // 2]
    path.write_bytes(data[:place] + data[place + 188:])
    info = probe(str(path))
    assert info.damaged and told
    check_any_start(info)


@pytest.mark.parametrize('suffix', ['.ts', '.mpg'])
def test_a_clock_that_is_set_back_goes_on(tmp_path, told, suffix):
    path = tmp_path / f'a{suffix}'
    frames = make_frames(12, (34, 50))
    write_clip(path, frames=frames, **MPEG2)
    single = probe(str(path))
    path.write_bytes(2 * path.read_bytes())
    assert not told
    info = probe(str(path))
    assert len(info.jumps) == 1 and '1 jumps of its clock' in told[0]
    steps = {b - a for a, b in zip(info.times, info.times[1:])}
    step = single.times[1] - single.times[0]
    assert info.num_frames >= 2 * single.num_frames - 1
    assert steps <= {step, 2 * step}
    check_any_start(info)
    with pytest.raises(ValueError, match='must be undamaged.*copy'):
        probe(str(path), strict=True)


def test_a_change_of_size_is_restored(told, monkeypatch):
    from dksan_mm.video import reader
    monkeypatch.setattr(reader, 'print_log',
                        lambda text, *args: told.append(text))
    path = osp.join(DATA, 'webrtc.webm')
    frames = check_any_start(probe(path))
    assert {frame.shape for frame in frames} == {(36, 64, 3)}
    assert 'frame 15 of' in told[0] and 'is 96x54, the first is' in told[0]
    with pytest.raises(ValueError, match='frame 15 of .*as large.*96x54'):
        list(read_frames(probe(path, strict=True)))


def test_side_data_without_a_name(told):
    """EXIF of JPEGs in a video."""
    info = probe(osp.join(DATA, 'timelapse.mov'))
    assert len(check_any_start(info)) == info.num_frames == 10


@pytest.mark.parametrize('alpha, refused', [(None, False), (255, False),
                                            (0, True)])
def test_alpha_flag_of_webm(tmp_path, alpha, refused):
    """Browsers state an alpha layer that is not there."""
    frames = make_frames(3, (34, 50))
    pix_fmt = 'yuv420p'
    if alpha is not None:
        pix_fmt = 'yuva420p'
        layer = np.full((3, 34, 50, 1), 255, np.uint8)
        layer[1, 8:20, 8:20] = alpha
        frames = np.concatenate([frames, layer], 3)
    path = write_clip(
        tmp_path / 'a.webm',
        frames=frames,
        codec='libvpx-vp9',
        pix_fmt=pix_fmt,
        options={},
        video_tags=dict(alpha_mode='1'))
    if refused:
        with pytest.raises(ValueError, match='alpha layer.*draw'):
            probe(path)
    else:
        assert len(list(read_frames(probe(path)))) == 3


def write_two(path, counts, default=None):
    """Write videos of so many frames, of their number's brightness."""
    with av.open(str(path), 'w') as container:
        streams = []
        for number in range(len(counts)):
            stream = container.add_stream('mpeg4', rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            streams.append(stream)
        if default is not None:
            for number, stream in enumerate(streams):
                stream.disposition = (
                    av.stream.Disposition.default
                    if number == default else av.stream.Disposition(0))
        for number, (stream, count) in enumerate(zip(streams, counts)):
            image = np.full((48, 64, 3), 60 + 60 * number, np.uint8)
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
@pytest.mark.parametrize('counts, default, expected', [
    ((1, 9), None, 1),
    ((9, 1), 1, 0),
    ((9, 9), 1, 1),
    ((9, 9), None, 0),
])
def test_which_of_several_videos(tmp_path, told, suffix, counts, default,
                                 expected):
    path = write_two(tmp_path / f'a{suffix}', counts, default)
    info = probe(path)
    assert info.stream_index == expected
    assert f'{expected} is taken' in told[0] and '--video-stream' in told[0]
    for number in (0, 1):
        info = probe(path, video_stream=number)
        frames = list(read_frames(info))
        assert len(frames) == counts[number]
        assert abs(int(frames[0].mean()) - 60 - 60 * number) < 4
    with pytest.raises(
            ValueError, match=r'--video-stream\) must be.*\[0, 1\]'
            ', got 2'):
        probe(path, video_stream=2)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_the_restored_one_of_several_videos_is_shown(tmp_path, suffix):
    path = write_two(tmp_path / f'a{suffix}', (9, 9), 1)
    output = tmp_path / f'b{suffix}'
    for number, level in ((0, 60), (1, 120)):
        convert(path, output, video_stream=number)
        info = probe(str(output))
        assert info.stream_index == 0
        assert abs(int(next(read_frames(info)).mean()) - level) < 4
