"""What a source is, and its frames from any one on."""
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from raw_material import make_frames, write_folder, write_sound
from video_files import MS, read_all, write_clip

from dksan_mm.video import reader
from dksan_mm.video.probing import probe
from dksan_mm.video.reader import read_frames
from dksan_mm.video.source import turn_upright

YUV = dict(codec='libx264', pix_fmt='yuv420p')
# name of the file, how it is written: open and closed groups of pictures,
# containers with and without an index, with and without times
SOURCES = {
    'closed.mp4':
    YUV,
    'closed.mkv':
    YUV,
    'open.mkv':
    dict(
        YUV,
        options={
            'x264-params':
            'open-gop=1:keyint=5:bframes=3:scenecut=0:min-keyint=1',
        }),
    'refresh.mkv':
    dict(YUV, options={'x264-params': 'intra-refresh=1:keyint=6'}),
    'open.mp4':
    dict(
        codec='libx265',
        pix_fmt='yuv420p',
        options={
            'x265-params':
            'open-gop=1:keyint=5:min-keyint=1:bframes=3:log-level=error'
        }),
    'vp9.webm':
    dict(codec='libvpx-vp9', pix_fmt='yuv420p', options=dict(g='5')),
    'stream.ts':
    YUV,
    'program.mpg':
    dict(codec='mpeg2video', pix_fmt='yuv420p', options=dict(bf='2', g='6')),
    'late.avi':
    dict(codec='mpeg4', pix_fmt='yuv420p', options=dict(bf='2', g='6')),
    'h264.avi':
    YUV,
    'bare.h264':
    YUV,
}


@pytest.mark.parametrize('name', SOURCES)
def test_frames_from_any_start(tmp_path, name):
    """As many as a decoder gives, and the same pixels wherever reading
    began."""
    frames = make_frames(17, (34, 50))
    path = write_clip(tmp_path / name, frames=frames, **SOURCES[name])
    info = probe(path)
    whole = list(read_frames(info))
    assert info.num_frames == len(whole) == len(frames)
    assert len(info.times) == 17
    assert info.seekable == name.endswith(('mp4', 'mkv', 'webm'))
    # chroma is interpolated, unlike in PyAV's own conversion
    errors = [
        np.abs(np.stack(read).astype(int) - frames).mean()
        for read in (whole, read_all(path)[0])
    ]
    assert errors[0] < errors[1] < 15
    for start in range(17):
        part = list(read_frames(info, start, min(start + 3, 17)))
        assert np.array_equal(part, whole[start:start + 3]), start


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
@pytest.mark.parametrize('rate', ['24000/1001', '30000/1001', '25'])
def test_rate(tmp_path, suffix, rate):
    """The exact rate, and times that keep it to the file's resolution."""
    rate = Fraction(rate)
    path = write_clip(tmp_path / f'a{suffix}', rate=rate, **YUV)
    info = probe(path)
    assert info.rate == rate and info.constant_rate
    assert [time * info.time_base for time in info.times] == read_all(path)[1]


def test_variable_rate_from_later_on(tmp_path):
    times = [700, 740, 750, 900, 901, 1000, 1400, 1410, 1600]
    path = write_clip(tmp_path / 'a.mkv', times=times, time_base=MS, **YUV)
    info = probe(path)
    assert list(info.times) == times and info.time_base == MS
    assert info.rate == Fraction(8, 1) / Fraction(9, 10)
    assert not info.constant_rate


def copy_packets(source, path, change):
    """Copy a video, with ``change(index, packet)`` for each packet; return
    the new path."""
    with av.open(str(source)) as container, av.open(str(path), 'w') as copy:
        stream = container.streams.video[0]
        new = copy.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in container.demux(stream) if packet.size]
        for index, packet in enumerate(packets):
            for changed in change(index, packet):
                changed.stream = new
                copy.mux(changed)
    return str(path)


def changed_packet(packet, data, shift=0):
    """Return a packet of other data, at its time or later."""
    changed = av.Packet(bytes(data))
    changed.pts, changed.dts = packet.pts + shift, packet.dts + shift
    changed.time_base = packet.time_base
    return changed


