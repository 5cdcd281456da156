"""Paired comparison: what it says, and how often it is wrong."""
import numpy as np
import pytest
from result_files import make_result

from dksan_mm.results.paired import compare_pair, pair_results
from dksan_mm.results.tables_formats import paired_markdown


def pair(gains, noise=0., frames=5, seed=0):
    """Return two results whose sequences differ by these gains, and frames by
    noise around them; sequences themselves differ by 10 dB."""
    rng = np.random.default_rng(seed)
    both = [{}, {}]
    for i, gain in enumerate(gains):
        base = 20 + 10 * rng.random() + rng.normal(size=frames)
        second = base + gain + noise * rng.normal(size=frames)
        for frames_of, values in zip(both, (base, second)):
            frames_of[f'{i:03d}'] = {'PSNR': values.tolist()}
    return [
        make_result(frames_of, system=system)
        for frames_of, system in zip(both, 'AB')
    ]


def test_mean_is_over_sequences_not_frames():
    first = make_result({'a': {'PSNR': [20.]}, 'b': {'PSNR': [30., 31., 32.]}})
    second = make_result({
        'a': {
            'PSNR': [21.]
        },
        'b': {
            'PSNR': [30., 31., 35.]
        }
    })
    found = compare_pair(first, second)
    assert found.sequences == {'a': (1, 20., 21.), 'b': (3, 31., 32.)}
    assert found.difference == pytest.approx(1.)
    assert found.over_sequences == (1., 1.)
    # of b none of three frames, or all, are the one that gains
    assert found.over_frames == pytest.approx((.5, 2.))


def test_gains_are_told_from_noise():
    """A small gain in every sequence is told, though sequences differ by
    much more; a larger one in one of four is not."""
    steady = compare_pair(*pair([.1, .12, .08, .11, .09]))
    assert steady.is_told
    low, high = steady.over_sequences
    assert steady.difference == pytest.approx(.1)
    assert .08 <= low < .1 < high <= .12
    uneven = compare_pair(*pair([1., -.1, -.1, -.1]))
    assert uneven.difference > .17 and not uneven.is_told
    # frames of these sequences alone would have said so
    assert uneven.over_frames[0] > 0


def test_interval_holds_the_truth_as_often_as_it_says():
    """Sequences drawn around a gain of 0.3: of 200 intervals of 80% about
    160 hold it; a bootstrap of 15 sequences is a little narrow."""
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        first, second = pair(rng.normal(.3, .2, 15), frames=1, seed=seed)
        low, high = compare_pair(
            first, second, draws=500, level=.8).over_sequences
        hits += low < .3 < high
    assert 140 <= hits <= 172


def test_draws_are_seeded():
    results = pair([.1, .3, -.1], noise=.2)
    assert compare_pair(*results) == compare_pair(*results)
    assert compare_pair(*results) != compare_pair(*results, seed=1)


def test_frames_that_have_no_number():
    first = make_result({'a': {'PSNR': [float('inf'), 20., None, 22.]}})
    second = make_result({'a': {'PSNR': [float('inf'), 21., 30., 23.]}})
    found = compare_pair(first, second)
    assert found.left_out == 2 and found.sequences['a'] == (2, 21., 22.)
    assert found.over_sequences is None and found.is_told
    text = paired_markdown([found])
    assert '2 frames are left out' in text
    assert 'a single sequence' in text


def test_what_it_prints():
    text = paired_markdown([compare_pair(*pair([.1, .1, .1]))])
    assert '| Sequence | Frames | A | B | B - A |' in text
    assert '+0.100 |' in text and 'the difference is significant' in text
    text = paired_markdown([compare_pair(*pair([1., -1.]))])
    assert 'contains zero: the difference is not significant' in text
    frames = {'a': {'tOF': [.5, .4]}, 'b': {'tOF': [.4, .4]}}
    text = paired_markdown(
        [compare_pair(make_result(frames), make_result(frames), 'tOF')])
    assert 'tOF, lower is better' in text
    assert '| DKSAN (1) | DKSAN (2) |' in text


def test_unlike_results_are_refused():
    first, second = pair([.1])
    other = make_result({'000': {'PSNR': [1.] * 5}}, name='other')
    with pytest.raises(ValueError, match='one data set, found clips and othe'):
        compare_pair(first, other)
    with pytest.raises(ValueError, match='frames of 000'):
        compare_pair(first, pair([.1], frames=4)[1])
    with pytest.raises(ValueError, match="found 'SSIM'"):
        compare_pair(first, second, 'SSIM')
    with pytest.raises(ValueError, match='in common, found clips and other'):
        pair_results([first], [other])
    infinite = make_result({'a': {'PSNR': [float('inf')]}})
    with pytest.raises(ValueError, match='finite in both'):
        compare_pair(infinite, infinite)


def test_many_clips(monkeypatch):
    """Drawn piece by piece; no row for each."""
    monkeypatch.setattr('dksan_mm.results.paired._CHUNK', 1000)
    results = pair([.1] * 300, frames=1)
    found = compare_pair(*results, draws=20)
    assert found.difference == pytest.approx(.1)
    assert paired_markdown([found]).count('\n| ') == 3
