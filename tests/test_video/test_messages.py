"""Every way out of restoration and the converters is told by us: the error
names the file and the cure, and is no library's."""
import os
import os.path as osp
import re
import shutil
import socket
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from raw_material import make_frames, write_folder, write_sound, write_video
from tiny_model import restore, write_tiny
from video_files import write_clip

from dksan_mm.apis import probe
from dksan_mm.apis.estimate import estimate
from dksan_mm.apis.loading import load_model
from dksan_mm.datasets.conversion import convert
from dksan_mm.datasets.layout import Settings
from dksan_mm.datasets.splits import expand, named_splits, read_split
from dksan_mm.datasets.verification import verify
from dksan_mm.utils.faults import telling
from dksan_mm.video import scanning
from dksan_mm.video.clips import (Clip, find_numbered_sequences, list_sources,
                                  read_clip)
from dksan_mm.video.joining import check_container
from dksan_mm.video.options import EncoderOptions
from dksan_mm.video.probing import simple_rate

SIZE = (34, 50)
IS_ROOT = hasattr(os, 'geteuid') and os.geteuid() == 0
KEY = dict(
    encryption_scheme='cenc-aes-ctr',
    encryption_key='76a6c65c5ea762046bd749a2e632ccbb',
    encryption_kid='a7e61c373e219033c21091fa607bf3b8')


def cut(path, share):
    """Keep the beginning of a file."""
    with open(path, 'rb+') as file:
        file.truncate(int(share * osp.getsize(path)))
    return str(path)


def overwrite(path, start, stop):
    """Put noise in the place of a part of a file, shares from 0 to 1."""
    size = osp.getsize(path)
    noise = np.random.default_rng(0).bytes(int((stop - start) * size))
    with open(path, 'rb+') as file:
        file.seek(int(start * size))
        file.write(noise)
    return str(path)


def put(path, data):
    path.write_bytes(data)
    return str(path)


def patched(path, old, new):
    data = path.read_bytes()
    assert old in data
    return put(path, data.replace(old, new))


def clip(path, **options):
    return write_clip(path, frames=make_frames(9, SIZE), **options)


def encrypted(folder, **options):
    return clip(
        folder / 'a.mp4',
        codec='libx264',
        pix_fmt='yuv420p',
        options={},
        container_options=KEY,
        **options)


def animation(path):
    images = [Image.fromarray(frame) for frame in make_frames(9, SIZE)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    return str(path)


def frames_with(folder, damage):
    """Write a folder of frames, and damage the fifth."""
    path = folder / 'frames'
    write_folder(path, make_frames(8, SIZE))
    damage(path / '0005.png')
    return str(path)


def jpegs_with(folder, damage):
    path = folder / 'frames'
    exif = Image.Exif()
    exif[274] = 6
    path.mkdir()
    for index, frame in enumerate(make_frames(8, SIZE)):
        Image.fromarray(frame).save(path / f'{index}.jpg', exif=exif)
    damage(path / '5.jpg')
    return str(path)


def become_pipe(path):
    if path.exists():
        path.unlink()
    os.mkfifo(path)
    return str(path)


def become_socket(path):
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(path))
    return str(path)


def become_unreadable(path):
    os.chmod(path, 0)
    return str(path)


def tiff_with_a_loop(path):
    """A TIFF whose directory tells of more than there is."""
    put(path, b'II*\0\x08\0\0\0\xff\xff' + 40 * b'\x01')


