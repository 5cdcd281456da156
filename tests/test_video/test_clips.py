"""Raw material: what is read, and what is refused."""
import os
import os.path as osp

import av
import numpy as np
import pytest
from PIL import Image
from raw_material import (make_frames, scene, turn_video, write_folder,
                          write_image, write_sound, write_video)
from video_files import write_clip

from dksan_mm.apis import probe, read_frames
from dksan_mm.video import clips
from dksan_mm.video.clips import (Clip, find_numbered_sequences, list_sources,
                                  read_clip, stem_of)
from dksan_mm.video.folders import list_frames, read_image
from dksan_mm.video.source import turn_upright


def read(path, *span):
    return np.stack(list(read_clip(Clip(str(path), *span))))


@pytest.mark.parametrize('template, start', [
    ('{:04d}.png', 0),
    ('{:06d}.png', 1),
    ('{:08d}.png', 117),
    ('frame_{}.bmp', 7),
])
def test_folders(tmp_path, template, start):
    """Any number of digits, also none (7 before 10), from any number on."""
    frames = make_frames(12)
    write_folder(tmp_path, frames, template, start)
    (tmp_path / 'notes.txt').write_text('no frame')
    np.testing.assert_array_equal(read(tmp_path), frames)
    np.testing.assert_array_equal(read(tmp_path, 2, 5), frames[2:5])


def test_names_without_numbers(tmp_path):
    frames = make_frames(3)
    for name, frame in zip('abc', frames):
        write_image(str(tmp_path / f'{name}.png'), frame)
    np.testing.assert_array_equal(read(tmp_path), frames)


def test_jpeg(tmp_path):
    frames = make_frames(7)
    write_folder(tmp_path, frames, '{:05d}.JPG')
    assert np.abs(read(tmp_path).astype(int) - frames).mean() < 6


def test_video(tmp_path):
    frames = make_frames(9, (70, 68))
    path = write_video(tmp_path / 'v.mp4', frames)
    assert np.abs(read(path).astype(int) - frames).max() <= 3  # YUV
    np.testing.assert_array_equal(read(path, 2, 5), read(path)[2:5])


def test_video_is_upright(tmp_path):
    frames = make_frames(7, (70, 96))
    path = write_video(tmp_path / 'v.mp4', frames)
    turn_video(path)
    expected = np.rot90(frames, -1, (1, 2))
    assert np.abs(read(path).astype(int) - expected).max() <= 3


def test_grey_and_opaque_images(tmp_path):
    image = scene((20, 30))
    write_image(str(tmp_path / 'grey.png'), image[..., 0])
    opaque = np.dstack([image, np.full((20, 30), 255, np.uint8)])
    write_image(str(tmp_path / 'opaque.png'), opaque)
    np.testing.assert_array_equal(
        read_image(str(tmp_path / 'grey.png')),
        np.repeat(image[..., :1], 3, -1))
    np.testing.assert_array_equal(
        read_image(str(tmp_path / 'opaque.png')), image)


def deep_grey(path, image):
    write_image(path, image[..., 0].astype(np.uint16) * 257)


def deep_rgb(path, image):
    write_image(path, image.astype(np.uint16) * 257)


def transparent(path, image):
    write_image(path, np.dstack([image, image[..., 0]]))


def truncated(path, image):
    write_image(path, image)
    os.truncate(path, osp.getsize(path) // 2)


def header_only(path, image):
    write_image(path, image)
    os.truncate(path, 40)


def flipped_bits(path, image):
    write_image(path, image)
    with open(path, 'r+b') as file:
        file.seek(osp.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))


@pytest.mark.parametrize('write, message', [
    (deep_grey, 'must have 8 bits a channel, found more'),
    (deep_rgb, 'must have 8 bits a channel, found more'),
    (transparent, r'must be opaque, found alpha values down to \d+'),
    (truncated, 'must be a readable image, found'),
    (header_only, 'must be a readable image, found'),
    (flipped_bits, 'must be a readable image, found'),
])
def test_images_that_are_refused(tmp_path, write, message):
    folder = write_folder(tmp_path / 'f', make_frames(8, (40, 50)))
    write(osp.join(folder, '0005.png'), scene((40, 50)))
    with pytest.raises(ValueError, match=f'0005.png {message}'):
        read(folder)


