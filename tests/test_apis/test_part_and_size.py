"""Parts of videos, results made smaller, and what it all would take."""
import importlib
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from raw_material import make_frames, write_folder
from tiny_model import SIZE, decode, listing, restore, restore_at_once
from video_files import write_clip

from dksan_mm.apis import estimate, probe, read_frames
from dksan_mm.apis.resizing import Resizing
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.video.source import cut_source


def test_frames_of_a_part(source, tmp_path):
    """From every frame on, as the whole has them."""
    whole = decode(source)
    for path in (source, write_folder(tmp_path / 'frames', list(whole))):
        info = probe(str(path))
        for first, count in ((0, 23), (7, 5), (22, 1)):
            part = cut_source(info, first / info.rate, count / info.rate)
            assert part.num_frames == count
            np.testing.assert_array_equal(
                np.stack(list(read_frames(part))), whole[first:first + count])
        # between two frames the earlier one is shown
        part = cut_source(info, Fraction(5, 2) / info.rate, 1 / info.rate)
        assert (part.skip, part.num_frames) == (2, 2)
        assert '3' in part.describe_frame(1)
        # a part of a part
        inner = cut_source(part, 1 / info.rate)
        np.testing.assert_array_equal(next(read_frames(inner)), whole[3])


@pytest.mark.parametrize('start, duration, message', [
    (-1, None, r'start \(--start\) must be from 0 to the length'),
    (5, None, r'length of .*, 0.958 s, got 5'),
    (0, 0, r'duration \(--duration\) must be above 0 s, got 0'),
])
def test_part_exception(source, start, duration, message):
    with pytest.raises(ValueError, match=message):
        cut_source(probe(source), start, duration)


def test_a_part_is_restored(tmp_path, model, source):
    """Its windows are mirrored at its own ends; times begin at 0."""
    part = write_folder(tmp_path / 'part', list(decode(source)[4:12]))
    restore(
        model,
        source,
        tmp_path / 'out.mkv',
        start=Fraction(4, 24),
        duration=Fraction(8, 24))
    np.testing.assert_array_equal(
        decode(tmp_path / 'out.mkv'), restore_at_once(model, str(part)))
    assert probe(str(tmp_path / 'out.mkv')).times[0] == 0
    frames = write_folder(tmp_path / 'frames', list(decode(source)))
    restore(
        model,
        frames,
        tmp_path / 'more.mkv',
        start=Fraction(4, 25),
        duration=1)
    info = probe(str(tmp_path / 'more.mkv'))
    assert (info.num_frames, info.times[0]) == (19, 0)


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4'])
def test_sound_of_a_part(tmp_path, model, suffix):
    """What begins in it, from its beginning on; the same chapters."""
    path = tmp_path / f'in{suffix}'
    write_clip(
        path,
        frames=make_frames(50, SIZE),
        rate=Fraction(25),
        sound='aac',
        chapters=((0, 700), (700, 2000)))
    output = tmp_path / f'out{suffix}'
    restore(
        model,
        path,
        output,
        codec='libx264',
        lossless=False,
        start=Fraction(1, 2),
        duration=1)
    with av.open(str(output)) as container:
        sound = container.streams.audio[0]
        times = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(sound) if packet.size
        ]
        ends = [
            chapter['end'] * chapter['time_base']
            for chapter in container.chapters()
        ]
    length = 1024 / 22050
    assert 0 <= times[0] < 0.1
    assert 1 - 2 * length < times[-1] < 1
    # 0 to 0.7 s and 0.7 to 2 s, of a part from frame 12 (0.48 s) to 38
    assert [float(end) for end in ends] == [0.22, 1.04]


@pytest.mark.parametrize('duration, end', [(None, 2), (Fraction(1, 2), 0.5)])
def test_sound_may_be_longer_than_the_pictures(tmp_path, model, duration, end):
    source = write_clip(
        tmp_path / 'in.mkv',
        frames=make_frames(12, SIZE),
        sound='flac',
        sound_seconds=2.2)
    output = tmp_path / 'out.mkv'
    restore(model, source, output, start=Fraction(5, 24), duration=duration)
    with av.open(str(output)) as container:
        *_, last = (
            packet for packet in container.demux(container.streams.audio[0])
            if packet.size)
        found = float((last.pts + last.duration) * last.time_base)
    assert abs(found - end) < 0.3