ODD = {
    'nothing':
    lambda d: str(d / 'none.mp4'),
    'nothing below a file':
    lambda d: osp.join(put(d / 'file', b''), 'none.mp4'),
    'empty':
    lambda d: put(d / 'a.mp4', b''),
    'noise':
    lambda d: put(d / 'a.mp4',
                  np.random.default_rng(0).bytes(5000)),
    'text':
    lambda d: put(d / 'a.mkv', 50 * b'hello world\n'),
    'subtitles':
    lambda d: put(d / 'a.srt', b'1\n00:00:01,000 --> 00:00:02,000\nhi\n'),
    'sound':
    lambda d: write_sound(d / 'a.m4a'),
    'a list of what is not there':
    lambda d: put(d / 'a.ffconcat', b'ffconcat version 1.0\nfile none.mp4\n'),
    'an archive':
    lambda d: put(d / 'a.mp4', b'PK\3\4' + bytes(400)),
    'MP4 without its end':
    lambda d: cut(clip(d / 'a.mp4'), 0.6),
    'MP4 whose beginning is left':
    lambda d: cut(clip(d / 'a.mp4'), 0.001),
    'Matroska without its end':
    lambda d: cut(clip(d / 'a.mkv'), 0.5),
    'Matroska without frames':
    lambda d: cut(clip(d / 'a.mkv'), 0.025),
    'Matroska within its header':
    lambda d: cut(clip(d / 'a.mkv'), 0.008),
    'MP4 without frames':
    lambda d: clip(d / 'a.mp4', no_frames=True),
    'another kind under its name':
    lambda d: shutil.copy(cut(clip(d / 'a.mkv'), 0.4), d / 'b.mp4'),
    'characters':
    lambda d: put(d / 'a %s\n{x}: \udcff;é.mp4', b'odd'),
    'encrypted':
    encrypted,
    'an encrypted entry':
    lambda d:
    (clip(d / 'a.mp4'), patched(d / 'a.mp4', b'avc1\0', b'encv\0'))[1],
    'animated WebP':
    lambda d: animation(d / 'a.webp'),
    'a pipe':
    lambda d: become_pipe(d / 'a.mp4'),
    'a socket':
    lambda d: become_socket(d / 's'),
    'a device':
    lambda d: os.devnull,
    'an empty folder':
    lambda d: osp.join(d, 'empty',
                       os.mkdir(d / 'empty') or ''),
    'a folder with text':
    lambda d: osp.dirname(put(d / 'a.txt', b'x')),
    'PNG: empty':
    lambda d: frames_with(d, lambda p: put(p, b'')),
    'PNG: text':
    lambda d: frames_with(d, lambda p: put(p, b'hello')),
    'PNG: without its end':
    lambda d: frames_with(d, lambda p: cut(p, .5)),
    'PNG: noise':
    lambda d: frames_with(d, lambda p: overwrite(p, .3, .9)),
    'PNG: a folder':
    lambda d: frames_with(d, lambda p: (os.remove(p), os.mkdir(p))),
    'PNG: a pipe':
    lambda d: frames_with(d, become_pipe),
    'PNG: a link to itself':
    lambda d: frames_with(d, lambda p: (os.remove(p), os.symlink(p, p))),
    'PNG: a link to nothing':
    lambda d: frames_with(d, lambda p: (os.remove(p), os.symlink('none', p))),
    'PNG: a TIFF':
    lambda d: frames_with(d, tiff_with_a_loop),
    'JPEG with EXIF: empty':
    lambda d: jpegs_with(d, lambda p: put(p, b'')),
    'JPEG with EXIF: without its end':
    lambda d: jpegs_with(d, lambda p: cut(p, 0.5)),
    'JPEG with EXIF: within it':
    lambda d: jpegs_with(d, lambda p: cut(p, 0.05)),
}
if not IS_ROOT:  # who may read anything
    ODD.update({
        'unreadable':
        lambda d: become_unreadable(clip(d / 'a.mp4')),
        'PNG: unreadable':
        lambda d: frames_with(d, become_unreadable),
        'an unreadable folder':
        lambda d: become_unreadable(frames_with(d, lambda p: None)),
    })

# Of errors, by what they are of: of the file itself, or of one in the folder.
_CURE = re.compile(r'; \w+|pass --|\(--')


def check_told(work, source):
    """What work raises is told as we tell it."""
    with pytest.raises((OSError, ValueError)) as caught:
        work()
    error, text = caught.value, str(caught.value)
    assert type(error).__module__.startswith(('builtins', 'dksan_mm.')), error
    assert getattr(error, 'errno', None) is None, error
    assert not isinstance(error, UnicodeError), error
    assert osp.basename(osp.normpath(source)) in text
    assert _CURE.search(text), text


@pytest.fixture(params=sorted(ODD))
def odd(request, tmp_path):
    return ODD[request.param](tmp_path)


def _read(source):
    for _ in read_clip(Clip(source)):
        pass


def _convert(source):
    convert(
        osp.join(osp.dirname(osp.abspath(source)), 'out')
        if osp.dirname(source) != '/dev' else 'unused',
        named_splits(dict(train=[Clip(path) for path in expand([source])])),
        Settings('odd', scale=2))