def unlike(folder):
    write_image(osp.join(folder, '0008.png'), scene((70, 50)))


def gap(folder):
    os.remove(osp.join(folder, '0004.png'))


def twice(folder):
    write_image(osp.join(folder, '4.jpg'), scene((70, 67)))


def unnumbered(folder):
    write_image(osp.join(folder, 'cover.png'), scene((70, 67)))


def empty(folder):
    for name in os.listdir(folder):
        os.remove(osp.join(folder, name))


@pytest.mark.parametrize('damage, message', [
    (unlike, '0008.png must be as large as .*, 67x70, found 50x70'),
    (gap, 'without a gap, found 0005.png after 0003.png'),
    (twice, r'different numbers, found 0004.png and 4.jpg'),
    (unnumbered, 'all be numbered, or none, found cover.png'),
    (empty, 'must be a video or a folder of images .* found no frame'),
])
def test_folders_that_are_refused(tmp_path, damage, message):
    folder = write_folder(tmp_path / 'f', make_frames())
    damage(folder)
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_fewer_frames_than_asked(tmp_path):
    folder = write_folder(tmp_path / 'f', make_frames(8))
    assert len(read(folder, 2, 8, True)) == 6
    with pytest.raises(
            ValueError,
            match='f must have 14 frames from number 2 on.*found 6'):
        read(folder, 2, 16, True)


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_truncated_video(tmp_path, suffix):
    """Whether the header is at the front or at the end of the file."""
    frames = make_frames(48, (70, 68))
    options = dict(qp='0', preset='ultrafast', g='4')
    path = write_video(tmp_path / f'v.{suffix}', frames, options=options)
    os.truncate(path, osp.getsize(path) * 2 // 3)
    with pytest.raises(ValueError, match=f'v.{suffix} must '):
        read(path)


def test_truncated_video_with_its_header_in_front(tmp_path):
    path = str(tmp_path / 'v.mp4')
    with av.open(path, 'w', options=dict(movflags='faststart')) as container:
        stream = container.add_stream('libx264', rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        stream.options = dict(preset='ultrafast', g='4')
        for frame in make_frames(48, (64, 64)):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(frame).reformat(
                        format='yuv420p')))
        container.mux(stream.encode())
    os.truncate(path, osp.getsize(path) * 2 // 3)
    with pytest.raises(ValueError, match='v.mp4 must '):
        read(path)


def test_other_files_that_are_refused(tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(ValueError, match='text.mp4 must be a video'):
        read(tmp_path / 'text.mp4')
    with pytest.raises(ValueError, match='must have a video stream'):
        read(write_sound(tmp_path / 'sound.mp4'))
    with pytest.raises(FileNotFoundError, match='none.mp4 must be a video'):
        read(tmp_path / 'none.mp4')


def test_numbered_sequences(tmp_path):
    train, val = tmp_path / 'TrainingHR', tmp_path / 'Validation'
    write_folder(train / 'video_000', make_frames(2))
    write_folder(train / '001', make_frames(2))
    write_video(val / '50.mp4', make_frames(2, (64, 64)))
    write_folder(val / 'notes', make_frames(2))
    found = find_numbered_sequences([str(train), str(val)])
    assert found == {
        '000': str(train / 'video_000'),
        '001': str(train / '001'),
        '050': str(val / '50.mp4')
    }
    with pytest.raises(
            ValueError,
            match='found none; name the folders that hold some: .*HR'):
        find_numbered_sequences([str(tmp_path)])
    write_folder(train / '000', make_frames(2))
    with pytest.raises(
            ValueError, match='sequence 000 must be there once, found .*000'):
        find_numbered_sequences([str(train)])


@pytest.mark.parametrize('names', [
    [f'{i}_out.png' for i in range(1, 13)],
    [f'frame{i}.out.png' for i in range(12)],
    [f'2020_take2_{i}.png' for i in range(8, 20)],
    [f'{i:04d}_at_{40 * i}ms.png' for i in range(12)],
])
def test_numbers_anywhere_in_a_name(tmp_path, names):
    for name in names:
        write_image(str(tmp_path / name), make_frames(1)[0])
    assert list_frames(str(tmp_path)) == names


@pytest.mark.parametrize('names, message', [
    (['1_out.png', '2_in.png'], 'must be named alike but for their numbers'),
    (['a1_b2.png', 'a2_b1.png'], 'one number that counts them.*split'),
    (['1_1.png', '1_2.png', '2_1.png', '2_2.png'], 'one number that counts'),
    (['1_out.png', '3_out.png'], 'without a gap, found 3_out.png'),
    (['1_out.png', '01_out.png'], 'different numbers'),
    (['1_out.png', 'out.png'], 'all be numbered, or none, found out.png'),
])
def test_numbers_that_are_ambiguous(tmp_path, names, message):
    for name in names:
        write_image(str(tmp_path / name), make_frames(1)[0])
    with pytest.raises(ValueError, match=message):
        list_frames(str(tmp_path))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_photographs(tmp_path, orientation):
    image = Image.fromarray(make_frames(1, (70, 67))[0])
    exif = Image.Exif()
    exif[0x112] = orientation
    path = str(tmp_path / 'a.jpg')
    image.save(path, exif=exif, quality=95)
    found = read_image(path).astype(int)
    # what the camera saw, by the standard's words on each value
    turned = [
        lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1],
        lambda a: a[::-1], lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1),
        lambda a: np.rot90(a)
    ][orientation - 1](
        np.asarray(image).astype(int))
    assert found.shape == turned.shape
    assert np.abs(found - turned).mean() < 3