def test_frames_at_the_same_time(tmp_path):
    """They are shown a tick apart; the others keep their times."""
    times = [0, 40, 80, 120, 5000, 5040, 5080, 5120, 5160]
    path = write_clip(
        tmp_path / 'a.mkv',
        times=times,
        time_base=MS,
        **dict(YUV, options=dict(bf='0', g='3')))
    whole = list(read_frames(probe(path)))
    times[6] = times[7] = times[5]

    def change(index, packet):
        packet.pts = packet.dts = times[index]
        yield packet

    info = probe(copy_packets(path, tmp_path / 'b.mkv', change))
    expected = [*times[:6], 5041, 5042, 5160]
    assert info.time_base == MS and list(info.times) == expected
    for start in range(9):
        part = list(read_frames(info, start))
        assert np.array_equal(part, whole[start:])


@pytest.mark.parametrize('codec, options', [('mpeg4', dict(g='12')),
                                            ('ffv1', {})])
def test_frames_that_an_avi_leaves_out(tmp_path, codec, options):
    times = [*range(10), *range(20, 30)]
    info = probe(
        write_clip(
            tmp_path / 'a.avi',
            frames=make_frames(20, (34, 50)),
            codec=codec,
            pix_fmt='yuv420p',
            options=options,
            rate=Fraction(25),
            times=times,
            time_base=Fraction(1, 25)))
    assert list(info.times) == times and info.time_base == Fraction(1, 25)
    assert len(list(read_frames(info))) == 20


def test_an_edit_list_that_cuts_off_groups_of_pictures(tmp_path):
    """FFmpeg does not read them, but the header counts them."""
    frames = make_frames(60, (34, 50))
    path = tmp_path / 'a.mp4'
    write_clip(
        path,
        frames=frames,
        rate=Fraction(25),
        **dict(YUV, options=dict(g='10', bf='2')))
    with av.open(str(path)) as container:
        second = int(1 / container.streams.video[0].time_base)
    written = bytearray(path.read_bytes())
    where = written.index(b'elst') + 12  # version, number of edits
    _, begin, rate = struct.unpack_from('>IiI', written, where)
    # a second, of thousandths, from the first one of the stream's clock on
    struct.pack_into('>IiI', written, where, 1000, begin + second, rate)
    path.write_bytes(written)
    info = check_against_decoder(path)
    assert info.num_frames == 25
    read = np.stack(list(read_frames(info))).astype(int)
    assert np.abs(read - frames[25:50]).mean() < 15
    path.write_bytes(written[:-200])
    if written.index(b'moov') < written.index(b'mdat'):
        with pytest.raises(ValueError, match='ends early'):
            probe(str(path))


def test_packets_without_a_frame(tmp_path):
    """As VP8 has for what is only referred to."""
    path = write_clip(
        tmp_path / 'a.webm',
        frames=make_frames(17, (34, 50)),
        codec='libvpx',
        pix_fmt='yuv420p',
        options=dict(b='200000', g='128'))

    def change(index, packet):
        if index in (5, 11):
            hidden = bytearray(bytes(packet))
            hidden[0] &= ~0x10  # show_frame
            yield changed_packet(packet, hidden, -1)
        yield packet

    info = check_against_decoder(
        copy_packets(path, tmp_path / 'b.webm', change))
    assert info.num_frames == 17


@pytest.mark.parametrize('codec, options, suffix', [
    ('libsvtav1', dict(g='6', preset='10'), '.mp4'),
    ('mpeg4', dict(g='6', bf='2'), '.mkv'),
])
def test_key_frames_that_are_none(tmp_path, codec, options, suffix):
    """Where a seek leads into the middle of a group of pictures."""
    path = write_clip(
        tmp_path / f'a{suffix}',
        frames=make_frames(17, (34, 50)),
        codec=codec,
        pix_fmt='yuv420p',
        options=options)
    if suffix == '.mp4':
        with open(path, 'r+b') as file:
            where = file.read().index(b'stss')
            file.seek(where)
            file.write(b'free')  # all are key frames then
    else:

        def change(index, packet):
            packet.is_keyframe = True
            yield packet

        path = copy_packets(path, tmp_path / 'b.mkv', change)
    assert check_against_decoder(path).num_frames == 17