class TestResizing:

    @pytest.mark.parametrize('height, width, size', [
        (9, None, (9, 12)),
        (None, 13, (8, 13)),
        (7, 11, (7, 11)),
        (36, 52, (36, 52)),
    ])
    def test_sizes(self, tmp_path, model, source, height, width, size):
        restore(
            model,
            source,
            tmp_path / 'out.mkv',
            height=height,
            width=width,
            duration=Fraction(3, 24))
        restore(
            model,
            source,
            f'{tmp_path}/out/',
            height=height,
            width=width,
            duration=Fraction(3, 24))
        frames = decode(tmp_path / 'out.mkv')
        assert frames.shape == (3, *size, 3)
        np.testing.assert_array_equal(frames, decode(tmp_path / 'out'))

    def test_is_antialiased(self):
        """Of stripes of one pixel grey is left, not one of them."""
        info = replace(probe_of(8, 8), width=16, height=16)
        resizing = Resizing(info, 1, 8, None)
        stripes = np.zeros((16, 16, 3), np.uint8)
        stripes[:, ::2] = 255
        frame = resizing.draw(stripes, resizing.describe(info))
        assert frame.shape == (8, 8, 3)
        assert abs(frame[:, 2:-2].astype(int) - 127).max() < 30
        deep = np.full((16, 16, 3), 1023, np.uint16)
        assert (resizing.draw(deep, resizing.describe(info)) == 1023).all()

    def test_comparison(self, tmp_path, model, source):
        restore(
            model,
            source,
            tmp_path / 'out.mkv',
            height=18,
            compare='side',
            duration=Fraction(2, 24))
        assert decode(tmp_path / 'out_compare.mkv').shape == (2, 18, 52, 3)

    def test_is_shown_in_the_same_aspect_ratio(self):
        info = replace(probe_of(8, 16), sample_aspect_ratio=Fraction(4, 3))
        for size, ratio in (((8, None), '4/3'), ((8, 16), '4/3'),
                            ((8, 8), '8/3'), ((12, 32), '1')):
            described = Resizing(info, 2, *size).describe(info)
            assert described.sample_aspect_ratio == Fraction(ratio)

    def test_of_a_video_that_is_shown_turned(self):
        info = replace(probe_of(8, 16), rotation=90)
        described = Resizing(info, 2, 16, None).describe(info)
        # as shown 16 wide and 32 high; halved, and as coded
        assert (described.width, described.height) == (16, 8)

    @pytest.mark.parametrize('size, message', [
        ((99, None), r'height \(--height\) must be from 1 to 36, .* got 99'),
        ((None, 53), r'width \(--width\) must be from 1 to 52, .* got 53'),
        ((0, None), r'height .* got 0'),
    ])
    def test_exception(self, tmp_path, model, source, size, message):
        with pytest.raises(ValueError, match=message):
            restore(
                model,
                source,
                tmp_path / 'out.mkv',
                height=size[0],
                width=size[1])


def probe_of(height, width):
    """Return a description of frames of a size."""
    from dksan_mm.apis import SourceInfo
    return SourceInfo(
        path='none',
        kind='frames',
        width=width,
        height=height,
        num_frames=1,
        times=(0, ),
        last_duration=1,
        time_base=Fraction(1, 25),
        rate=Fraction(25))


def test_estimate(tmp_path, model, source):
    text = estimate(
        model,
        source,
        tmp_path / 'out.mkv',
        codec='ffv1',
        lossless=True,
        start=Fraction(3, 24))
    assert '20 frames, about ' in text and ' GiB' in text
    frames = write_folder(tmp_path / 'frames', list(make_frames(9, SIZE)))
    text = estimate(
        model, str(frames), f'{tmp_path}/out/', fps='3', start=Fraction(2, 3))
    assert '7 frames, about ' in text
    assert listing(tmp_path) == ['frames']


@pytest.mark.parametrize('count, expected', [(1, '0:00:44'), (2, '0:00:23')])
def test_estimate_of_several_processes(count, expected, monkeypatch, tmp_path,
                                       model, source):
    """2 s for 2 frames, then 2 s a frame; trials are one segment, which one
    process restores."""
    module = importlib.import_module('dksan_mm.apis.estimate')
    parts = []

    def restore(model, source, output, options):
        parts.append(options)
        return SimpleNamespace(seconds=2 + 2 * (options.segment - 2))

    monkeypatch.setattr(module, 'restore_video', restore)
    monkeypatch.setattr(module, 'get_dist_info', lambda: (0, count))
    text = estimate(
        model, source, tmp_path / 'out.mkv', dtype='fp32', segment=1)
    assert f'about 2 s each, {expected} in all' in text
    assert text.endswith('GiB, and the encoder beside it')
    assert [part.segment for part in parts] == [2, 8]


def test_an_estimate_measures_whole_frames(monkeypatch, tmp_path, model,
                                           source):
    """Wherever the part begins: each of its runs is one segment."""
    module = importlib.import_module('dksan_mm.apis.estimate')
    runs = []

    def counted(*args):
        runs.append(restore_video(*args))
        return runs[-1]

    monkeypatch.setattr(module, 'restore_video', counted)
    estimate(
        model,
        source,
        tmp_path / 'out.mkv',
        dtype='fp32',
        start=Fraction(5, 48),
        duration=Fraction(1, 2))
    assert [(run.frames, run.segments) for run in runs] == [(2, 1), (8, 1)]
