"""Segments of a video, and single images."""
import errno
import os
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from raw_material import make_frames
from video_files import read_all, write_clip

from dksan_mm.utils.files import OutputError
from dksan_mm.video import encoding
from dksan_mm.video.encoding import check_encoder, write_segment
from dksan_mm.video.images import write_frame
from dksan_mm.video.joining import count_frames
from dksan_mm.video.options import EncoderOptions
from dksan_mm.video.probing import probe
from dksan_mm.video.reader import read_frames

LOSSLESS = EncoderOptions(lossless=True)


def source(tmp_path, frames=None, **settings):
    """Return what a small video is."""
    if frames is not None:
        settings['frames'] = frames
    return probe(write_clip(tmp_path / 'source.mkv', **settings))


def smooth(count):
    """Return frames of slow gradients, whose chroma survives 4:2:0."""
    coarse = np.random.default_rng(0).integers(
        0, 256, (count, 2, 3, 3), dtype=np.uint8)
    return np.stack([
        cv2.resize(image, (192, 128), interpolation=cv2.INTER_LINEAR)
        for image in coarse
    ])


@pytest.mark.parametrize('codec', ['libx264', 'libx265', 'libvpx-vp9', 'ffv1'])
def test_lossless_keeps_all_bits(tmp_path, codec):
    frames = np.random.default_rng(0).integers(
        0, 256, (5, 34, 50, 3), dtype=np.uint8)
    info = source(tmp_path, frames)
    path = str(tmp_path / 'segment')
    options = EncoderOptions(codec, lossless=True)
    assert write_segment(path, frames[1:], info, 1, 1, options) == 4
    assert np.array_equal(read_all(path)[0], frames[1:])


@pytest.mark.parametrize('codec', ['libx265', 'ffv1'])
def test_lossless_of_ten_bits(tmp_path, codec):
    frames = np.random.default_rng(0).integers(
        0, 1024, (5, 34, 50, 3), dtype=np.uint16)
    deep = dict(codec='ffv1', pix_fmt='gbrp10le', options={})
    info = source(tmp_path, frames, **deep)
    path = str(tmp_path / 'segment')
    options = EncoderOptions(codec, lossless=True)
    write_segment(path, frames, info, 0, 1, options)
    assert np.array_equal(list(read_frames(probe(path))), frames)
    with pytest.raises(ValueError, match='10 bits.*libx265 or ffv1'):
        write_segment(path, frames, info, 0, 1, LOSSLESS)


ENCODE_FROM_GARBAGE = '''
import ctypes
import sys
import numpy as np
from dksan_mm.apis import EncoderOptions, probe, read_frames, write_segment

source, folder = sys.argv[1:]
info = probe(source)
frames = list(read_frames(info))
size = 32 << 20
libc = ctypes.CDLL(None)
libc.malloc.argtypes = libc.free.argtypes = [ctypes.c_size_t]
libc.malloc.restype = ctypes.c_size_t
# M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX: what is freed is reused
for name, value in ((-3, 1 << 30), (-1, 1 << 30), (-8, 1)):
    libc.mallopt(name, value)
rng = np.random.default_rng(0)
for index in range(8):
    memory = libc.malloc(size)
    values = np.frombuffer((ctypes.c_char * size).from_address(memory), 'i2')
    values[:] = rng.integers(-200, 1, values.size)
    libc.free(memory)
    write_segment(f'{folder}/{index}', frames, info, 0, 1, EncoderOptions())
'''


def test_nothing_depends_on_what_memory_held(tmp_path):
    """x264 alone does, on CPUs with AVX-512."""
    path = source(tmp_path, make_frames(6, (36, 52))).path
    subprocess.run([sys.executable, '-c', ENCODE_FROM_GARBAGE, path, tmp_path],
                   check=True)
    segments = [(tmp_path / str(index)).read_bytes() for index in range(8)]
    assert len(set(segments)) == 1