def test_damaged_frames_are_told(tmp_path, monkeypatch):
    path = write_clip(
        tmp_path / 'a.ts',
        frames=make_frames(17, (98, 130)),
        codec='mpeg2video',
        pix_fmt='yuv420p',
        options=dict(g='6'))
    told = []
    monkeypatch.setattr(reader, 'print_log',
                        lambda text, *args: told.append(text))
    assert len(list(read_frames(probe(path)))) == 17 and not told

    def change(index, packet):
        data = bytearray(bytes(packet))
        if index == 8:
            for place in range(len(data) // 3, len(data) // 3 + 12):
                data[place] ^= 0x5a
        yield changed_packet(packet, data)

    info = probe(copy_packets(path, tmp_path / 'b.ts', change))
    assert len(list(read_frames(info))) == 17
    assert told and all('is damaged' in text for text in told)
    assert told[0].startswith('frame 8 of ')


def check_against_decoder(path):
    """The frames that a decoder gives, at their times, from any start."""
    info = probe(str(path))
    times = read_all(path)[1]
    assert [time * info.time_base for time in info.times] == times
    whole = list(read_frames(info))
    assert len(whole) == len(times)
    for start in range(len(times)):
        part = list(read_frames(info, start, start + 1))
        assert np.array_equal(part, whole[start:start + 1])
    return info


def test_frames_before_the_first_key_frame_are_not_counted(tmp_path):
    """Such as those of an open group of pictures that a cut left without its
    beginning."""
    source = write_clip(
        tmp_path / 'a.mkv',
        frames=make_frames(17, (34, 50)),
        **SOURCES['open.mp4'])
    keys = packets = 0

    def change(index, packet):
        nonlocal keys, packets
        keys += packet.is_keyframe
        if keys > 1:
            packets += 1
            yield packet

    copy_packets(source, tmp_path / 'b.mkv', change)
    assert check_against_decoder(tmp_path / 'b.mkv').num_frames < packets


def test_frames_that_an_edit_list_cuts_off(tmp_path):
    path = write_clip(
        tmp_path / 'a.mp4',
        times=list(range(-80, 280, 40)),
        time_base=MS,
        **YUV)
    assert check_against_decoder(path).num_frames == 7


def test_folder(tmp_path):
    frames = make_frames(4, (7, 9))
    folder = write_folder(tmp_path / 'a', frames, 'f{:03d}.png', start=5)
    info = probe(folder, Fraction(30000, 1001))
    assert (info.kind, info.width, info.height) == ('frames', 9, 7)
    assert info.times == (0, 1, 2, 3)
    assert info.rate == 1 / info.time_base == Fraction(30000, 1001)
    assert np.array_equal(list(read_frames(info, 1, 3)), frames[1:3])


def test_ten_bits(tmp_path):
    """0 to 1023, as they were; more bits are reduced to 10."""
    frames = make_frames(3, (34, 50)).astype(np.uint16) * 4 + 1
    path = write_clip(
        tmp_path / 'a.mkv',
        frames=frames,
        codec='ffv1',
        pix_fmt='gbrp10le',
        options={})
    info = probe(path)
    read = np.stack(list(read_frames(info)))
    assert info.bit_depth == 10 and read.dtype == np.uint16
    assert np.array_equal(read, frames)
    path = write_clip(
        tmp_path / 'b.mkv',
        frames=frames,
        codec='ffv1',
        pix_fmt='yuv444p12le',
        options={})
    info = probe(path)
    read = np.stack(list(read_frames(info))).astype(int)
    assert info.bit_depth == 10 and np.abs(read - frames).max() <= 4


def test_alpha(tmp_path):
    """Opaque: dropped. Otherwise: an error that names the frame."""
    frames = np.concatenate(
        [make_frames(3, (34, 50)),
         np.full((3, 34, 50, 1), 255, np.uint8)], 3)
    settings = dict(codec='ffv1', pix_fmt='bgra', options={})
    info = probe(write_clip(tmp_path / 'a.mkv', frames=frames, **settings))
    assert info.has_alpha
    assert np.array_equal(list(read_frames(info)), frames[..., :3])
    frames[1, 3, 4, 3] = 254
    info = probe(write_clip(tmp_path / 'b.mkv', frames=frames, **settings))
    with pytest.raises(ValueError, match='frame 1 of .* opaque.*254.*draw'):
        list(read_frames(info))
    palette = Image.new('P', (50, 34))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / 'd.png', transparency=0)
    data = (tmp_path / 'd.png').read_bytes()
    with av.open(str(tmp_path / 'd.avi'), 'w') as container:
        stream = container.add_stream('png', rate=25)
        stream.width, stream.height, stream.pix_fmt = 50, 34, 'pal8'
        packet = av.Packet(data)
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream = Fraction(1, 25), stream
        container.mux(packet)
    with pytest.raises(ValueError, match='frame 0 of .* opaque'):
        list(read_frames(probe(str(tmp_path / 'd.avi'))))
    frames[1, 8:20, 8:20, 3] = 0
    path = write_clip(
        tmp_path / 'c.webm',
        frames=frames,
        codec='libvpx-vp9',
        pix_fmt='yuva420p',
        options={},
        video_tags=dict(alpha_mode='1'))
    with pytest.raises(ValueError, match='alpha layer.*draw'):
        probe(path)