@pytest.mark.parametrize('suffix, codec, pix_fmt', [
    ('.MTS', 'mpeg2video', 'yuv420p'),
    ('.m2ts', 'mpeg2video', 'yuv420p'),
    ('.vob', 'mpeg2video', 'yuv420p'),
    ('.wmv', 'wmv2', 'yuv420p'),
    ('.flv', 'flv1', 'yuv420p'),
    ('.3gp', 'mpeg4', 'yuv420p'),
    ('.mxf', 'mpeg2video', 'yuv422p'),
    ('.gif', 'gif', 'rgb8'),
    ('.y4m', 'wrapped_avframe', 'yuv420p'),
])
def test_videos_are_known_by_content(tmp_path, suffix, codec, pix_fmt):
    path = tmp_path / f'clip{suffix}'
    form = dict(
        zip(('.MTS', '.m2ts', '.y4m'),
            ('mpegts', 'mpegts', 'yuv4mpegpipe'))).get(suffix)
    with av.open(str(path), 'w', format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 80, pix_fmt
        for image in make_frames(8, (80, 96)):
            frame = av.VideoFrame.from_ndarray(image)
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    (tmp_path / 'notes.txt').write_text('just a note')
    write_sound(tmp_path / 'sound.m4a')
    assert list_sources(str(tmp_path)) == [str(path)]
    assert stem_of(str(path)) == 'clip'
    assert read(path).shape[1:] == (80, 96, 3)


def test_what_is_left_out_is_named(tmp_path, monkeypatch):
    write_video(tmp_path / 'a.mp4', make_frames())
    (tmp_path / 'notes.txt').write_text('just a note')
    said = []
    monkeypatch.setattr(clips, 'print_log',
                        lambda text, *args: said.append(text))
    list_sources(str(tmp_path), tell=True)
    assert len(said) == 1 and said[0].endswith('folders of frames: notes.txt')


def test_converters_read_as_restoration_does(tmp_path):
    """Untagged HD, mirrored and turned."""
    path = write_clip(
        tmp_path / 'a.mp4',
        frames=make_frames(3, (720, 1280)),
        codec='libx264',
        pix_fmt='yuv420p',
        rotation=90,
        mirrored=True,
        options=dict(preset='ultrafast'))
    info = probe(path)
    expected = [turn_upright(frame, info) for frame in read_frames(info)]
    np.testing.assert_array_equal(read(path), expected)
    assert expected[0].shape == (1280, 720, 3)
