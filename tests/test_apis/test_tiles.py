"""Tiles: what they cover, how they are joined, what memory they take."""
import pytest
import torch
import torch.nn.functional as F

from dksan_mm.apis import tiles

CASES = [(50, 16, 4, 1), (50, 16, 8, 4), (17, 16, 8, 1), (97, 20, 0, 4),
         (9, 16, 4, 4), (64, 32, 16, 2)]


@pytest.mark.parametrize('length, tile, overlap, multiple', CASES)
def test_spans(length, tile, overlap, multiple):
    spans = tiles.divide(length, tile, overlap, multiple)
    assert spans[0][0] == 0 and spans[-1][1] == length
    for start, stop in spans:
        assert start % multiple == 0
        assert stop - start < tile + multiple
    for (_, stop), (start, _) in zip(spans, spans[1:]):
        # the last one may begin earlier, but not later
        assert stop - start >= overlap


def test_spans_share_the_overlap_wherever_it_fits():
    for multiple in (1, 2, 4):
        for overlap in range(9):
            least = tiles.least_tile(overlap, multiple)
            for tile in range(least, 40, multiple):
                assert tiles.most_overlap(tile, multiple, 99) >= overlap
                for length in range(1, 60):
                    spans = tiles.divide(length, tile, overlap, multiple)
                    assert spans[0][0] == 0 and spans[-1][1] == length
                    for (start, stop), (after, _) in zip(spans, spans[1:]):
                        assert start < after <= stop - overlap


def test_spans_are_no_longer_than_they_need_be():
    """Two of 42 rows for 68, not of 64: sharing more than the overlap takes
    time."""
    assert tiles.divide(68, 64, 16, 1) == [(0, 42), (26, 68)]
    assert tiles.divide(120, 48, 16, 1) == [(0, 42), (26, 68), (52, 94),
                                            (78, 120)]
    # shared in full where it cannot be less
    assert tiles.divide(64, 32, 16, 4) == [(0, 32), (16, 48), (32, 64)]


@pytest.mark.parametrize('length, tile, overlap, multiple', CASES)
def test_weights_add_up_to_one_and_fall_at_joints(length, tile, overlap,
                                                  multiple):
    spans = tiles.divide(length, tile, overlap, multiple)
    weights = tiles.feather(spans, 3)
    total = torch.zeros(3 * length)
    for (start, stop), weight in zip(spans, weights):
        total[3 * start:3 * stop] += weight
        steps = weight.diff().abs()
        if overlap:
            # where three overlap it is steeper
            assert steps.max() <= 2 * 1.6 / (3 * overlap)
            # a network knows least there
            assert start == 0 or weight[:3 * overlap // 4].max() == 0
    torch.testing.assert_close(total, torch.ones(3 * length))


def test_assembled_result_is_that_of_a_local_network():
    """One that needs no more than half the overlap around a pixel, and gives
    rubbish where it had none."""
    x = torch.rand(2, 3, 37, 52)
    expected = F.interpolate(x, scale_factor=4)
    grid = tiles.plan((37, 52), 16, 6, 4, 1)

    def run(tile):
        return F.interpolate(x[..., tile.rows, tile.columns], scale_factor=4)

    out = tiles.assemble(grid, (37, 52), 4, run)
    torch.testing.assert_close(out, expected)


def test_joints_are_smooth():
    """Tiles that differ in brightness meet in ramps, not steps."""
    grid = tiles.plan((8, 64), 24, 12, 2, 1)
    levels = iter(range(len(grid)))

    def run(tile):
        shape = (1, 1, 16, 2 * (tile.columns.stop - tile.columns.start))
        return torch.full(shape, float(next(levels)))

    out = tiles.assemble(grid, (8, 64), 2, run)
    assert out.max() == len(grid) - 1
    # a step would be 1; where three tiles overlap it is a little steeper
    assert out.diff(dim=-1).abs().max() <= 4 / 24


@pytest.mark.parametrize('multiple', [1, 4])
def test_features_are_cropped_as_the_image(multiple):
    """Sides that were made a multiple, and a pyramid's smaller levels."""
    size = (22, 37)
    image = torch.arange(22 * 37.).view(1, 1, 22, 37)
    padded = F.pad(
        image, (0, -37 % multiple, 0, -22 % multiple), mode='replicate')
    for tile in tiles.plan(size, 12, 4, 1, multiple):
        part = tiles.crop(image, tile, size)
        assert torch.equal(part, image[..., tile.rows, tile.columns])
        features = tiles.crop(padded, tile, size, multiple)
        expected = F.pad(
            part, (0, -part.shape[3] % multiple, 0, -part.shape[2] % multiple),
            mode='replicate')
        assert torch.equal(features, expected)
        if multiple == 4:
            half = tiles.crop(padded[..., ::2, ::2], tile, size, 4)
            assert torch.equal(half, expected[..., ::2, ::2])


@pytest.mark.parametrize('tile, overlap, message', [
    (3, 0, 'tile must be at least 4 for this network and a .* 0, got 3'),
    (16, 9, 'tile must be at least 20 for .* tile_overlap of 9, got 16'),
    (7, 1, 'tile must be at least 8 for .* tile_overlap of 1, got 7'),
    (16, -1, 'tile_overlap must be at least 0, got -1'),
])
def test_plan_exception(tile, overlap, message):
    with pytest.raises(ValueError, match=message):
        tiles.plan((40, 50), tile, overlap, 4, 4)


def test_tiles_without_end():
    tiles.plan((270, 480), 8, 0, 4, 1)
    with pytest.raises(ValueError, match='of 1 .* are 129600 a frame'):
        tiles.plan((270, 480), 1, 0, 4, 1)


def quadratic(height, width):
    return 1000 + 10 * height * width


def test_chosen_tile_is_the_largest_that_fits():
    size = (40, 60)
    assert tiles.choose_tile(size, 8, 4, 25_000, quadratic, 300) is None

    def needed(tile):
        """Of the largest of its tiles."""
        return 300 + max(
            quadratic(part.rows.stop - part.rows.start, part.columns.stop -
                      part.columns.start)
            for part in tiles.plan(size, tile, 8, 1, 4))

    # in two of 40 x 36
    assert tiles.choose_tile(size, 8, 4, 24_999, quadratic, 300) == 56
    for limit in (5_000, 9_000, 14_000):
        tile = tiles.choose_tile(size, 8, 4, limit, quadratic, 300)
        assert tile % 4 == 0 and tile >= 16
        assert needed(tile) <= limit < needed(tile + 4)


def test_too_little_memory():
    with pytest.raises(
            ValueError,
            match=r'max_memory must be at least .*'
            r'60x40 \(tiles of 16, overlap 8\)'):
        tiles.choose_tile((40, 60), 8, 4, 3_000, quadratic, 300)


def test_memory_model():
    """Allocations that are linear in the pixels are told to a tenth."""

    def run(height, width):
        return torch.zeros(1000), torch.ones(7, height, width)

    model = tiles.MemoryModel(run, torch.device('cpu'), [(4, 6), (8, 10)])
    for size in ((16, 16), (30, 50)):
        needed = 4 * (1000 + 7 * size[0] * size[1])
        assert needed <= model(*size) <= 1.15 * needed
