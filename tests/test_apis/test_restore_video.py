"""Videos restored: what comes out, memory, errors, the comparison."""
import gc
import logging
import os
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from mmengine.config import Config
from raw_material import make_frames, scene, write_folder, write_video
from tiny_model import (LOSSLESS, SIZE, data, decode, listing, restore,
                        restore_at_once, restore_unjoined)
from video_files import write_clip

from dksan_mm.apis import job, outputs, pipeline, probe, read_frames
from dksan_mm.apis.loading import load_model
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.apis.threads import Channel
from dksan_mm.apis.window_restorer import WindowRestorer
from dksan_mm.models import BicubicUpsampler
from dksan_mm.utils.files import OutputError
from dksan_mm.video import probing as video_probe
from dksan_mm.video import reader

# What comes out


def test_frames_and_times(folder, model, source, undisturbed):
    """Lossless, the file has what the network gives, at the same times."""
    expected = restore_at_once(model, source)
    assert expected.shape == (23, 2 * SIZE[0], 2 * SIZE[1], 3)
    assert len({frame.tobytes() for frame in expected}) == 23
    np.testing.assert_array_equal(decode(undisturbed), expected)
    found, info = probe(str(undisturbed)), probe(source)
    assert [time * found.time_base for time in found.times
            ] == [time * info.time_base for time in info.times]