@pytest.mark.parametrize('codec', ['libx264', 'libx265', 'libsvtav1'])
def test_ten_bits_stay(tmp_path, codec):
    frames = smooth(4).astype(np.uint16) * 4 + 2
    deep = dict(codec='ffv1', pix_fmt='yuv420p10le', options={})
    info = source(tmp_path, frames, **deep)
    path = str(tmp_path / 'segment')
    read = list(read_frames(info))
    write_segment(path, read, info, 0, 1, EncoderOptions(codec, crf=2))
    again = probe(path)
    assert again.bit_depth == 10
    difference = np.stack(list(read_frames(again))).astype(int) - read
    assert np.abs(difference).mean() < 4  # of 1023


@pytest.mark.parametrize('matrix', [1, 5, 6, 9])
@pytest.mark.parametrize('color_range', [1, 2])
@pytest.mark.parametrize('pix_fmt', ['yuv444p', 'yuv420p'])
def test_colors(tmp_path, matrix, color_range, pix_fmt):
    """Decoded and encoded again, colours are as they were, and so is what the
    file says of them."""
    frames = smooth(3)
    colors = dict(
        color_range=color_range,
        colorspace=matrix,
        color_primaries=9,
        color_trc=16)
    info = source(
        tmp_path,
        frames,
        codec='libx264',
        pix_fmt=pix_fmt,
        options=dict(qp='0'),
        colors=colors,
        matrix={6: 5}.get(matrix, matrix))
    read = np.stack(list(read_frames(info))).astype(int)
    assert np.abs(read - frames).mean() < 1
    path = str(tmp_path / 'segment')
    options = EncoderOptions('libx264', pix_fmt=pix_fmt, extra=(('qp', '0'), ))
    write_segment(path, read.astype(np.uint8), info, 0, 1, options)
    again = probe(path)
    assert (again.color_range, again.colorspace, again.primaries,
            again.trc) == (color_range, matrix, 9, 16)
    difference = np.abs(np.stack(list(read_frames(again))) - read)
    assert difference.mean() < 1
    assert difference.max() <= (2 if pix_fmt == 'yuv444p' else 4)


def test_grey_levels_of_any_range(tmp_path):
    """Black stays black and white stays white, in either range."""
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (2, 34, 64, 3)).copy()
    for color_range in (1, 2):
        info = source(
            tmp_path,
            frames,
            codec='libx264',
            pix_fmt='yuv420p',
            colors=dict(color_range=color_range))
        read = np.stack(list(read_frames(info)))
        path = str(tmp_path / 'segment')
        options = EncoderOptions(extra=(('qp', '0'), ))
        write_segment(path, read, info, 0, 1, options)
        again = np.stack(list(read_frames(probe(path)))).astype(int)
        assert np.abs(again - frames).max() <= 2
        assert (again[..., 0, :] == 0).all() and (again[..., -1, :]
                                                  == 255).all()


@pytest.mark.parametrize('codec', ['libx264', 'libx265', 'ffv1'])
def test_grey_format(tmp_path, codec):
    """swscale makes grey of full range only: the file says so."""
    levels = np.linspace(0, 255, 64).round().astype(np.uint8)
    frames = np.broadcast_to(levels[None, None, :, None],
                             (2, 34, 64, 3)).copy()
    info = source(tmp_path, frames, colors=dict(color_range=1))
    lossless = dict(
        libx264=('qp', '0'),
        libx265=('x265-params', 'lossless=1'),
        ffv1=('g', '1'))
    path = str(tmp_path / 'segment')
    options = EncoderOptions(codec, pix_fmt='gray', extra=(lossless[codec], ))
    write_segment(path, frames, info, 0, 1, options)
    again = probe(path)
    assert again.color_range == 2
    read = np.stack(list(read_frames(again))).astype(int)
    assert np.abs(read - frames).max() <= 1


