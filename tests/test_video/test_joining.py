"""One file of all segments, with all else that the source has."""
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from raw_material import make_frames, write_folder
from video_files import MS, packets_of, read_all, write_clip

from dksan_mm.utils.files import OutputError
from dksan_mm.video.encoding import write_segment
from dksan_mm.video.joining import check_container, join_segments
from dksan_mm.video.options import EncoderOptions
from dksan_mm.video.probing import probe
from dksan_mm.video.reader import read_frames
from dksan_mm.video.source import cut_source
from dksan_mm.video.streams import list_left_out_of_folder, video_tags

LOSSLESS = EncoderOptions(lossless=True)
YUV = dict(codec='libx264', pix_fmt='yuv420p')
FRAMES = make_frames(9, (34, 50))


def write_segments(info, folder, options=LOSSLESS, length=4, scale=1):
    """Write a source's segments; return their paths."""
    paths = []
    for start in range(0, info.num_frames, length):
        stop = min(start + length, info.num_frames)
        frames = (
            frame.repeat(scale, 0).repeat(scale, 1)
            for frame in read_frames(info, start, stop))
        paths.append(f'{folder}/segment_{start:05d}.mkv')
        write_segment(paths[-1], frames, info, start, scale, options)
    return paths


def restore(source, output, options=LOSSLESS, length=4, scale=1):
    """Write a source anew; return what it and the output are."""
    info = probe(str(source))
    folder = f'{output}.segments'
    paths = write_segments(info, folder, options, length, scale)
    join_segments(paths, info, str(output), scale, options)
    return info, probe(str(output))


def seconds(info):
    return [float(time * info.time_base) for time in info.times]


@pytest.mark.parametrize('rate', ['24000/1001', '30000/1001', '50'])
@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.ts'])
@pytest.mark.parametrize('length', [1, 4, 9])
def test_every_frame_at_its_time(tmp_path, rate, suffix, length):
    """With B-frames over the joints of segments, and whatever these are."""
    rate = Fraction(rate)
    source = write_clip(tmp_path / 'a.mp4', rate=rate, **YUV)
    output = tmp_path / f'b{suffix}'
    options = EncoderOptions(extra=(('bf', '3'), ('b_strategy', '0')))
    info, result = restore(source, output, options, length)
    assert (info.num_frames, info.rate) == (result.num_frames, result.rate)
    resolution = dict(mkv=5e-4, ts=1e-5).get(suffix[1:], 0)
    shift = result.times[0] * result.time_base
    assert shift == 0 or suffix == '.ts'
    np.testing.assert_allclose(
        np.array(seconds(result)) - float(shift),
        seconds(info),
        atol=resolution + 1e-9)
    with av.open(str(output)) as container:
        packets = [
            packet.dts
            for packet in container.demux(container.streams.video[0])
            if packet.dts is not None
        ]
    assert packets == sorted({*packets})
    segments = [
        read_all(f'{output}.segments/{name}')[0]
        for name in sorted(os.listdir(f'{output}.segments'))
    ]
    # the decoder gives what it gave of the segments: none refers to another
    assert np.array_equal(np.concatenate(segments), read_all(output)[0])


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_variable_rate_from_later_on(tmp_path, suffix):
    """Times and the last frame's duration stay, and sound stays where it is
    beside them."""
    times = [700, 740, 750, 900, 901, 1000, 1400, 1410, 1600]
    source = write_clip(
        tmp_path / 'a.mkv',
        times=times,
        time_base=MS,
        sound='flac',
        sound_seconds=2.5,
        **YUV)
    output = tmp_path / f'b{suffix}'
    options = EncoderOptions(extra=(('bf', '3'), ('b_strategy', '0')))
    info, result = restore(source, output, options)
    assert seconds(result) == [time / 1000 for time in times]
    assert packets_of(output, 'audio') == packets_of(source, 'audio')


