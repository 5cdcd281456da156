"""Restores a stream of frames, window by window."""
from dataclasses import replace
from typing import Any, Dict, Iterator, Optional, Set

import numpy as np
import torch
from torch import nn

from dksan_mm.models import SelfEnsemble
from dksan_mm.models.strips import DEFAULT_STRIP_BYTES
from . import tiles
from .network import STRIPS, WindowNetwork, find_generator, unwrap
from .options import NetworkOptions
from .windows import WindowStream

DEFAULT_OVERLAP = 16
# strips may take this fraction (one in ...) of max_memory
_STRIPS_PART = 8


class WindowRestorer:
    """Restores each frame of a video from a window around it.

    Windows are mirrored at the ends of the video and of its scenes: before
    frame 0 comes frame 1. If the network offers ``extract_features`` and
    ``restore_features``, as DKSAN and EDVR do, a frame's features are
    extracted once and reused for all its windows. On CPUs, in eager mode, in
    batches of one, the result is bit-identical to running the network on each
    window alone.

    Without tiles the result is exact at any size: the networks compute large
    features in strips of rows (:func:`dksan_mm.models.strips.in_strips`).
    With tiles, each tile is restored by itself from the features of whole
    frames. This takes the memory of one tile, and changes the result a little:
    the network sees only the tile, and channel attention averages over it.

    Args:
        model (nn.Module): A restorer: its ``generator`` maps windows of RGB
            frames in [0, 1] to frames, has a ``scale`` and, unless it needs
            one frame alone, ``num_frames``. It is moved to ``device`` and set
            to evaluation mode.
        options (NetworkOptions): How to run it.
        **settings: Fields of :class:`NetworkOptions`, which override
        ``options``.

    Attributes:
        scale (int): The result's size divided by the source's.
        num_frames (int): Frames of a window.
        context (int): Frames needed on either side of a frame.
        cuts (set[int]): Frames that start a scene, among those read so far.

    Raises:
        ValueError: An argument breaks the rules above.
    """

    def __init__(self,
                 model: nn.Module,
                 options: NetworkOptions = NetworkOptions(),
                 **settings: Any) -> None:
        options = replace(options, **settings)
        tile, limit = options.tile, options.max_memory
        generator = find_generator(model)
        if options.ensemble and unwrap(generator) is generator:
            generator = SelfEnsemble(generator)
        weight = next(generator.parameters(), torch.empty(0))
        strip = DEFAULT_STRIP_BYTES
        if limit is not None:
            strip = min(strip, limit // (STRIPS * _STRIPS_PART))
        self._network = WindowNetwork(
            generator,
            torch.device(options.device or weight.device),
            options.dtype,
            options.compile,
            max(strip, 1),
            time_algorithms=limit is None)
        self.scale = self._network.scale
        self.num_frames = self._network.num_frames
        self.context = self.num_frames // 2
        self.cuts: Set[int] = set()
        self._batch = options.batch
        self._threshold = options.scene_threshold
        overlap = options.tile_overlap
        if overlap is None:
            overlap = DEFAULT_OVERLAP
            if tile is not None:
                overlap = tiles.most_overlap(tile, self._network.multiple,
                                             DEFAULT_OVERLAP)
        self._tile, self._overlap, self._limit = tile, overlap, limit
        self._tiles: Dict[tiles.Size, Optional[int]] = {}
        self._memory: Optional[tiles.MemoryModel] = None

    def restore(self, frames: Iterator[np.ndarray], start: int, stop: int,
                total: int, first: int) -> Iterator[np.ndarray]:
        """Restore some frames of a video. A frame's result does not depend on
        the other frames restored (in batches of one).

        At most ``num_frames + batch`` frames are held at once.

        Args:
            frames (Iterator[np.ndarray]): Source frames number ``first``,
                ``first + 1``, ...: RGB, (H, W, 3), uint8, uint16 with values
                from 0 to 1023, or float32 with values from 0 to 1. They are
                read as needed, up to frame ``min(stop + context, total) - 1``.
            start (int): First frame to restore.
            stop (int): One past the last.
            total (int): Frames of the video.
            first (int): Number of the first source frame, at most ``max(start
                - context, 0)``.

        Yields:
            np.ndarray: Restored frames, (scale * H, scale * W, 3), in the
            source's dtype and range, integers rounded.

        Raises:
            ValueError: A number breaks the rules above, ``frames`` ends too
                early, its sizes differ, or ``max_memory`` is too small.
            TypeError: A frame has another dtype.
        """
        _check_range(start, stop, total, first, self.context)
        stream = WindowStream(frames, first, total, self.context,
                              self._network.prepare, self._threshold,
                              self.cuts)
        for begin in range(start, stop, self._batch):
            end = min(begin + self._batch, stop)
            windows = stream.windows(begin, end)
            tile = self.tile_for(*windows[0][0].image.shape[2:])
            results = self._network.restore(windows, tile, self._overlap)
            # frees frames that are not needed any more
            del windows
            while results:
                yield results.pop(0)

    def tile_for(self, height: int, width: int) -> Optional[int]:
        """Return the side of tiles, None for whole frames.

        With ``max_memory`` the first call measures the memory of small frames.

        Args:
            height (int): Height of a source frame.
            width (int): Width of a source frame.

        Raises:
            ValueError: ``max_memory`` is too small for any tile.
        """
        size = height, width
        if self._tile is not None or self._limit is None:
            return self._tile
        if size not in self._tiles:
            # kept while tiles are run: the result in float, and whole frames
            held = 3 * 4 * self.scale**2 * height * width * self._batch
            held += self._network.frame_bytes(height, width) * (
                self.num_frames + self._batch)
            self._tiles[size] = tiles.choose_tile(size, self._overlap,
                                                  self._network.multiple,
                                                  self._limit,
                                                  self.estimate_memory, held)
        return self._tiles[size]

    def estimate_memory(self, height: int, width: int) -> int:
        """Return an upper bound of the bytes that whole frames take, without
        the weights.

        Args:
            height (int): Height of a source frame.
            width (int): Width of a source frame.
        """
        if self._memory is None:
            self._memory = self._network.measure_memory(self._batch)
        return self._memory(height, width)


def _check_range(start: int, stop: int, total: int, first: int,
                 context: int) -> None:
    if not 0 <= start <= stop <= total:
        raise ValueError(f'start and stop must be from 0 to total = {total}, '
                         f'in order, got {start} and {stop}')
    if not 0 <= first <= max(start - context, 0):
        raise ValueError(
            f'first must be from 0 to {max(start - context, 0)}, {context} '
            f'frames before start = {start}, got {first}')