@pytest.mark.parametrize('codec', ['libx264', 'libx265'])
def test_chroma_is_where_it_is_said_to_be(tmp_path, codec):
    """A ramp of hue is read as it was written, not a half pixel beside."""
    ramp = np.linspace(60, 190, 192).astype(np.uint8)
    frames = np.full((3, 128, 192, 3), 128, np.uint8)
    frames[..., 0] = ramp
    info = source(tmp_path, frames)
    path = str(tmp_path / 'segment')
    extra = dict(libx264=('qp', '1'), libx265=('x265-params', 'lossless=1'))
    options = EncoderOptions(codec, extra=(extra[codec], ))
    write_segment(path, frames, info, 0, 1, options)
    read = np.stack(list(read_frames(probe(path)))).astype(float)
    # a half pixel is a third of a level
    assert abs((read - frames)[:, 16:-16, 16:-16, 0].mean()) < .12


def test_segments_repeat_bit_by_bit(tmp_path):
    """Whoever makes one, and whatever was made before."""
    frames = make_frames(12, (64, 96))
    info = source(tmp_path, frames)
    options = EncoderOptions()
    data = []
    for name in 'ab':
        path = tmp_path / name
        write_segment(str(path), frames[4:], info, 4, 1, options)
        data.append(path.read_bytes())
    assert data[0] == data[1]


@pytest.mark.parametrize('count', [1, 2])
def test_segments_of_few_frames(tmp_path, monkeypatch, count):
    """x265 gives their packets times of decoding that memory held."""
    frames = make_frames(count, (36, 52))
    info = source(tmp_path, frames)
    path = str(tmp_path / 'segment')
    add_video_stream = encoding.add_video_stream

    class Stream:

        def __init__(self, *args):
            self.stream = add_video_stream(*args)

        def encode(self, frame):
            for packet in self.stream.encode(frame):
                packet.dts = 3 << 50
                yield packet

    monkeypatch.setattr(encoding, 'add_video_stream', Stream)
    options = EncoderOptions('libx265')
    assert write_segment(path, frames, info, 0, 1, options) == count
    assert count_frames(path) == count


def test_x265_does_not_tell_its_cpu(tmp_path):
    """So that segments of several machines join."""
    frames = make_frames(3, (36, 52))
    info = source(tmp_path, frames)
    path = tmp_path / 'segment'
    for lossless in (False, True):
        options = EncoderOptions('libx265', lossless=lossless)
        write_segment(str(path), frames, info, 0, 1, options)
        assert b'cpuid' not in path.read_bytes()


def test_options_reach_the_encoder(tmp_path):
    frames = np.random.default_rng(0).integers(
        0, 256, (4, 64, 96, 3), dtype=np.uint8)
    info = source(tmp_path, frames)

    def size(**options):
        path = tmp_path / 'segment'
        write_segment(str(path), frames, info, 0, 1, EncoderOptions(**options))
        return path.stat().st_size

    for codec in ('libx264', 'libx265', 'libsvtav1', 'libvpx-vp9'):
        assert size(codec=codec, crf=45) < 0.6 * size(codec=codec)
    assert size(preset='ultrafast') != size(preset='slow')
    assert size(extra=(('qp', '51'), )) < size()
    assert size(codec='mpeg4', extra=(('qmin', '20'), ('qmax', '20')))


def test_usual_format():
    """4:2:0, or what is next to it where the encoder has it not."""
    assert EncoderOptions().pixel_format(8) == 'yuv420p'
    assert EncoderOptions('libx265').pixel_format(10) == 'yuv420p10le'
    assert EncoderOptions('prores_ks').pixel_format(8) == 'yuv422p10le'
    assert EncoderOptions('prores_ks').pixel_format(10) == 'yuv422p10le'


@pytest.mark.parametrize('name, encoder', [('h264', 'libx264'),
                                           ('hevc', 'libx265'),
                                           ('vp9', 'libvpx-vp9')])