def test_grey(tmp_path):
    frames = make_frames(3, (34, 50))[..., :1].repeat(3, 3)
    info = probe(
        write_clip(
            tmp_path / 'a.mkv',
            frames=frames,
            codec='ffv1',
            pix_fmt='gray',
            options={}))
    read = np.stack(list(read_frames(info))).astype(int)
    assert np.abs(read - frames).max() <= 1


@pytest.mark.parametrize('pix_fmt, white', [('gray', 255), ('gray10le', 1023)])
def test_grey_of_limited_range(tmp_path, pix_fmt, white):
    """16 is black and 235 white where the file says so, though swscale takes
    all grey for full range."""
    levels = np.linspace(0, white, 50).round()
    black, span = (16, 219) if white == 255 else (64, 876)
    dtype = np.uint8 if white == 255 else np.uint16
    limited = ((levels - black) * white / span).clip(0, white)
    for color_range, expected in ((1, limited), (2, levels)):
        path = str(tmp_path / f'{pix_fmt}{color_range}.mkv')
        with av.open(path, 'w') as container:
            video = container.add_stream('ffv1', rate=24)
            video.width, video.height, video.pix_fmt = 50, 34, pix_fmt
            video.color_range = color_range
            coded = av.VideoFrame.from_ndarray(
                np.tile(levels.astype(dtype), (34, 1)), format=pix_fmt)
            coded.pts = 0
            container.mux(video.encode(coded))
            container.mux(video.encode())
        read, = read_frames(probe(path))
        assert read.dtype == dtype
        assert np.abs(read - expected[:, None]).max() <= 1
        assert np.ptp(read, axis=2).max() == 0


@pytest.mark.parametrize('codec', ['libx264', 'libvpx-vp9', 'ffv1'])
def test_chroma_siting_that_is_not_stated(tmp_path, codec):
    """It is left in all codecs, as in H.264."""
    path = str(tmp_path / 'a.mkv')
    planes = np.full((96, 64), 128, np.uint8)
    red = planes[80:].reshape(32, 32)
    red[:] = 128 + (np.arange(32) - 16) * 4
    options = dict(libx264={'qp': '0'}, ffv1={}).get(codec, {'lossless': '1'})
    with av.open(path, 'w') as container:
        video = container.add_stream(codec, rate=24, options=options)
        video.width, video.height, video.pix_fmt = 64, 64, 'yuv420p'
        coded = av.VideoFrame.from_ndarray(planes, format='yuv420p')
        coded.pts = 0
        container.mux(video.encode(coded))
        container.mux(video.encode())
    frame, = read_frames(probe(path))
    # grey where its sample, the 16th, is: at pixel 32, not 32.5
    row = frame[32, :, 0].astype(float)
    grey = np.interp((128 - 16) * 255 / 219, row[20:44], np.arange(20, 44))
    assert abs(grey - 32) < .2


@pytest.mark.parametrize('gap', [1500, 2500])
def test_seconds_to_a_frame(tmp_path, gap):
    path = write_clip(
        tmp_path / 'a.mkv',
        frames=make_frames(3, (34, 50)),
        times=[0, 1000 * gap, 2000 * gap],
        time_base=MS,
        **YUV)
    assert probe(path).rate == Fraction(1, gap)


@pytest.mark.parametrize('size, stated, expected', [
    ((34, 50), None, 6),
    ((34, 1280), None, 1),
    ((578, 50), None, 1),
    ((34, 50), 1, 1),
    ((34, 1280), 5, 5),
])
def test_matrix_that_is_not_stated(tmp_path, size, stated, expected):
    """As players guess by the size, so that the larger output states it."""
    colors = {} if stated is None else dict(colorspace=stated)
    path = write_clip(
        tmp_path / 'a.mp4', frames=make_frames(2, size), colors=colors, **YUV)
    assert probe(path).colorspace == expected