def test_restored_frames_are_what_is_read(tmp_path):
    """Bit by bit where it is lossless, at any scale and length."""
    source = write_clip(tmp_path / 'a.mkv', frames=FRAMES)
    for suffix, options in (('.mkv', LOSSLESS), ('.mp4', LOSSLESS),
                            ('.mkv', EncoderOptions('ffv1', lossless=True)),
                            ('.mp4', EncoderOptions('ffv1', lossless=True))):
        output = tmp_path / f'{options.codec}{suffix}'
        _, result = restore(source, output, options, scale=2)
        assert (result.width, result.height) == (100, 68)
        assert np.array_equal(
            read_all(output)[0],
            FRAMES.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize('codec, suffix', [('libx264', '.mp4'),
                                           ('libx265', '.mp4'),
                                           ('libx265', '.mkv'),
                                           ('libsvtav1', '.mp4'),
                                           ('libvpx-vp9', '.webm'),
                                           ('mpeg4', '.mov')])
def test_codecs(tmp_path, codec, suffix):
    source = write_clip(
        tmp_path / 'a.mkv', frames=make_frames(9, (64, 96)), rotation=90)
    output = tmp_path / f'b{suffix}'
    options = EncoderOptions(codec)
    info, result = restore(source, output, options)
    assert check_container(info, str(output), 1, options) == []
    assert result.num_frames == len(list(read_frames(result))) == 9
    assert result.rotation == 90
    again = np.stack(list(read_frames(result))).astype(int)
    assert np.abs(again - list(read_frames(info))).mean() < 12
    if codec == 'libx265' and suffix == '.mp4':
        assert b'hvc1' in output.read_bytes()


@pytest.mark.parametrize('count', [1, 3])
def test_short_videos(tmp_path, count):
    source = write_clip(tmp_path / 'a.mp4', frames=FRAMES[:count])
    for suffix in ('.mp4', '.mkv'):
        output = tmp_path / f'b{suffix}'
        restore(source, output)
        assert np.array_equal(read_all(output)[0], FRAMES[:count])


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
@pytest.mark.parametrize('mirrored', [False, True])
def test_orientation(tmp_path, suffix, rotation, mirrored):
    source = write_clip(
        tmp_path / 'a.mkv', rotation=rotation, mirrored=mirrored)
    _, result = restore(source, tmp_path / f'b{suffix}')
    assert (result.rotation, result.mirrored) == (rotation, mirrored)
    assert (result.width, result.height) == (50, 34)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_shape_and_colors_of_pixels(tmp_path, suffix):
    colors = dict(color_range=2, colorspace=5, color_primaries=5, color_trc=4)
    source = write_clip(
        tmp_path / 'a.mp4', colors=colors, ratio=Fraction(16, 11), **YUV)
    info, result = restore(source, tmp_path / f'b{suffix}', EncoderOptions())
    assert (result.color_range, result.colorspace, result.primaries,
            result.trc) == (2, 5, 5, 4)
    assert info.sample_aspect_ratio == Fraction(16, 11)
    # Matroska has the size that is shown, in whole pixels
    assert abs(float(result.sample_aspect_ratio) -
               16 / 11) < (0.02 if suffix == '.mkv' else 1e-9)


@pytest.mark.parametrize('suffix, sound, subtitles', [
    ('.mp4', 'aac', 'mov_text'),
    ('.mkv', 'aac', 'subrip'),
    ('.mkv', 'flac', 'ass'),
    ('.mov', 'pcm_s16le', 'mov_text'),
])
def test_other_streams_are_copied(tmp_path, suffix, sound, subtitles):
    """Packet by packet, with languages; chapters and tags too. Sound that is
    longer than the video is kept whole."""
    source = write_clip(
        tmp_path / f'a{suffix}',
        sound=sound,
        sound_seconds=1.3,
        subtitles=subtitles,
        chapters=((0, 200), (200, 375)),
        tags=dict(title='The title'))
    output = tmp_path / f'b{suffix}'
    info, _ = restore(source, output)
    assert check_container(info, str(output), 1, LOSSLESS) == []
    for kind in ('audio', 'subtitle'):
        packets = packets_of(source, kind)
        assert len(packets) > 1 and packets == packets_of(output, kind)
    assert float(packets_of(output, 'audio')[-1][0]) > 1.2
    found = []
    for path in (source, output):
        with av.open(str(path)) as container:
            assert container.metadata['title'] == 'The title'
            found.append([[
                (chapter['start'] * chapter['time_base'],
                 chapter['end'] * chapter['time_base'], chapter['metadata'])
                for chapter in container.chapters()
            ],
                          sorted((stream.type, stream.language, stream.name)
                                 for stream in container.streams
                                 if stream.type in ('audio', 'subtitle'))])
            assert container.streams.video[0].language == 'fin'
    assert found[0] == found[1] and len(found[0][0]) == 2


@pytest.mark.parametrize('first, second', [('.mp4', '.mkv'), ('.mkv', '.mp4'),
                                           ('.ts', '.mp4'), ('.ts', '.mkv')])
def test_sound_stays_in_time_in_other_containers(tmp_path, first, second):
    """Beside the video; a file may shift as a whole, so that nothing is
    before zero."""
    source = write_clip(
        tmp_path / f'a{first}', sound='mp2', sound_start=2000, **YUV)
    output = tmp_path / f'b{second}'
    info, result = restore(source, output, EncoderOptions())

    def lead(path, info):
        times = [time for time, _ in packets_of(path, 'audio')]
        return np.array(times, float) - seconds(info)[0]

    np.testing.assert_allclose(
        lead(source, info), lead(output, result), atol=1.1e-3)
    assert [data for _, data in packets_of(source, 'audio')
            ] == [data for _, data in packets_of(output, 'audio')]


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_clock_of_a_broadcast(tmp_path, suffix):
    """It counts from anything; a file's from its beginning."""
    source = write_clip(
        tmp_path / 'a.ts',
        times=[90000 * 7000 + 3600 * i for i in range(9)],
        time_base=Fraction(1, 90000),
        **YUV)
    info, result = restore(source, tmp_path / f'b{suffix}', EncoderOptions())
    assert seconds(info)[0] > 6999
    assert seconds(result) == [i / 25 for i in range(9)]


def test_time_code(tmp_path):
    """It is kept as a tag, from which MOV and MP4 make a stream."""
    source = write_clip(
        tmp_path / 'a.mov', video_tags=dict(timecode='01:02:03:04'))
    for suffix in ('.mov', '.mkv'):
        output = tmp_path / f'b{suffix}'
        info, _ = restore(source, output)
        assert check_container(info, str(output), 1, LOSSLESS) == []
        with av.open(str(output)) as container:
            tags = container.streams.video[0].metadata
            assert tags.get('timecode', tags.get('TIMECODE')) == '01:02:03:04'
            assert len(container.streams.data) == (suffix == '.mov')
    part = cut_source(probe(source), Fraction(2, 24))
    told, = check_container(part, str(output), 1, LOSSLESS)
    assert told.startswith(f'the time code of {source} is left out')
    with av.open(source) as container:
        assert 'timecode' not in video_tags(container, part)


def test_what_a_folder_cannot_hold(tmp_path):
    lines = list_left_out_of_folder(probe(write_clip(tmp_path / 'a.mkv')))
    assert lines == []
    source = write_clip(
        tmp_path / 'b.mkv',
        ratio=Fraction(4, 3),
        colors=dict(color_trc=16),
        times=[0, 40, 80, 300, 340, 380, 420, 460, 500],
        time_base=MS,
        sound='aac',
        chapters=((0, 400), ),
        tags=dict(artist='x'))
    sound, line = list_left_out_of_folder(probe(source))
    assert sound.startswith('stream 1 (audio, aac)')
    assert line == (
        'chapters, tags, frame times, pixel aspect ratio, transfer '
        f'characteristics of {source} are left out: a folder holds pictures '
        'alone')


@pytest.mark.parametrize('first, second', [('.mkv', '.mkv'), ('.mkv', '.mp4'),
                                           ('.mp4', '.mkv')])
def test_tags_that_are_not_utf8(tmp_path, first, second):
    """The file's, a chapter's and a stream's: their bytes are kept."""
    latin = b'caf\xe9'.decode('utf-8', 'surrogateescape')
    path = str(tmp_path / f'a{first}')
    with av.open(path, 'w', metadata_errors='surrogateescape') as container:
        video = container.add_stream('libx264rgb', rate=24)
        video.width, video.height, video.pix_fmt = 50, 34, 'rgb24'
        container.metadata['title'] = latin
        container.set_chapters([
            dict(
                id=1, start=0, end=90, time_base=MS, metadata={'title': latin})
        ])
        for index, frame in enumerate(FRAMES):
            coded = av.VideoFrame.from_ndarray(frame)
            coded.pts, coded.time_base = index, Fraction(1, 24)
            container.mux(video.encode(coded))
        container.mux(video.encode())
    output = tmp_path / f'b{second}'
    info, _ = restore(path, output)
    assert check_container(info, str(output), 1, LOSSLESS) == []
    with av.open(str(output), metadata_errors='surrogateescape') as container:
        assert container.metadata['title'] == latin
        assert container.chapters()[0]['metadata']['title'] == latin


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm', '.ts'])
def test_tags_that_are_lost_are_told(tmp_path, suffix):
    """In one line, those and no others."""
    tags = {
        'title': 'The title',
        'comment': 'A comment',
        'com.apple.quicktime.make': 'Apple',
        'com.apple.quicktime.location.ISO6709': '+48.1+011.5/',
        'odd': 'one',
    }
    source = write_clip(
        tmp_path / 'a.mov',
        tags=tags,
        container_options=dict(movflags='use_metadata_tags'))
    options = EncoderOptions('libvpx-vp9') if suffix == '.webm' else LOSSLESS
    if suffix == '.ts':
        options = EncoderOptions('libx264')
    output = tmp_path / f'b{suffix}'
    info, _ = restore(source, output, options)
    lines = check_container(info, str(output), 1, options)
    with av.open(str(output)) as container:
        kept = {key.lower() for key in container.metadata}
    lost = sorted(key for key in tags if key.lower() not in kept)
    assert bool(lost) == (suffix not in ('.mkv', '.webm'))
    assert [line for line in lines if 'tags of' in line] == [
        f'tags of {source} are left out, as '
        f'{dict(ts="mpegts").get(suffix[1:], suffix[1:])} holds none of '
        f'these: {", ".join(lost)}'
    ][:bool(lost)]


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.ts'])
def test_what_an_edit_list_cuts_off_is_not_heard(tmp_path, suffix):
    """MP4 hides a second of sound before the first frame (and AAC's priming):
    elsewhere it neither comes back nor delays all else, but for the packet
    that is partly hidden."""
    source = write_clip(
        tmp_path / 'a.mp4',
        frames=make_frames(30, (34, 50)),
        sound='aac',
        sound_seconds=2.2,
        sound_start=-16000,
        chapters=((0, 500), (500, 1000)),
        **YUV)

    def heard(path):
        """When the first and the last packet are played that are."""
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(audio=0)]
        return np.array([times[0], times[-1]])

    info, result = restore(source, tmp_path / f'b{suffix}', EncoderOptions())
    first = seconds(result)[0] - float(result.start)
    packet = 1024 / 16000
    assert 0 <= first < packet
    found = heard(tmp_path / f'b{suffix}') - seconds(result)[0]
    lag = found - heard(source)
    assert -packet < lag[0] <= 2e-3 and abs(lag[1]) < 2e-3
    if suffix != '.ts':
        with av.open(str(tmp_path / f'b{suffix}')) as container:
            assert [
                float(chapter['start'] * chapter['time_base'])
                for chapter in container.chapters()
            ] == [0, .5]


