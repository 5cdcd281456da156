"""Finds and reads photographs, and reduces them until they are sharp."""
import logging
import os
import os.path as osp
from collections import OrderedDict
from typing import List, NamedTuple, Sequence

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image

from dksan_mm.utils.faults import reading_image
from .camera import Scaled

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
# mean squared difference of pixels one apart, divided by the one of pixels two
# apart: 0.39 to 0.50 for the middle half of sharp photographs, 0.27 to 0.31
# for the same ones after a Gaussian blur of one pixel
_SHARP = 0.36
# a photograph is also kept reduced by this factor, for frames that show more
# of it: bicubic sampling is accurate for a step of up to about 1.3 pixels
_REDUCED = 1.5
_ACCURATE = 1.3
MOST_STEP = _ACCURATE * _REDUCED


def list_photographs(folder: str, least_side: int) -> List[str]:
    """Return the photographs below a folder, sorted by name.

    Those with a side below ``least_side`` are left out, with a warning.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No photograph is left, or one is damaged.
    """
    if not osp.isdir(folder):
        raise FileNotFoundError(
            f'the folder of photographs, {folder}, does not exist; set '
            'data_root (or data_prefix) to where they are')
    found = sorted(
        osp.join(root, name) for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith('.'))
    small = [path for path in found if min(_size_of(path)) < least_side]
    paths = sorted(set(found) - set(small))
    if not paths:
        raise ValueError(
            f'{folder} must hold photographs ({", ".join(SUFFIXES)}) with '
            f'sides of at least {least_side} pixels, found {len(found)} '
            'files, all of them smaller; add larger ones, or train on '
            'smaller crops' if found else
            f'{folder} must hold photographs ({", ".join(SUFFIXES)}), found '
            'none; set data_root (or data_prefix) to where they are')
    if small:
        print_log(
            f'{len(small)} of the {len(found)} photographs in {folder} are '
            f'left out, {small[0]} being the first: they have a side below '
            f'{least_side} pixels', 'current', logging.WARNING)
    return paths


def _size_of(path: str) -> Sequence[int]:
    """Return width and height from a photograph's header."""
    with reading_image(path, 'photograph'), Image.open(path) as image:
        return image.size


class Photograph(NamedTuple):
    """A photograph, (H, W, 3) uint8 RGB, at the size where it is sharp, and a
    further reduced copy."""
    full: np.ndarray
    reduced: np.ndarray

    def at(self, step: float, side: int) -> Scaled:
        """Return the copy to sample for frames with ``step`` pixels of the
        full photograph per pixel, or fewer where its sides allow no more.

        Args:
            step (float): At most :data:`MOST_STEP`.
            side (int): Side of the frames.
        """
        step = min(step, min(self.full.shape[:2]) / side)
        if step <= _ACCURATE:
            return Scaled(self.full, step)
        factor = self.full.shape[1] / self.reduced.shape[1]
        return Scaled(self.reduced, step / factor)


class PhotographCache:
    """Photographs read from files; the most recently used are kept in memory.

    Args:
        paths (list[str]): The files.
        least_side (int): Photographs are not reduced below this side.
        most_bytes (int): Most bytes to keep, per process.
    """

    def __init__(self, paths: List[str], least_side: int,
                 most_bytes: int) -> None:
        self._paths, self._least = paths, least_side
        self._most, self._taken = most_bytes, 0
        self._kept: 'OrderedDict[int, Photograph]' = OrderedDict()

    def __getitem__(self, index: int) -> Photograph:
        """Return a photograph.

        Raises:
            ValueError: The file is damaged, has 16 bits or is transparent.
        """
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        # it enforces the rules of a data set's images. Imported here, as it
        # needs PyAV, which loading other data does not
        from dksan_mm.video.folders import read_image
        full = reduce_until_sharp(read_image(self._paths[index]), self._least)
        photograph = Photograph(full, _reduce(full, _REDUCED))
        self._kept[index] = photograph
        self._taken += full.nbytes + photograph.reduced.nbytes
        while self._taken > self._most and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._taken -= old.full.nbytes + old.reduced.nbytes
        return photograph


def reduce_until_sharp(image: np.ndarray, least_side: int) -> np.ndarray:
    """Return a photograph reduced until it is sharp: cameras rarely resolve
    single pixels.

    It is sharp when the mean squared difference of neighbouring pixels is at
    least 0.36 times the one of pixels two apart. It is reduced in at most four
    steps, each by the square root of two.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        least_side (int): The photograph is not reduced below this side.

    Returns:
        np.ndarray: (H', W', 3) uint8.
    """
    reduced = image
    for step in range(1, 5):
        factor = 2**(step / 2)
        if _sharpness(reduced) >= _SHARP or min(
                image.shape[:2]) < factor * least_side:
            break
        reduced = _reduce(image, factor)
    return reduced


def _sharpness(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    near, far = (
        np.square(grey[d:] - grey[:-d]).mean() +
        np.square(grey[:, d:] - grey[:, :-d]).mean() for d in (1, 2))
    return 1. if far == 0 else near / far


def _reduce(image: np.ndarray, factor: float) -> np.ndarray:
    size = [max(round(side / factor), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