def test_a_codec_is_its_encoder(name, encoder):
    assert EncoderOptions(name, crf=20) == EncoderOptions(encoder, crf=20)


@pytest.mark.parametrize('codec', ['libx264', 'libx264rgb', 'h264'])
def test_x264_on_any_cpu(codec):
    extra = (('x264-params', 'bframes=2'), )
    options = EncoderOptions(codec, pix_fmt='rgb24', extra=extra)
    name, settings = options.encoder(8)
    assert name == 'libx264rgb'
    assert settings['x264-params'] == 'cpu-independent=1:bframes=2'


def test_extra_options_join_those_there_are():
    options = EncoderOptions(
        'libx265', lossless=True, extra=(('x265-params', 'bframes=2'), ))
    _, settings = options.encoder(8)
    assert settings['x265-params'].endswith('lossless=1:bframes=2')


@pytest.mark.parametrize('options, message', [
    (dict(codec='libnone'), 'encoder of this PyAV.*libnone.*libx264'),
    (dict(codec='aac'), 'video encoder'),
    (dict(codec='mpeg4', crf=3), 'crf must be used with.*libx264.*mpeg4'),
    (dict(codec='ffv1', preset='slow'), 'preset must be used with'),
    (dict(codec='libsvtav1', lossless=True), 'lossless must be used with'),
    (dict(crf=3, lossless=True), 'crf must not be given with lossless'),
    (dict(crf=52), 'crf of libx264 must be from 0 to 51, got 52'),
    (dict(crf=float('nan')), 'crf of libx264 must be from 0'),
    (dict(leave_out='audio'), "leave_out must be a tuple.*got 'audio'"),
    (dict(threads=0), 'threads must be at least 1, got 0'),
    (dict(leave_out=('sound', )), "leave_out.*audio.*got 'sound'"),
])
def test_options_that_are_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderOptions(**options)


@pytest.mark.parametrize('options, scale, message', [
    ({}, 328, 'of 16400x11152 .*must fit.*16400.*choose.*--height'),
    (dict(preset='silly'), 1,
     'options of libx264 in yuv420p must.*found.*silly.*choose others of'),
    (dict(pix_fmt='gbrp14le'), 1, 'options of libx264 in gbrp14le must'),
    (dict(extra=(('crff', '3'),
                 ('bf', '2'))), 1, 'options of libx264 .* no option crff;'),
    (dict(pix_fmt='yuv'), 1, "pix_fmt must be one.*'yuv'.*yuv420p"),
])
def test_what_an_encoder_does_not_take(tmp_path, options, scale, message):
    """It is told before work begins."""
    info = source(tmp_path)
    with pytest.raises(ValueError, match=message):
        check_encoder(info, scale, EncoderOptions(**options))
    check_encoder(info, 4, EncoderOptions())


def test_odd_sizes(tmp_path):
    """4:2:0 has none; at an even scale there are none, and 4:4:4 does."""
    frames = make_frames(2, (33, 51))
    info = source(tmp_path, frames)
    with pytest.raises(
            ValueError,
            match=r'restored frames of 51x33 \(\S+\) must .*; choose another '
            r'size \(--height.*yuv444p for odd sizes'):
        check_encoder(info, 1, EncoderOptions())
    check_encoder(info, 2, EncoderOptions())
    check_encoder(info, 1, LOSSLESS)
    path = str(tmp_path / 'segment')
    write_segment(path, frames, info, 0, 1, EncoderOptions(pix_fmt='yuv444p'))
    assert (probe(path).width, probe(path).height) == (51, 33)