@pytest.mark.parametrize('work', [probe, _read, _convert])
def test_sources(odd, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_told(lambda: work(odd), odd)


@pytest.mark.parametrize('name, reason', [
    ('encrypted', r'found stream 0 \(video, h264\) encrypted.*; use a file'),
    ('an encrypted entry', 'must not be encrypted.*; use a file without copy'),
    ('animated WebP', 'found: an animated WebP.*; convert it to a video or'),
    ('a list of what is not there', 'list of other files.*; name the video'),
    ('a pipe', 'found a pipe; write what comes from it to a file first'),
    ('a socket', 'found a socket; write'),
    ('a device', 'found a device; write'),
    ('PNG: a pipe', '0005.png must be .*found a pipe; write'),
])
def test_reasons(tmp_path, name, reason):
    with pytest.raises(ValueError, match=reason):
        probe(ODD[name](tmp_path))


def test_encrypted_sound(tmp_path):
    """It would be copied, and nobody could hear it."""
    clear = clip(tmp_path / 'b.mp4', sound='aac')
    path = encrypted(tmp_path, sound='aac')
    info = replace(probe(clear), path=path)
    with pytest.raises(ValueError, match=r'a.mp4 must not.*\(audio, aac\)'):
        check_container(info, 'c.mkv', 1, EncoderOptions())


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return load_model(*write_tiny(tmp_path_factory.mktemp('tiny')), 'cpu')


def test_restoration(odd, model, tmp_path):
    output = tmp_path / 'out.mkv'
    check_told(lambda: restore(model, odd, output), odd)
    assert not output.exists() and not osp.exists(f'{output}.partial')
    check_told(lambda: estimate(model, odd, str(output)), odd)


def test_a_stream_that_begins_within_a_file(tmp_path, monkeypatch):
    """PyAV raises an IndexError, which has no word for a user."""
    path = clip(tmp_path / 'a.mkv')

    def fail(streams, number):
        return av.open(path).streams[7]

    monkeypatch.setattr(scanning, 'Clock', lambda file: fail(file, 7))
    check_told(lambda: probe(path), path)
    # an error of our own is none of the file
    monkeypatch.setattr(scanning, 'Clock', lambda file: [][7])
    with pytest.raises(IndexError):
        probe(path)


def test_errors_of_libraries_of_any_class(tmp_path):
    """Also those that they raise as Python's own."""
    for work in (lambda: av.VideoFrame.from_ndarray(np.zeros(3)),
                 lambda: av.VideoFormat('none'),
                 lambda: cv2.imread('none', 'none'),
                 lambda: os.stat(tmp_path / 'none')):

        def tell():
            with telling(str(tmp_path / 'none')):
                work()

        check_told(tell, 'none')
    with pytest.raises(ZeroDivisionError):
        with telling('a'):
            1 / 0


def test_rates_that_ffmpeg_does_not_take():
    """Of damaged files: they come to what it takes."""
    for rate in (Fraction(2**40), Fraction(1, 2**40)):
        found = simple_rate(rate)
        assert max(found.numerator, found.denominator) == 10**6


def test_what_converters_list(tmp_path):
    check_told(lambda: list_sources(str(tmp_path / 'none')), 'none')
    path = put(tmp_path / 'file', b'x')
    for work in (lambda: list_sources(path),
                 lambda: find_numbered_sequences([path])):
        check_told(work, path)
    os.mkdir(tmp_path / 'root')
    check_told(lambda: find_numbered_sequences([str(tmp_path / 'root')]),
               'root')


@pytest.mark.parametrize(
    'content', [b'', b'\xff\xfe\0\x01', b'000 1\n', b'000\n000\n', b'a b c\n'])
def test_split_files(tmp_path, content):
    path = put(tmp_path / 'a.txt', content)
    check_told(lambda: read_split(path), path)
    check_told(lambda: read_split(str(tmp_path)), tmp_path)
    check_told(lambda: read_split(str(tmp_path / 'none.txt')), 'none.txt')


@pytest.mark.parametrize('damage', [
    lambda path: put(path, b'\xff\0'), lambda path: put(path, b'{'),
    lambda path: (os.remove(path), os.mkdir(path)), os.remove
])
def test_checks_of_a_data_set(tmp_path, damage):
    source = write_video(tmp_path / 'a.mkv', make_frames(8, SIZE))
    out = str(tmp_path / 'out')
    convert(out, named_splits(dict(train=[Clip(source)])), Settings('a', 2))
    damage(tmp_path / 'out' / 'metadata.json')
    check_told(lambda: verify(out), 'metadata.json')


def test_outputs(model, tmp_path):
    """No folder for it, a file for a folder, ...; what is left by another."""
    source = write_video(tmp_path / 'in.mkv', make_frames(8, SIZE))
    file = put(tmp_path / 'file', b'x')
    for output in (tmp_path / 'none' / 'out.mkv', f'{file}/out.mkv',
                   tmp_path / ('x' * 300 + '.mkv'), tmp_path / 'out.abc',
                   tmp_path / 'file', source):
        check_told(lambda: restore(model, source, output), str(output))
    partial = tmp_path / 'out.mkv.partial'
    partial.write_bytes(b'')
    check_told(lambda: restore(model, source, tmp_path / 'out.mkv'), partial)
    partial.unlink()
    partial.mkdir()
    for name in ('settings.json', 'ready.json', 'segment_00000.mkv'):
        put(partial / name, b'\xff{')
    check_told(
        lambda: restore(model, source, tmp_path / 'out.mkv', resume=True),
        partial)
    os.remove(partial / 'ready.json')
    os.mkdir(partial / 'ready.json')
    check_told(
        lambda: restore(model, source, tmp_path / 'out.mkv', resume=True),
        partial)
