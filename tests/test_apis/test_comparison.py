"""Frames that show bicubic interpolation and the result."""
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from raw_material import make_frames

from dksan_mm.apis import SourceInfo
from dksan_mm.apis.comparison import Comparison
from dksan_mm.models import BicubicUpsampler

HEIGHT, WIDTH, SCALE = 40, 52, 2


def make_info(**values):
    info = SourceInfo(
        path='in.mp4',
        kind='video',
        width=WIDTH,
        height=HEIGHT,
        num_frames=1,
        times=(0, ),
        last_duration=1,
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        sample_aspect_ratio=Fraction(4, 3))
    return replace(info, **values)


def make_pair(bit_depth=8):
    """Return a frame of the source, and one that could be restored."""
    source = make_frames(1, (HEIGHT, WIDTH))[0]
    restored = make_frames(1, (SCALE * HEIGHT, SCALE * WIDTH), seed=1)[0]
    if bit_depth == 8:
        return source, restored
    return [(image.astype(np.uint16) * 1023 // 255)
            for image in (source, restored)]


def bicubic_of(source, most):
    x = torch.from_numpy(source.astype(np.float32))
    x = BicubicUpsampler(SCALE)(x.permute(2, 0, 1)[None] / most)[0]
    x = x.permute(1, 2, 0).mul(most).round().clamp(0, most)
    return x.numpy().astype(source.dtype)


@pytest.mark.parametrize('bit_depth', [8, 10])
def test_side(bit_depth):
    comparison = Comparison('side', make_info(bit_depth=bit_depth), SCALE)
    source, restored = make_pair(bit_depth)
    frame = comparison.draw(source, restored)
    below, middle = HEIGHT, SCALE * WIDTH  # of the labels
    assert frame.shape == (SCALE * HEIGHT, 2 * middle, 3)
    assert frame.dtype == source.dtype
    expected = bicubic_of(source, 2**bit_depth - 1)
    # float32 rounds differently in 0 to 255 and in 0 to 1
    assert abs(frame[below:, :middle].astype(int) -
               expected[below:]).max() <= 1
    np.testing.assert_array_equal(frame[below:, middle:], restored[below:])
    # white on black, if blurred
    assert frame[:20, :40].max() > .9 * (2**bit_depth - 1)
    assert not frame[:2, :20].any() and not frame[:2, middle:middle + 20].any()
    info = comparison.info
    assert (info.width, info.height) == (2 * WIDTH, HEIGHT)
    assert info.sample_aspect_ratio == Fraction(4, 3)


def test_split():
    comparison = Comparison('split', make_info(), SCALE)
    source, restored = make_pair()
    frame = comparison.draw(source, restored)
    assert frame.shape == restored.shape
    below, middle = HEIGHT, WIDTH
    expected = bicubic_of(source, 255)
    assert abs(frame[below:, :middle - 1].astype(int) -
               expected[below:, :middle - 1]).max() <= 1
    assert (frame[below:, middle - 1:middle + 1] == 255).all()
    np.testing.assert_array_equal(frame[below:, middle + 1:],
                                  restored[below:, middle + 1:])
    assert (comparison.info.width, comparison.info.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize('rotation, mirrored', [(90, False), (180, True),
                                                (270, True)])
def test_a_turned_source_is_upright(rotation, mirrored):
    """Left is left as it is shown, and the labels can be read."""
    info = make_info(rotation=rotation, mirrored=mirrored)
    comparison = Comparison('side', info, SCALE)
    source, restored = make_pair()
    frame = comparison.draw(source, restored)
    upright = np.rot90(restored, rotation // 90)
    upright = upright[:, ::-1] if mirrored else upright
    middle = upright.shape[1]
    assert frame.shape == (upright.shape[0], 2 * middle, 3)
    np.testing.assert_array_equal(frame[HEIGHT:, middle:], upright[HEIGHT:])
    found = comparison.info
    assert (found.rotation, found.mirrored) == (0, False)
    assert (SCALE * found.width, SCALE * found.height) == (2 * middle,
                                                           upright.shape[0])
    assert found.sample_aspect_ratio == (
        Fraction(4, 3) if rotation == 180 else Fraction(3, 4))


def test_labels_tell_the_sides():
    frames = [
        Comparison('side', make_info(), SCALE, name).draw(*make_pair())
        for name in ('DKSAN', 'EDVR')
    ]
    middle = SCALE * WIDTH
    np.testing.assert_array_equal(frames[0][:, :middle], frames[1][:, :middle])
    assert (frames[0][:20, middle:] != frames[1][:20, middle:]).any()


def test_frames_smaller_than_the_labels():
    info = make_info(width=3, height=2)
    frame = Comparison('side', info, SCALE).draw(
        np.full((2, 3, 3), 99, np.uint8), np.full((4, 6, 3), 99, np.uint8))
    assert frame.shape == (4, 12, 3)


def test_unknown_mode():
    with pytest.raises(
            ValueError, match=r"\(--compare\) must be one of .*'x'"):
        Comparison('x', make_info(), SCALE)
