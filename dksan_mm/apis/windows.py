"""Turns a stream of frames into windows around each frame."""
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, Iterator, List, Optional, Set, Tuple

import numpy as np
from torch import Tensor

from . import scene_cuts


@dataclass
class Frame:
    """A frame that is held as long as windows need it."""
    number: int
    # (1, 3, H, W), RGB in [0, 1], on the device
    image: Tensor
    # dtype of the source
    dtype: np.dtype
    # the network's features of the frame, if it offers them
    features: Any = None
    starts_scene: bool = False


class WindowStream:
    """Windows of a stream of frames, which is read only as needed.

    Windows are mirrored at the ends of the video and of its scenes. At most
    ``2 * context + 1`` frames are held, plus one for each further window
    requested at once.

    Args:
        frames (Iterator[np.ndarray]): Frames number ``first``, ``first + 1``,
            ...: RGB, (H, W, 3), of a dtype and range of
            :func:`.scene_cuts.full_scale`.
        first (int): Number of the first frame.
        total (int): Frames of the video.
        context (int): Frames on either side of a window's middle.
        prepare (Callable): Makes a :class:`Frame` of an array and its number.
        threshold (float, optional): Threshold of
            :func:`.scene_cuts.difference`: a frame that differs more from the
            one before starts a scene. None: there are no cuts.
        cuts (set[int]): A set to which frames that start a scene are added.
    """

    def __init__(self, frames: Iterator[np.ndarray], first: int, total: int,
                 context: int, prepare: Callable[[np.ndarray, int], Frame],
                 threshold: Optional[float], cuts: Set[int]) -> None:
        self._frames = iter(frames)
        self._next = first
        self._total = total
        self._context = context
        self._prepare = prepare
        self._threshold = threshold
        self._cuts = cuts
        self._held: Deque[Frame] = deque()
        # shape and thumbnail of the last frame read
        self._shape: Optional[Tuple[int, ...]] = None
        self._small: Optional[Tensor] = None

    def windows(self, start: int, stop: int) -> List[List[Frame]]:
        """Return the windows of some frames.

        Args:
            start (int): Middle frame of the first window, not before the
                ``start`` of the last call.
            stop (int): One past the last.

        Returns:
            list[list[Frame]]: 2 * context + 1 frames each.

        Raises:
            ValueError: The frames end too early, or their sizes differ.
            TypeError: They have an unsupported dtype.
        """
        while self._held and self._held[0].number < start - self._context:
            self._held.popleft()
        while self._next < min(stop + self._context, self._total):
            self._read(start - self._context)
        return [self._window(number) for number in range(start, stop)]

    def _read(self, needed: int) -> None:
        """Read a frame, and hold it if it is ``needed`` or comes later."""
        number = self._next
        array = next(self._frames, None)
        if array is None:
            raise ValueError(f'frames must go on to frame {number} of '
                             f'{self._total} (counted from 0), but end before '
                             'it')
        scene_cuts.full_scale(array)  # checks the dtype
        if self._shape not in (None, array.shape):
            raise ValueError(
                f'frame {number} must be as large as the frame before, '
                f'{self._shape[:2]}, got {array.shape[:2]} (height, width)')
        cut = self._is_cut(array)
        self._next, self._shape = number + 1, array.shape
        if cut:
            self._cuts.add(number)
        if number >= needed:
            frame = self._prepare(array, number)
            frame.starts_scene = cut
            self._held.append(frame)

    def _is_cut(self, array: np.ndarray) -> bool:
        """Return whether a frame differs from the one before."""
        if self._threshold is None:
            return False
        before, self._small = self._small, scene_cuts.thumbnail(array)
        return before is not None and scene_cuts.difference(
            before, self._small) > self._threshold

    def _window(self, number: int) -> List[Frame]:
        """Return the window around a frame."""
        origin = self._held[0].number
        low = max(number - self._context, origin)
        high = min(number + self._context + 1, self._next)
        starts = [
            index for index in range(low + 1, high)
            if self._held[index - origin].starts_scene
        ]
        # ends outside the window do not matter
        low = max([low] + [index for index in starts if index <= number])
        high = min([high] + [index for index in starts if index > number])
        return [
            self._held[index - origin] for index in scene_cuts.window_indices(
                number, self._context, low, high)
        ]