@pytest.mark.parametrize('segment', [1, 4, 23, 100])
def test_segments_do_not_change_frames(tmp_path, model, source, undisturbed,
                                       segment):
    summary = restore(model, source, tmp_path / 'out.mkv', segment=segment)
    assert summary.segments == -(-23 // segment)
    np.testing.assert_array_equal(
        decode(tmp_path / 'out.mkv'), decode(undisturbed))


def test_summary_and_what_is_left(tmp_path, model, source):
    summary = restore(model, source, tmp_path / 'out.mkv')
    assert summary.output == str(tmp_path / 'out.mkv')
    assert summary.comparison is None
    assert (summary.frames, summary.restored) == (23, 23)
    assert (summary.segments, summary.reused) == (5, 0)
    assert summary.frames_per_second == pytest.approx(23 / summary.seconds)
    assert summary.cuts == ()
    assert listing(tmp_path) == ['out.mkv']


def test_folder_in_folder_out(tmp_path, model, source):
    frames = list(read_frames(probe(source)))[:7]
    write_folder(tmp_path / 'in', frames)
    restore(model, str(tmp_path / 'in'), tmp_path / 'out')
    assert listing(tmp_path) == ['in', 'out']
    assert listing(tmp_path / 'out') == [f'{i:08d}.png' for i in range(7)]
    np.testing.assert_array_equal(
        decode(tmp_path / 'out'), restore_at_once(model, str(tmp_path / 'in')))


def test_rate_of_a_folder(tmp_path, model, source):
    write_folder(tmp_path / 'in', list(read_frames(probe(source)))[:4])
    restore(
        model,
        str(tmp_path / 'in'),
        tmp_path / 'out.mp4',
        fps=Fraction(30000, 1001),
        codec='libx264')
    assert probe(str(tmp_path / 'out.mp4')).rate == Fraction(30000, 1001)
    with pytest.raises(ValueError, match='fps .* must be left out'):
        restore(model, source, tmp_path / 'b.mkv', fps=Fraction(30))
    with pytest.raises(
            ValueError, match='must be a number above 0.* 1000, got 0'):
        restore(
            model, str(tmp_path / 'in'), tmp_path / 'b.mkv', fps=Fraction(0))


def test_scene_cuts(tmp_path, model):
    """Found, and the same wherever segments begin."""
    frames = [
        scene(SIZE, seed) + np.uint8(t % 3) for seed in (0, 1)
        for t in range(8)
    ]
    source = write_video(tmp_path / 'in.mkv', frames)
    expected = restore_at_once(model, source, scene_threshold=.5)
    for segment in (3, 8, 16):
        summary = restore(
            model,
            source,
            tmp_path / f'{segment}.mkv',
            scene_threshold=.5,
            segment=segment)
        assert summary.cuts == (8, )
        np.testing.assert_array_equal(
            decode(tmp_path / f'{segment}.mkv'), expected)
    across = restore_at_once(model, source)
    assert (across[7] != expected[7]).any()
    np.testing.assert_array_equal(across[:6], expected[:6])


def test_batches(tmp_path, model, source):
    """Segments are whole batches, so that batches are the same ones whatever
    is resumed."""
    summary = restore(model, source, tmp_path / 'out.mkv', batch=3)
    assert summary.segments == 4  # of 6 instead of 5 frames
    difference = decode(tmp_path / 'out.mkv').astype(int) - restore_at_once(
        model, source)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize('count', [1, 3])
def test_short_videos(tmp_path, model, count):
    source = write_video(tmp_path / 'in.mkv', make_frames(count, SIZE))
    assert restore(model, source, tmp_path / 'out.mkv').frames == count
    np.testing.assert_array_equal(
        decode(tmp_path / 'out.mkv'), restore_at_once(model, source))


def test_bicubic(folder, tmp_path, source):
    bicubic = load_model(str(folder / 'bicubic.py'), 'none', 'cpu')
    restore(bicubic, source, tmp_path / 'out.mkv')
    np.testing.assert_array_equal(
        decode(tmp_path / 'out.mkv'), bicubic_of(decode(source)))


def bicubic_of(frames):
    x = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.
    x = BicubicUpsampler(2)(x).mul(255).round().clamp(0, 255)
    return x.permute(0, 2, 3, 1).to(torch.uint8).numpy()


# Memory


def test_few_frames_are_alive(tmp_path, model, monkeypatch):
    """However long the video: those in the queues and in a window."""
    alive, most = weakref.WeakSet(), {}

    class Frame(np.ndarray):  # hashable, as a WeakSet needs
        __hash__ = object.__hash__

    def counted(frame):
        frame = frame.view(Frame)
        alive.add(frame)
        key = frame.shape[0]
        most[key] = max(
            most.get(key, 0), sum(other.shape[0] == key for other in alive))
        return frame

    def read(*args):
        for frame in read_frames(*args):
            yield counted(frame)
            del frame

    monkeypatch.setattr(pipeline, 'read_frames', read)
    original = WindowRestorer.restore
    monkeypatch.setattr(WindowRestorer, 'restore',
                        lambda *args: map(counted, original(*args)))
    found = []
    for count in (30, 90):
        source = write_video(tmp_path / f'{count}.mkv',
                             make_frames(count, SIZE))
        most.clear()
        gc.collect()
        restore(model, source, tmp_path / f'{count}_out.mkv', segment=20)
        found.append((most[SIZE[0]], most[2 * SIZE[0]]))
    for lr, hr in found:
        # beside the queue: a window, the frames at cuts, in hand
        assert lr <= pipeline.SOURCE_QUEUE + 5 + 2 + 4 + pipeline.RESULT_QUEUE
        assert hr <= pipeline.RESULT_QUEUE + 4
    assert not alive


# Errors, of any thread


def test_source_that_ends_early(tmp_path, model, source, monkeypatch):
    """Of the thread that decodes, when it says nothing."""
    monkeypatch.setattr(
        pipeline, 'read_frames',
        lambda info, first, end, _: list(read_frames(info, first, end))[:9])
    with pytest.raises(
            ValueError, match='must have 23 frames.* but ends after 9; copy'):
        restore(model, source, tmp_path / 'out.mkv')
    assert listing(tmp_path) == ['out.mkv.partial']


def test_error_in_decoding(tmp_path, model, source, monkeypatch):

    def failing(info, first, end, _):
        yield from read_frames(info, first, 9)
        raise ValueError('frame 9 cannot be decoded')

    monkeypatch.setattr(pipeline, 'read_frames', failing)
    with pytest.raises(ValueError, match='frame 9 cannot'):
        restore(model, source, tmp_path / 'out.mkv')


def test_full_disk(tmp_path, model, source, undisturbed):
    """Space can be freed, and the run gone on with."""
    output = tmp_path / 'out.mkv'

    class FullLater(outputs.VideoOutput):

        def write(self, segment, frames):
            if segment.index == 2:
                os.symlink('/dev/full', f'{self._path(segment)}.partial')
            super().write(segment, frames)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, 'VideoOutput', FullLater)
        with pytest.raises(OutputError, match='No space left on device'):
            restore(model, source, output, overwrite=True)
    assert not output.exists()
    assert restore(model, source, output, resume=True).reused == 2
    assert data(output) == data(undisturbed)


