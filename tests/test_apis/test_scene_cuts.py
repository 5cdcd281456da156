"""Scene cuts, and windows mirrored at them."""
import numpy as np
import pytest
from raw_material import shot

from dksan_mm.apis.scene_cuts import (DEFAULT_THRESHOLD, difference, thumbnail,
                                      window_indices)
from dksan_mm.video.source import full_scale


def change(one, other):
    return difference(thumbnail(one), thumbnail(other))


@pytest.mark.parametrize('size', [(9, 5), (45, 80), (90, 71)])
def test_motion_is_far_from_a_cut(size):
    for seed in range(6):
        for t in range(3):
            frame = shot(seed, t, size)
            assert change(frame, shot(seed, t + 1, size)) < 0.5
            assert change(frame, shot(seed + 9, t + 1, size)) > 0.6


def test_equal_frames_and_noise_in_the_dark():
    frame = shot(0, 0)
    assert change(frame, frame) == 0
    dark = np.random.default_rng(0).integers(
        0, 4, (2, 45, 80, 3), dtype=np.uint8)
    assert change(*dark) < 0.2
    assert change(dark[0], frame) > DEFAULT_THRESHOLD


def test_contrast_is_not_motion():
    """Fading and low contrast change neither to a cut."""
    same, cut = ((shot(0, 0, gain=gain), shot(seed, 1, gain=gain))
                 for gain, seed in ((0.3, 0), (0.3, 1)))
    assert change(*same) < DEFAULT_THRESHOLD < change(*cut)
    assert change(shot(0, 0), shot(0, 0, gain=0.7)) < DEFAULT_THRESHOLD
    assert change(shot(0, 0) // 2, shot(0, 0) // 2 + 100) < 1e-3


def test_it_is_symmetric_and_knows_ten_bits():
    one, other = shot(0, 0), shot(1, 0)
    assert change(one, other) == change(other, one)
    ten = [(frame.astype(np.uint32) * 1023 // 255).astype(np.uint16)
           for frame in (one, other)]
    assert change(*ten) == pytest.approx(change(one, other), rel=1e-2)
    assert thumbnail(one).shape == (36, 64)


def test_full_scale():
    assert full_scale(np.zeros(1, np.uint8)) == 255
    assert full_scale(np.zeros(1, np.uint16)) == 1023
    assert full_scale(np.zeros(1, np.float32)) == 1
    with pytest.raises(TypeError, match='uint8, uint16.*float32.*float64'):
        full_scale(np.zeros(1, np.float64))


@pytest.mark.parametrize('centre, start, stop, expected', [
    (5, 0, 11, [2, 3, 4, 5, 6, 7, 8]),
    (0, 0, 11, [3, 2, 1, 0, 1, 2, 3]),
    (1, 0, 11, [2, 1, 0, 1, 2, 3, 4]),
    (10, 0, 11, [7, 8, 9, 10, 9, 8, 7]),
    (6, 6, 8, [7, 6, 7, 6, 7, 6, 7]),
    (7, 6, 8, [6, 7, 6, 7, 6, 7, 6]),
    (5, 4, 7, [6, 5, 4, 5, 6, 5, 4]),
    (4, 4, 7, [5, 6, 5, 4, 5, 6, 5]),
    (4, 4, 5, [4, 4, 4, 4, 4, 4, 4]),
])
def test_windows_are_mirrored(centre, start, stop, expected):
    assert window_indices(centre, 3, start, stop) == expected


def test_windows_of_the_benchmark():
    """MMagic's transform of the test pipeline gives the same ones."""
    from mmagic.datasets.transforms import GenerateFrameIndiceswithPadding
    transform = GenerateFrameIndiceswithPadding(padding='reflection')
    for centre in range(9):
        paths = transform(
            dict(
                key=f'a/{centre}',
                img_path='',
                gt_path='',
                sequence_length=9,
                num_input_frames=7))['img_path']
        assert [int(path[-len('00000000.png'):-4])
                for path in paths] == window_indices(centre, 3, 0, 9)


def test_an_end_out_of_sight_does_not_matter():
    """Segments know of a scene what their windows see of it."""
    for stop in range(12, 16):
        for centre in range(4, stop):
            seen = window_indices(centre, 3, max(centre - 3, 0),
                                  min(centre + 4, stop))
            assert seen == window_indices(centre, 3, 0, stop)
