"""Paired comparison: what it says, and how often it is wrong."""
import itertools

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


def test_gains_are_told_from_noise():
    """A small gain in every sequence is significant, though sequences differ
    by much more; a larger one in one of six is not."""
    steady = compare_pair(*pair([.1, .12, .08, .11, .09, .1]))
    assert steady.is_significant and steady.p_value == 2 / 64
    assert steady.difference == pytest.approx(.1)
    # at six sequences the 95% interval is as wide as their differences
    assert steady.interval == pytest.approx((.08, .12))
    uneven = compare_pair(*pair([1., -.1, -.1, -.1, -.1, -.1]))
    assert uneven.difference > .08 and not uneven.is_significant
    assert uneven.p_value == 2 * (1 + 31) / 64


def test_the_test_is_that_of_all_signs():
    """As by flipping signs one by one; sums that are zero but for rounding
    count as zero."""
    gains = [.3, -.1, .2, .4, -.1, .1, .2, -.3]
    sums = np.array([
        np.dot(signs, gains)
        for signs in itertools.product([1, -1], repeat=len(gains))
    ]).round(9)
    total = round(sum(gains), 9)
    found = compare_pair(*pair(gains, frames=1))
    assert found.p_value == 2 * (sums >= total).mean()


@pytest.mark.parametrize('number', [6, 10])
def test_no_gain_is_seldom_significant(number):
    """In 5% of comparisons at most, and at most 7% of 300."""
    rng = np.random.default_rng(number)
    found = [
        compare_pair(*pair(rng.normal(0, .2, number), frames=1))
        for _ in range(300)
    ]
    told = [one.is_significant for one in found]
    assert 0 < sum(told) <= 21
    assert told == [one.p_value <= .05 for one in found]


@pytest.mark.parametrize('gains', [[.1], [.1] * 2, [.1] * 5])
def test_few_sequences_have_no_verdict(gains):
    """Not even with a gain in every frame."""
    found = compare_pair(*pair(gains))
    assert not found.is_significant and found.interval is None
    text = paired_markdown([found])
    assert f'{len(gains)} sequence' in text and 'at least 6)' in text
    assert 'significant' not in text and 'interval' not in text


def test_interval_holds_the_truth_as_often_as_it_says():
    """Sequences drawn around a gain of 0.3: about 285 of 300 intervals of 95%
    hold it."""
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        first, second = pair(rng.normal(.3, .2, 9), frames=1, seed=seed)
        low, high = compare_pair(first, second).interval
        hits += low < .3 < high
    assert 275 <= hits <= 295


def test_draws_are_seeded():
    """From 17 sequences on; they come near what all subsets would give."""
    results = pair(np.linspace(-.4, .6, 20))
    found, other = compare_pair(*results), compare_pair(*results, seed=1)
    assert compare_pair(*results) == found != other
    assert found.p_value == pytest.approx(other.p_value, abs=.03)
    assert found.interval == pytest.approx((-.05, .25), abs=.03)
    few = pair([.1, .3, -.1, .2, .2, .1], noise=.2)
    assert compare_pair(*few) == compare_pair(*few, seed=1)


def test_frames_that_have_no_number():
    first = make_result({'a': {'PSNR': [float('inf'), 20., None, 22.]}})
    second = make_result({'a': {'PSNR': [float('inf'), 21., 30., 23.]}})
    found = compare_pair(first, second)
    assert found.left_out == 2 and found.sequences['a'] == (2, 21., 22.)
    text = paired_markdown([found])
    assert '2 frames are left out' in text
    assert '1 sequence is too few for a verdict (at least 6)' in text


def test_what_it_prints():
    text = paired_markdown([compare_pair(*pair([.1] * 6))])
    assert '| Sequence | Frames | A | B | B - A |' in text
    assert '+0.100 |' in text
    assert 'difference +0.1000, 95% confidence interval +0.1000 to ' in text
    assert ('the difference is significant: p = 0.031 by a sign-flip test, in '
            'which each of the 6 sequences is one observation') in text
    text = paired_markdown([compare_pair(*pair([1., -1.] * 3))])
    assert 'the difference is not significant: p = 1 ' in text
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
    monkeypatch.setattr('dksan_mm.results.paired._DRAWS', 999)
    monkeypatch.setattr('dksan_mm.results.paired._CHUNK', 1000)
    results = pair([.1] * 300, frames=1)
    found = compare_pair(*results)
    assert found.difference == pytest.approx(.1)
    assert found.interval == pytest.approx((.1, .1))
    assert paired_markdown([found]).count('\n| ') == 3