def test_what_is_refused_before_any_work(tmp_path, model, source):
    here = str(tmp_path / 'out.mkv')
    for kind, message, path, output, options in (
        (ValueError, 'segment .* at least 1, got 0', source, here,
         dict(segment=0)),
        (TypeError, "options .* got 'quality'", source, here, dict(quality=3)),
        (ValueError, 'compare .* one of', source, here, dict(compare='both')),
        (ValueError, 'must be another file than INPUT', source, source,
         dict(overwrite=True)),
        (FileNotFoundError, 'found no .*/none; make it first', source,
         str(tmp_path / 'none/out.mkv'), {}),
        (FileNotFoundError, 'none.mp4 must be', 'none.mp4', here, {}),
        (ValueError, 'suffixes .*/out.docx', source,
         str(tmp_path / 'out.docx'), {}),
    ):
        with pytest.raises(kind, match=message):
            restore(model, path, output, **options)
    assert listing(tmp_path) == []


def test_larger_than_the_codec_allows(folder, tmp_path):
    bicubic = load_model(
        Config(
            dict(
                _base_=None,
                custom_imports=dict(imports=['dksan_mm.models']),
                model=dict(type='Bicubic', scale=16))), None, 'cpu')
    source = write_video(tmp_path / 'in.mkv', make_frames(2, (16, 1200)))
    with pytest.raises(ValueError, match='frames of 19200x256'):
        restore(
            bicubic,
            source,
            tmp_path / 'out.mp4',
            codec='libx264',
            lossless=False)
    assert listing(tmp_path) == ['in.mkv']


def test_a_folder_under_a_videos_name(tmp_path, model, source):
    (tmp_path / 'out.mkv').mkdir()
    with pytest.raises(ValueError, match='must not be a folder'):
        restore(model, source, tmp_path / 'out.mkv')
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='must be a folder or not exist'):
        restore(model, source, tmp_path / 'file')


# The comparison


@pytest.mark.parametrize('name', ['out.mkv', 'out'])
def test_compare_side_by_side(tmp_path, model, source, name):
    summary = restore(model, source, tmp_path / name, compare='side')
    assert summary.comparison == str(tmp_path / 'out_compare.mkv')
    found = decode(summary.comparison)
    width = 2 * SIZE[1]
    assert found.shape == (23, 2 * SIZE[0], 2 * width, 3)
    below = SIZE[0]  # of the labels
    np.testing.assert_array_equal(found[:, below:, :width],
                                  bicubic_of(decode(source))[:, below:])
    np.testing.assert_array_equal(found[:, below:, width:],
                                  decode(tmp_path / name)[:, below:])
    # the labels: two values or between, the same in every frame
    assert (found[:, :4, :4] == 0).all() and found[0, :below].max() == 255
    np.testing.assert_array_equal(found[0, :8, :20], found[22, :8, :20])