@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
@pytest.mark.parametrize('mirrored', [False, True])
def test_orientation(tmp_path, rotation, mirrored):
    frames = make_frames(2, (34, 50))
    path = write_clip(
        tmp_path / 'a.mp4',
        frames=frames,
        rotation=rotation,
        mirrored=mirrored)
    info = probe(path)
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    upright = turn_upright(frames[0], info)
    expected = np.rot90(frames[0], rotation // 90)
    assert np.array_equal(upright, expected[:, ::-1] if mirrored else expected)


@pytest.mark.parametrize('count', [1, 3])
def test_short_videos(tmp_path, count):
    frames = make_frames(count, (34, 50))
    info = probe(write_clip(tmp_path / 'a.mp4', frames=frames))
    assert info.num_frames == count
    assert np.array_equal(list(read_frames(info)), frames)


def test_odd_size(tmp_path):
    frames = make_frames(2, (33, 51))
    info = probe(write_clip(tmp_path / 'a.mkv', frames=frames))
    assert (info.width, info.height) == (51, 33)
    assert np.array_equal(list(read_frames(info)), frames)


@pytest.mark.parametrize('suffix, sound', [('.mkv', None), ('.mkv', 'aac'),
                                           ('.mp4', 'aac'),
                                           ('.front.mp4', 'aac')])
def test_truncated(tmp_path, suffix, sound):
    """Whichever of its ends the header is at."""
    path = tmp_path / f'a{suffix}'
    write_clip(
        path,
        frames=make_frames(48, (34, 50)),
        sound=sound,
        container_options=dict(
            movflags='faststart') if 'front' in suffix else {})
    probe(str(path))
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    with pytest.raises(ValueError, match='a.*(early|found|broken).*again'):
        info = probe(str(path))
        list(read_frames(info))


def test_no_video_no_frames_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.mp4.*check'):
        probe(str(tmp_path / 'nothing.mp4'))
    with pytest.raises(ValueError, match='video stream, found none.*choose'):
        probe(write_sound(tmp_path / 'a.mp4'))
    (tmp_path / 'b.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match='b.mp4.*can be read'):
        probe(str(tmp_path / 'b.mp4'))
    path = write_clip(tmp_path / 'c.mkv', sound='aac', no_frames=True)
    with pytest.raises(ValueError, match='frames, found none'):
        probe(path)
    (tmp_path / 'd').mkdir()
    with pytest.raises(
            ValueError, match='d must be.* of images.*found no frame.*png'):
        probe(str(tmp_path / 'd'))


def test_frames_of_unlike_size(tmp_path):
    folder = write_folder(tmp_path / 'a', make_frames(2, (7, 9)))
    write_folder(folder, make_frames(1, (7, 10)), start=2)
    with pytest.raises(ValueError, match='0002.png.*9x7, found 10x7.*split'):
        probe(folder)


@pytest.mark.parametrize('image, message', [
    (np.zeros((34, 50, 3), np.uint16), 'must have 8 bits'),
    (np.zeros((34, 50, 4), np.uint8), 'must be opaque'),
])
def test_images_are_looked_at_first(tmp_path, image, message):
    folder = tmp_path / 'a'
    write_folder(folder, make_frames(4, (34, 50)))
    np.save(tmp_path / 'a.npy', np.zeros((4, 9, 9, 3)))  # of something else
    assert probe(str(folder)).width == 50
    last = sorted(folder.iterdir())[-1]
    whole = last.read_bytes()
    cv2.imwrite(str(last), image)
    with pytest.raises(ValueError, match=f'{last.name} {message}'):
        probe(str(folder))
    last.write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=f'{last.name} must be a readable'):
        probe(str(folder))


def test_range_of_frames_is_checked(tmp_path):
    info = probe(write_clip(tmp_path / 'a.mp4'))
    assert list(read_frames(info, 4, 4)) == []
    for start, stop in ((-1, 3), (4, 3), (0, 10)):
        with pytest.raises(ValueError, match='0 <= start <= stop <= 9'):
            list(read_frames(info, start, stop))