def test_names_like_protocols(tmp_path, monkeypatch):
    """FFmpeg takes 12:30.mkv for a place of a protocol 12."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / 'a.mkv')
    os.rename('a.mkv', '12:30.mkv')
    _, result = restore('12:30.mkv', '13:30.mkv')
    assert result.num_frames == 9
    assert np.array_equal(
        read_all(tmp_path / '13:30.mkv')[0], make_frames(9, (34, 50)))


def test_chapters_that_a_container_does_not_hold(tmp_path):
    source = write_clip(tmp_path / 'a.mkv', chapters=((0, 100), ))
    left, = check_container(probe(source), 'b.ts', 1, EncoderOptions())
    assert left.startswith('chapters of') and 'mpegts holds none' in left


def test_metadata_of_hdr_is_said_to_be_left_out(tmp_path):
    hdr = ('log-level=error:hdr10=1:repeat-headers=1:max-cll=1000,400:'
           'master-display=G(13250,34500)B(7500,3000)R(34000,16000)'
           'WP(15635,16450)L(10000000,1)')
    source = write_clip(
        tmp_path / 'a.mkv',
        codec='libx265',
        pix_fmt='yuv420p10le',
        options={'x265-params': hdr},
        colors=dict(color_primaries=9, color_trc=16, colorspace=9))
    info = probe(source)
    left, = check_container(info, 'b.mkv', 1, EncoderOptions('libx265'))
    assert left.startswith('CONTENT_LIGHT_LEVEL, MASTERING_DISPLAY_METADATA')
    assert 'left out' in left


def png():
    return cv2.imencode('.png', FRAMES[0])[1].tobytes()


def test_covers_and_attachments(tmp_path):
    source = write_clip(tmp_path / 'a.mp4', cover=png())
    for suffix in ('.mp4', '.mkv'):
        output = tmp_path / f'b{suffix}'
        info, result = restore(source, output)
        assert result.num_frames == 9
        with av.open(str(output)) as container:
            cover = [
                stream for stream in container.streams.video
                if stream.index != result.stream_index
            ]
            data = bytes(next(container.demux(cover)))
        assert len(cover) == 1 and data == png()
    source = write_clip(tmp_path / 'c.mkv', attachment=b'a font')
    info, _ = restore(source, tmp_path / 'd.mkv')
    with av.open(str(tmp_path / 'd.mkv')) as container:
        assert container.streams.attachments[0].data == b'a font'
    restore(source, tmp_path / 'd.mp4')
    left, = check_container(info, 'd.mp4', 1, LOSSLESS)
    assert 'stream 1 (attachment' in left and 'left out: mp4 holds no' in left


def test_leave_out(tmp_path):
    source = write_clip(tmp_path / 'a.mkv', sound='flac', subtitles='subrip')
    options = EncoderOptions(leave_out=('audio', ))
    info, _ = restore(source, tmp_path / 'b.mkv', options)
    left, = check_container(info, 'b.mkv', 1, options)
    assert 'stream 1 (audio, flac)' in left and 'as asked' in left
    assert packets_of(tmp_path / 'b.mkv', 'audio') == []
    assert len(packets_of(tmp_path / 'b.mkv', 'subtitle')) == 2


@pytest.mark.parametrize('settings, options, output, message', [
    (dict(subtitles='ass'), {}, 'b.mp4',
     r'stream 1 \(subtitle, ssa\).*mp4.*choose .mkv.*leave'),
    (dict(sound='pcm_s16le'), {}, 'b.webm', 'b.webm.*hold libx264.*webm'),
    (dict(sound='pcm_s16le'), dict(codec='libvpx-vp9', audio='copy'), 'b.webm',
     r'stream 1 \(audio, pcm_s16le\).*webm.*choose .mkv'),
    ({}, dict(codec='libvpx'), 'b.mp4', 'b.mp4.*hold libvpx.*choose .mkv'),
    ({}, {}, 'b.avi', "b.avi must end in .mp4.*time of.*'.avi'"),
    (dict(subtitles='subrip'), {}, 'b.ts',
     r'stream 1 \(subtitle, srt\).*mpegts.*--leave-out subtitle'),
    (dict(rotation=90), {}, 'b.ts', 'b.ts.*turn frames.*mpegts.*choose .mp4'),
])
def test_what_a_container_does_not_hold(tmp_path, settings, options, output,
                                        message):
    """It is told before work begins."""
    info = probe(write_clip(tmp_path / 'a.mkv', **settings))
    with pytest.raises(ValueError, match=message):
        check_container(info, output, 1, EncoderOptions(**options))


def test_folder_as_source(tmp_path):
    folder = write_folder(tmp_path / 'a', FRAMES)
    info = probe(folder, Fraction(30000, 1001))
    output = str(tmp_path / 'b.mp4')
    join_segments(write_segments(info, tmp_path), info, output, 1, LOSSLESS)
    assert probe(output).rate == Fraction(30000, 1001)
    assert np.array_equal(read_all(output)[0], FRAMES)


def test_repeats_bit_by_bit(tmp_path):
    source = write_clip(tmp_path / 'a.mp4', sound='aac')
    for suffix in ('.mp4', '.mkv'):
        data = []
        for name in 'bc':
            output = tmp_path / f'{name}{suffix}'
            restore(source, output)
            data.append(output.read_bytes())
        assert data[0] == data[1]


def test_segments_that_do_not_fit(tmp_path):
    info = probe(write_clip(tmp_path / 'a.mkv'))
    output = tmp_path / 'b.mkv'
    paths = write_segments(info, tmp_path / 'x')

    def join(paths, message):
        with pytest.raises(ValueError, match=message):
            join_segments(paths, info, str(output), 1, LOSSLESS)
        assert not output.exists()

    join(paths[:2], 'its 9 frames, found 8')
    other = write_segments(info, tmp_path / 'y',
                           EncoderOptions(pix_fmt='yuv444p'))
    join([*paths[:2], other[2]], 'encoded like .*h264 of 50x34.*remove it')
    with open(paths[1], 'rb') as file:
        data = file.read()
    with open(paths[1], 'wb') as file:
        file.write(data[:len(data) // 2])
    join(paths, '(found|must).*(frames|read)')
    open(paths[1], 'w').close()
    join(paths, 'segment_00004.mkv must be whole, found.*made anew')


def test_full_disk(tmp_path):
    """A real ENOSPC, of /dev/full: an error that names the file and the cure;
    nothing under the final name."""
    frames = np.random.default_rng(0).integers(
        0, 256, (9, 128, 192, 3), dtype=np.uint8)
    info = probe(write_clip(tmp_path / 'a.mkv', frames=frames, sound='aac'))
    paths = write_segments(info, tmp_path / 'x')
    for suffix in ('.mkv', '.mp4'):
        os.symlink('/dev/full', tmp_path / f'b{suffix}.partial')
        with pytest.raises(OutputError, match=f'b{suffix}.*No space.*free'):
            join_segments(paths, info, str(tmp_path / f'b{suffix}'), 1,
                          LOSSLESS)
        assert sorted(os.listdir(tmp_path)) == ['a.mkv', 'x']


@pytest.mark.parametrize('suffix, lost', [('.mkv', False), ('.mp4', True)])
def test_two_views_in_a_picture(tmp_path, suffix, lost):
    """Matroska has a tag for it, which is copied; else it is told."""
    path = write_clip(
        tmp_path / 'a.mkv', video_tags=dict(stereo_mode='left_right'))
    info = probe(path)
    assert info.side_data == ('STEREO3D', )
    lines = check_container(info, str(tmp_path / f'b{suffix}'), 1, LOSSLESS)
    assert any('STEREO3D of the video' in line for line in lines) == lost