def test_compare_split(tmp_path, model, source):
    restore(model, source, tmp_path / 'out.mkv', compare='split')
    found = decode(tmp_path / 'out_compare.mkv')
    restored = decode(tmp_path / 'out.mkv')
    assert found.shape == restored.shape
    below, middle = SIZE[0], SIZE[1]
    np.testing.assert_array_equal(
        found[:, below:, :middle - 1],
        bicubic_of(decode(source))[:, below:, :middle - 1])
    np.testing.assert_array_equal(found[:, below:, middle + 1:],
                                  restored[:, below:, middle + 1:])
    assert (found[:, below:, middle - 1:middle + 1] == 255).all()


def test_an_existing_comparison(tmp_path, model, source):
    (tmp_path / 'out_compare.mkv').write_text('')
    with pytest.raises(ValueError, match='out_compare.mkv already exists'):
        restore(model, source, tmp_path / 'out.mkv', compare='split')


def test_interlaced_video_is_warned_of(tmp_path, model, monkeypatch):
    source = write_clip(
        tmp_path / 'a.mkv',
        frames=make_frames(3, (32, 48)),
        codec='libx264',
        pix_fmt='yuv420p',
        options={'x264-params': 'tff=1'})
    said = []
    monkeypatch.setattr(video_probe, 'print_log',
                        lambda *args: said.append(args))
    restore(model, source, tmp_path / 'b.mkv')
    (text, _, level), = said
    assert 'a.mkv is interlaced' in text and level == logging.WARNING


@pytest.mark.parametrize('fps, expected', [
    (23.976, Fraction(2997, 125)),
    (Fraction(1, 2000), Fraction(1, 2000)),
    (.0004, Fraction(1, 2500)),
    ('24000/1001', Fraction(24000, 1001)),
])
def test_rates_of_any_kind(tmp_path, model, fps, expected):
    source = write_folder(tmp_path / 'in', make_frames(3, (8, 9)))
    restore(model, source, tmp_path / 'a.mkv', fps=fps)
    found = probe(str(tmp_path / 'a.mkv'))  # its times are milliseconds
    assert float(found.rate) == pytest.approx(float(expected), rel=1e-2)
    for wrong in (-1, 100_000, float('inf'), '1/0', 'fast'):
        with pytest.raises(ValueError, match='fps .*must be a number above 0'):
            restore(model, source, tmp_path / 'b.mkv', fps=wrong)


def test_damaged_segments_are_made_anew(tmp_path, model, source, undisturbed,
                                        monkeypatch):
    """As a machine that stopped may leave one."""
    output = tmp_path / 'out.mkv'
    restore_unjoined(monkeypatch, model, source, output)
    one, two = (
        tmp_path / f'out.mkv.partial/segment_0000{i}.mkv' for i in (1, 3))
    one.write_bytes(b'')
    two.write_bytes(two.read_bytes()[:-400])
    assert restore(model, source, output, resume=True).restored == 10
    np.testing.assert_array_equal(decode(output), decode(undisturbed))


def test_damaged_frames_are_made_anew(tmp_path, model, source, monkeypatch):
    output = tmp_path / 'out'
    restore_unjoined(monkeypatch, model, source, output)
    one, two = (
        tmp_path / f'out.partial/frames/000000{i}.png' for i in ('01', '12'))
    one.write_bytes(b'')
    two.write_bytes(two.read_bytes()[:-1])
    assert restore(model, source, output, resume=True).restored == 10
    np.testing.assert_array_equal(
        decode(output), restore_at_once(model, source))


def test_paths(tmp_path, folder, source, undisturbed):
    """pathlib's will do everywhere."""
    model = load_model(folder / 'tiny.py', folder / 'tiny.pth', 'cpu')
    summary = restore_video(
        model,
        folder / 'in.mkv',
        tmp_path / 'out.mkv',
        dtype='fp32',
        segment=5,
        progress=False,
        scene_threshold=None,
        **LOSSLESS)
    assert summary.output == str(tmp_path / 'out.mkv')
    assert data(tmp_path / 'out.mkv') == data(undisturbed)


