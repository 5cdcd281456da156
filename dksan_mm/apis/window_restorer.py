"""Restores a stream of frames, window by window."""
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Optional, Set

import numpy as np
import torch
from torch import nn

from dksan_mm.models import SelfEnsemble
from dksan_mm.models.strips import DEFAULT_STRIP_BYTES
from dksan_mm.utils import benchmark as bench
from . import tiles
from .network import (STRIPS, WindowNetwork, find_generator, is_deterministic,
                      unwrap)
from .options import NetworkOptions
from .windows import Frame, WindowStream

DEFAULT_OVERLAP = 16
# strips may take this fraction (one in ...) of max_memory
_STRIPS_PART = 8
# the largest batch that is tried, and what doubling a batch must save at least
# of a frame's time
_MOST_BATCH = 8
_LEAST_SAVING = 0.05
# a batch is tried for videos that have this many times as many frames, so that
# all trials take no more than about an eighth of the time
_FRAMES_A_WINDOW = 64
_TRIALS = 3


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
        batch (int): Windows restored at once; see :meth:`use_batch`.
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
        self._device = torch.device(options.device or weight.device)
        self._network = WindowNetwork(
            generator,
            self._device,
            options.dtype,
            options.compile,
            options.cuda_graph,
            max(strip, 1),
            time_algorithms=limit is None)
        self.scale = self._network.scale
        self.num_frames = self._network.num_frames
        self.context = self.num_frames // 2
        self.cuts: Set[int] = set()
        self.batch = options.batch
        self._compile = options.compile
        self._cuda_graph = options.cuda_graph
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
        for begin in range(start, stop, self.batch):
            end = min(begin + self.batch, stop)
            windows = stream.windows(begin, end)
            tile = self.tile_for(*windows[0][0].image.shape[2:])
            results = self._network.restore(windows, tile, self._overlap)
            # frees frames that are not needed any more
            del windows
            while results:
                yield results.pop(0)

    def use_batch(self, batch: int) -> None:
        """From now on, restore this many windows at once."""
        if batch != self.batch:
            self.batch = batch
            self._tiles.clear()
            self._memory = None
            self._network.forget_graphs()

    def choose_batch(self, height: int, width: int,
                     frames: int) -> Optional[str]:
        """Choose how many windows of a video to restore at once, by trials on
        a GPU: 1, and twice as many as long as they fit into its free memory
        (or ``max_memory``, without smaller tiles) and a frame takes at least
        5% less time than before; at most 8.

        There are no trials, and it is 1, on other devices, with ``compile``
        (each size would take minutes), if PyTorch is set to be deterministic
        (the choice changes bits), and for videos of less than 128 frames.

        Args:
            height (int): Height of a source frame.
            width (int): Width of a source frame.
            frames (int): Frames of the video.

        Returns:
            str, optional: The choice and the times, None without trials.
        """
        batch, most = 1, min(_MOST_BATCH, frames // _FRAMES_A_WINDOW)
        self.use_batch(batch)
        if (self._device.type != 'cuda' or self._compile or is_deterministic()
                or most < 2):
            return None
        tile = self.tile_for(height, width)
        times = {batch: self._frame_time(height, width)}
        while 2 * batch <= most:
            self.use_batch(2 * batch)
            times[self.batch] = self._time_if_it_fits(height, width, tile)
            if times[self.batch] > (1 - _LEAST_SAVING) * times[batch]:
                break
            batch = self.batch
        self.use_batch(batch)
        found = [
            f'{time:.3g} ms in batches of {size}'
            for size, time in times.items() if time < float('inf')
        ]
        if len(found) < len(times):
            found.append(f'batches of {2 * batch} do not fit into memory')
        return (f'batch {batch} (--batch) by trial, a frame takes '
                f'{", ".join(found)}')

    def _time_if_it_fits(self, height: int, width: int,
                         tile: Optional[int]) -> float:
        """Return :meth:`_frame_time`, infinity if memory does not suffice for
        a batch in tiles of this size."""
        limit = self._limit
        if limit is None:
            limit = _free_memory(self._device)
        try:
            if self._needed((height, width), tile) <= limit:
                return self._frame_time(height, width)
        except torch.OutOfMemoryError:  # the estimate knows no fragments
            pass
        return float('inf')

    def _frame_time(self, height: int, width: int) -> float:
        """Return the milliseconds that a frame takes in the middle of a video,
        the best of some trials on faint noise."""
        noise = np.random.default_rng(0).integers(
            112, 144, size=(height, width, 3), dtype=np.uint8)
        tile = self.tile_for(height, width)

        def prepare(count: int) -> List[Frame]:
            return [self._network.prepare(noise, 0) for _ in range(count)]

        held = prepare(self.num_frames - 1)

        def run() -> None:
            frames = held + prepare(self.batch)
            windows = [
                frames[i:i + self.num_frames] for i in range(self.batch)
            ]
            self._network.restore(windows, tile, self._overlap)

        run()  # compiles kernels, and lets cuDNN choose
        times = [bench.time_once(run, self._device) for _ in range(_TRIALS)]
        return min(times) / self.batch

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
            self._tiles[size] = tiles.choose_tile(size, self._overlap,
                                                  self._network.multiple,
                                                  self._limit,
                                                  self.estimate_memory,
                                                  self._held(*size))
        return self._tiles[size]

    def _held(self, height: int, width: int) -> int:
        """Return the bytes that are kept while tiles are run: the results in
        float, and whole frames."""
        frames = self.num_frames + self.batch
        return (self._network.frame_bytes(height, width) * frames +
                self._result_bytes(height, width))

    def _result_bytes(self, height: int, width: int) -> int:
        return 3 * 4 * self.scale**2 * height * width * self.batch

    def _needed(self, size: tiles.Size, tile: Optional[int]) -> int:
        """Return an upper bound of the bytes that frames of a size take in
        tiles, None for whole frames."""
        needed, part = 0, size
        if tile is not None and tile < max(size):
            multiple = self._network.multiple
            part = tiles.largest_size(size, tile - tile % multiple,
                                      self._overlap, multiple)
            needed = self._held(*size)
        if self._cuda_graph:  # the copies that it reads, and that of a result
            frames = self.num_frames * self.batch
            needed += self._network.frame_bytes(*part) * frames
            needed += self._result_bytes(*part)
        return needed + self.estimate_memory(*part)

    def estimate_memory(self, height: int, width: int) -> int:
        """Return an upper bound of the bytes that whole frames take, without
        the weights.

        Args:
            height (int): Height of a source frame.
            width (int): Width of a source frame.
        """
        if self._memory is None:
            self._memory = self._network.measure_memory(self.batch)
        return self._memory(height, width)


def _free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU."""
    torch.cuda.empty_cache()  # what PyTorch keeps for reuse is free, too
    return torch.cuda.mem_get_info(device)[0]


def _check_range(start: int, stop: int, total: int, first: int,
                 context: int) -> None:
    if not 0 <= start <= stop <= total:
        raise ValueError(f'start and stop must be from 0 to total = {total}, '
                         f'in order, got {start} and {stop}')
    if not 0 <= first <= max(start - context, 0):
        raise ValueError(
            f'first must be from 0 to {max(start - context, 0)}, {context} '
            f'frames before start = {start}, got {first}')
