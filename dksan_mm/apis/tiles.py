"""Divides large frames into feathered tiles; estimates their memory.

Sides, overlaps and positions are in pixels of the source frame.
"""
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from dksan_mm.utils.benchmark import peak_allocation

Size = Tuple[int, int]
Span = Tuple[int, int]
# safety factor of the estimate from two runs
_MARGIN = 1.1

_MOST_TILES = 20_000


class Tile(NamedTuple):
    """A part of an image, and the weights of its rows and columns (at the size
    of the result) with which it is added to the result."""
    rows: slice
    columns: slice
    row_weights: Tensor
    column_weights: Tensor


def least_tile(overlap: int, multiple: int) -> int:
    """Return the smallest side of a tile: at least twice the overlap, and
    large enough to keep the overlap with positions at multiples of
    ``multiple``."""
    if not overlap:
        return multiple
    return -(-max(2 * overlap, 2 * multiple) // multiple) * multiple


def most_overlap(tile: int, multiple: int, limit: int) -> int:
    """Return the largest overlap, up to a limit, that a tile allows."""
    if tile < 2 * multiple:
        return 0
    return min(limit, tile // multiple * multiple // 2)


def divide(length: int, tile: int, overlap: int, multiple: int) -> List[Span]:
    """Divide one side of an image evenly into overlapping spans: as few as
    ``tile`` allows, and as short as this number allows.

    Args:
        length (int): Length of the side.
        tile (int): Maximum length of a span, a multiple of ``multiple``, at
            least :func:`least_tile`.
        overlap (int): Pixels that neighbours share at least, at most half of
            ``tile``.
        multiple (int): The first index of each span is a multiple of this; the
            last span may therefore be longer, by less than ``multiple``.

    Returns:
        list[tuple[int]]: (start, stop) of each, in order.
    """
    if tile >= length:
        return [(0, length)]

    def count_of(side: int) -> int:
        step = (side - overlap) // multiple * multiple
        return -(-(length - side) // step) + 1

    count = count_of(tile)
    side = next(
        side
        for side in range(least_tile(overlap, multiple), tile + 1, multiple)
        if count_of(side) == count)
    starts = [(length - side) * index // (count - 1) // multiple * multiple
              for index in range(count)]
    starts = sorted({*starts})  # with few pixels, some are equal
    spans = [(start, start + side) for start in starts]
    return spans[:-1] + [(starts[-1], length)]


def largest_size(size: Size, tile: int, overlap: int, multiple: int) -> Size:
    """Return the height and width of the largest tile of an image; arguments
    as of :func:`divide`."""
    height, width = (
        max(stop - start
            for start, stop in divide(side, tile, overlap, multiple))
        for side in size)
    return height, width


def feather(spans: Sequence[Span], scale: int) -> List[Tensor]:
    """Return weights that fall linearly where neighbours overlap, and add up
    to one everywhere.

    The outer quarter of an overlap has weight 0: there the network has seen
    least of the surroundings, and its result differs most from the whole
    frame's.

    Args:
        spans (Sequence[tuple[int]]): Spans from :func:`divide`.
        scale (int): The result's size divided by the image's.

    Returns:
        list[Tensor]: (scale * (stop - start),) each, float32.
    """
    weights = [torch.ones(scale * (stop - start)) for start, stop in spans]
    total = torch.zeros(scale * spans[-1][1])
    for index, (start, stop) in enumerate(spans):
        weight = weights[index]
        if index:
            shared = scale * (spans[index - 1][1] - start)
            weight[:shared] *= _ramp(shared)
        if index < len(spans) - 1:
            shared = scale * (stop - spans[index + 1][0])
            weight[len(weight) - shared:] *= _ramp(shared).flip(0)
        total[scale * start:scale * stop] += weight
    # where three overlap, the sum is not yet one
    return [
        weight / total[scale * start:scale * stop]
        for weight, (start, stop) in zip(weights, spans)
    ]


def _ramp(length: int) -> Tensor:
    """Return weights that rise from 0 to 1 in the middle half."""
    position = (torch.arange(length) + 0.5) / length
    return (2 * position - 0.5).clamp(0, 1)


def plan(size: Size, tile: int, overlap: int, scale: int,
         multiple: int) -> List[Tile]:
    """Return the tiles of an image.

    Args:
        size (tuple[int]): Height and width.
        tile (int): Side of a tile; rounded down to a multiple of
            ``multiple``.
        overlap (int): Pixels that neighbours share at least, at most half a
            tile.
        scale (int): The result's size divided by the image's.
        multiple (int): Positions of tiles are multiples of this.

    Raises:
        ValueError: ``tile`` or ``overlap`` breaks the rules above, or there
            would be more than 20,000 tiles.
    """
    if overlap < 0:
        raise ValueError(f'tile_overlap must be at least 0, got {overlap}')
    least = least_tile(overlap, multiple)
    if tile < least:
        raise ValueError(
            f'tile must be at least {least} for this network and a '
            f'tile_overlap of {overlap}, got {tile}')
    tile -= tile % multiple
    rows, columns = (divide(side, tile, overlap, multiple) for side in size)
    count = len(rows) * len(columns)
    if count > _MOST_TILES:
        raise ValueError(
            f'tile must be larger, or tile_overlap smaller: tiles of {tile} '
            f'that share {overlap} are {count} a frame, which would run for '
            f'ever; at most {_MOST_TILES} are allowed')
    return [
        Tile(slice(*row), slice(*column), row_weights, column_weights)
        for row, row_weights in zip(rows, feather(rows, scale))
        for column, column_weights in zip(columns, feather(columns, scale))
    ]


def crop(x: Tensor, tile: Tile, size: Size, multiple: int = 1) -> Tensor:
    """Return a tile of an image, or of its features.

    Args:
        x (Tensor): (N, C, H', W'): an image, or its features. For features the
            image was padded, so that its sides are multiples of ``multiple``,
            of H' and of W'.
        tile (Tile): The tile to return.
        size (tuple[int]): Height and width of the image.
        multiple (int): See above. Default: 1.

    Returns:
        Tensor: A view.
    """
    spans = []
    for axis, span in enumerate((tile.rows, tile.columns)):
        stride = -(-size[axis] // multiple) * multiple // x.shape[axis + 2]
        spans.append(
            slice(span.start // stride,
                  -(-span.stop // multiple) * multiple // stride))
    return x[..., spans[0], spans[1]]


def assemble(tiles: Sequence[Tile], size: Size, scale: int,
             run: Callable[[Tile], Tensor]) -> Tensor:
    """Return the weighted sum of the tiles' results.

    Args:
        tiles (Sequence[Tile]): Of :func:`plan`.
        size (tuple[int]): Height and width of the image.
        scale (int): The result's size divided by the image's.
        run (Callable): Maps a tile to its result, (N, C, scale * rows,
            scale * columns).

    Returns:
        Tensor: (N, C, scale * H, scale * W), float32.
    """
    total: Optional[Tensor] = None
    for tile in tiles:
        part = run(tile).float()
        if total is None:
            total = part.new_zeros(*part.shape[:2],
                                   *(scale * side for side in size))
        part = part * tile.row_weights.to(part.device)[:, None]
        part *= tile.column_weights.to(part.device)
        total[..., scale * tile.rows.start:scale * tile.rows.stop,
              scale * tile.columns.start:scale * tile.columns.stop] += part
        del part  # before the next one is there
    return total


class MemoryModel:
    """Memory of a run as a function of the image size: a fixed part, and a
    part per pixel, both measured by runs of two sizes.

    Args:
        run (Callable): Runs the network on an image of height and width.
        device (torch.device): Where it runs.
        sizes (Sequence[tuple[int]]): Two sizes, the smaller first.
        extra (int): Bytes to add that runs of these sizes do not show.
            Default: 0.
    """

    def __init__(self,
                 run: Callable[[int, int], Tensor],
                 device: torch.device,
                 sizes: Sequence[Size],
                 extra: int = 0) -> None:
        run(*sizes[0])  # to allocate what is allocated only once
        small, large = (
            peak_allocation(lambda: run(*size), device) for size in sizes)
        pixels = [height * width for height, width in sizes]
        self.per_pixel = max(0., (large - small) / (pixels[1] - pixels[0]))
        self.fixed = max(0., small - self.per_pixel * pixels[0]) + extra

    def __call__(self, height: int, width: int) -> int:
        """Return the bytes that a run of this size takes at most."""
        return int(_MARGIN * (self.fixed + self.per_pixel * height * width))


def choose_tile(size: Size, overlap: int, multiple: int, limit: int,
                estimate: Callable[[int, int],
                                   int], held_bytes: int) -> Optional[int]:
    """Return the largest tile that fits into memory.

    Args:
        size (tuple[int]): Height and width of the frame.
        overlap (int): Overlap of tiles.
        multiple (int): Divides the tile.
        limit (int): Available bytes.
        estimate (Callable): Maps height and width to the bytes of a run.
        held_bytes (int): Bytes that stay allocated while tiles are run.

    Returns:
        int, optional: Side of a tile, None if a whole frame fits.

    Raises:
        ValueError: Not even the smallest tile fits.
    """
    if estimate(*size) <= limit:
        return None

    def needs(tile: int) -> int:
        return held_bytes + estimate(
            *largest_size(size, tile, overlap, multiple))

    least = least_tile(overlap, multiple)
    for tile in range((max(size) - 1) // multiple * multiple, least - 1,
                      -multiple):
        if needs(tile) <= limit:
            return tile
    needed = needs(least)
    raise ValueError(
        f'max_memory must be at least {needed / 2**30:.3g} GiB for frames of '
        f'{size[1]}x{size[0]} (tiles of {least}, overlap {overlap}), got '
        f'{limit / 2**30:.3g} GiB; give more, or choose a smaller batch or '
        'tile_overlap')