def test_webm(tmp_path, model, source):
    """It holds no H.264: another default."""
    restore_video(model, source, tmp_path / 'a.webm', progress=False)
    with av.open(str(tmp_path / 'a.webm')) as container:
        assert container.streams.video[0].name == 'vp9'
    assert probe(str(tmp_path / 'a.webm')).num_frames == 23
    with pytest.raises(ValueError, match='hold libx264'):
        restore_video(model, source, tmp_path / 'b.webm', codec='libx264')


def test_streams_that_a_folder_does_not_get_are_named(tmp_path, model,
                                                      monkeypatch):
    source = write_clip(tmp_path / 'a.mkv', sound='flac', subtitles='subrip')
    said = []
    monkeypatch.setattr(outputs, 'print_log',
                        lambda text, _: said.append(text))
    restore(model, source, tmp_path / 'out')
    assert [line.split(' of ')[0].split(': ')[1] for line in said
            ] == ['stream 1 (audio, flac)', 'stream 2 (subtitle, srt)']


def test_tiles_that_max_memory_chose_are_told(tmp_path, model, source,
                                              monkeypatch):
    said = []
    monkeypatch.setattr(job, 'print_log', lambda text, _: said.append(text))
    restore(model, source, tmp_path / 'a.mkv', max_memory=2**30)
    restore(model, source, tmp_path / 'b.mkv')
    assert len(said) == 1 and said[0].endswith('frames are restored whole')


def test_an_output_that_is_a_link(tmp_path, model, source, undisturbed):
    """What it leads to is made, where it leads to; it stays a link."""
    elsewhere = tmp_path / 'elsewhere'
    (elsewhere / 'frames').mkdir(parents=True)
    os.symlink(elsewhere / 'frames', tmp_path / 'out')
    os.symlink(elsewhere / 'made.mkv', tmp_path / 'out.mkv')
    restore(model, source, tmp_path / 'out')
    restore(model, source, tmp_path / 'out.mkv')
    assert len(listing(elsewhere / 'frames')) == 23
    assert data(elsewhere / 'made.mkv') == data(undisturbed)
    assert os.path.islink(tmp_path / 'out')
    assert os.path.islink(tmp_path / 'out.mkv')
    assert listing(tmp_path) == ['elsewhere', 'out', 'out.mkv']
    assert listing(elsewhere) == ['frames', 'made.mkv']


def test_the_working_directory_as_output(tmp_path, model, source, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    restore(model, source, '.')
    assert listing(tmp_path) == ['here']
    assert len(listing(tmp_path / 'here')) == 23


def test_a_mounted_output_is_refused(tmp_path, model, source, monkeypatch):
    (tmp_path / 'out').mkdir()
    monkeypatch.setattr(os.path, 'ismount', lambda path: True)
    with pytest.raises(ValueError, match='out must not be where.*out/frames'):
        restore(model, source, tmp_path / 'out')
    assert listing(tmp_path) == ['out']


def test_ctrl_c_ends_what_skips_frames(tmp_path, model, monkeypatch):
    """Decoding from the beginning of a file without an index."""
    path = write_clip(
        tmp_path / 'in.ts',
        frames=make_frames(23, SIZE),
        codec='libx264',
        pix_fmt='yuv420p')
    output = tmp_path / 'out.mkv'
    restore_unjoined(monkeypatch, model, path, output)
    os.remove(tmp_path / 'out.mkv.partial/segment_00003.mkv')
    decoded = []
    decode_all, check = reader._decode, Channel.check

    def counted(*args):
        for frame in decode_all(*args):
            decoded.append(frame.pts)
            yield frame

    def interrupted(channel):
        if decoded:
            channel._threads.stop(KeyboardInterrupt())
        check(channel)

    monkeypatch.setattr(reader, '_decode', counted)
    monkeypatch.setattr(Channel, 'check', interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(model, path, output, resume=True)
    assert len(decoded) == 1