def test_frames_that_do_not_fit(tmp_path):
    info = source(tmp_path)
    path = str(tmp_path / 'segment')
    frames = make_frames(9, (34, 50))
    cases = [
        (frames[:, :32], 0, r'must be \(34, 50, 3\) uint8'),
        (frames.astype(np.uint16), 0, 'uint8, got.*uint16'),
        (frames[:0], 0, 'must hold 1 to 9 frames.*got 0'),
        (frames, 3, 'must hold 1 to 6 frames.*got 9'),
    ]
    for wrong, start, message in cases:
        with pytest.raises(ValueError, match=message):
            write_segment(path, wrong, info, start, 1, LOSSLESS)
        assert os.listdir(tmp_path) == ['source.mkv']


def test_error_of_frames_leaves_nothing(tmp_path):

    def broken():
        yield make_frames(1, (34, 50))[0]
        raise OSError(errno.EIO, 'of the source')

    with pytest.raises(OSError, match='of the source') as caught:
        write_segment(
            str(tmp_path / 'segment'), broken(), source(tmp_path), 0, 1,
            LOSSLESS)
    assert not isinstance(caught.value, OutputError)
    assert os.listdir(tmp_path) == ['source.mkv']


def test_full_disk(tmp_path):
    """A real ENOSPC, of /dev/full: an error that names the file and the cure;
    nothing under the final name."""
    frames = np.random.default_rng(0).integers(
        0, 256, (30, 128, 192, 3), dtype=np.uint8)
    info = source(tmp_path, frames)
    os.symlink('/dev/full', tmp_path / 'segment.partial')
    with pytest.raises(OutputError, match='segment.*No space.*free disk'):
        write_segment(str(tmp_path / 'segment'), frames, info, 0, 1, LOSSLESS)
    os.symlink('/dev/full', tmp_path / '00000003.png.partial')
    with pytest.raises(OutputError, match='00000003.png.*No space'):
        write_frame(str(tmp_path), 3, frames[0])
    assert os.listdir(tmp_path) == ['source.mkv']


def test_images(tmp_path):
    """8 bits as they are, 10 as 16; turned as the source says."""
    frame = make_frames(1, (34, 50))[0]
    write_frame(str(tmp_path / 'a'), 12, frame)
    path = tmp_path / 'a' / '00000012.png'
    assert np.array_equal(cv2.imread(str(path), -1)[..., ::-1], frame)
    deep = frame.astype(np.uint16) * 4
    deep[0, :2] = [[0, 1, 2], [1021, 1022, 1023]]
    write_frame(str(tmp_path / 'a'), 12, deep)
    read = cv2.imread(str(path), -1)[..., ::-1]
    assert read.dtype == np.uint16
    assert np.array_equal((read * (1023 / 65535)).round(), deep)
    assert read[0, 0, 0] == 0 and read[0, 1, 2] == 65535
    info = source(tmp_path, rotation=270)
    write_frame(str(tmp_path / 'a'), 12, frame, info)
    read = cv2.imread(str(path), -1)[..., ::-1]
    assert np.array_equal(read, np.rot90(frame, 3))


def test_shape_of_pixels(tmp_path):
    info = source(tmp_path, ratio=Fraction(4, 3))
    path = str(tmp_path / 'segment')
    write_segment(path, read_frames(info), info, 0, 1, EncoderOptions())
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.skipif(
    not hasattr(os, 'sched_getscheduler'), reason='needs Linux')
def test_av1_leaves_the_priority_of_threads(tmp_path):
    """SVT-AV1 raises it to the highest of all, where the user is root."""
    frames = make_frames(3)
    info = source(tmp_path, frames)

    def priorities():
        return {
            os.sched_getscheduler(int(thread))
            for thread in os.listdir('/proc/self/task')
        }

    before = priorities()
    options = EncoderOptions(codec='libsvtav1')
    check_encoder(info, 4, options)
    assert priorities() == before

    def larger():
        for frame in frames:
            assert priorities() == before
            yield frame.repeat(4, 0).repeat(4, 1)
        assert priorities() == before

    write_segment(str(tmp_path / 'out.mkv'), larger(), info, 0, 4, options)
    assert priorities() == before
