"""Folders of frames: the order of images, and reading one. Needs no PyAV."""
import os
import os.path as osp
import re
from typing import List

import numpy as np
from PIL import Image, ImageOps

from dksan_mm.utils.faults import check_kind, reading_image, told

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')
_NUMBERS = re.compile(r'\d+')


def check_exists(path: str) -> None:
    """Check that there is a file or folder that can be read.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: It is a pipe, a socket or a device, or this user may not
            read it.
    """
    if not osp.exists(path):
        raise FileNotFoundError(
            f'{path} must be a video or a folder of frames, found nothing '
            'there; check the path')
    check_kind(path)
    if not os.access(path, os.R_OK):
        raise ValueError(f'{path} must be readable, found that this user may '
                         'not read it; let this user read it')


@told('folder')
def list_frames(folder: str) -> List[str]:
    """Return the names of a folder's images, sorted by their numbers, wherever
    in the names these stand; by name if none is numbered.

    Raises:
        ValueError: A number is missing or occurs twice, only some names have
            one, or several numbers change and disagree about the order.
    """
    names = sorted(
        name for name in os.listdir(folder)
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.'))
    stems = [osp.splitext(name)[0] for name in names]
    found = [[int(number) for number in _NUMBERS.findall(stem)]
             for stem in stems]
    if not any(found):
        return names
    if not all(found):
        raise ValueError(
            f'the images of {folder} must all be numbered, or none, found '
            f'{names[found.index([])]} without a number; rename or remove it')
    numbers = _frame_numbers(folder, names, stems, found)
    ordered = sorted(zip(numbers, names))
    for (number, name), (following, after) in zip(ordered, ordered[1:]):
        if following == number:
            raise ValueError(
                f'the images of {folder} must have different numbers, found '
                f'{name} and {after}; remove one')
        if following != number + 1:
            raise ValueError(
                f'the images of {folder} must be numbered without a gap, '
                f'found {after} after {name}; restore the missing ones, or '
                'split the sequence there')
    return [name for _, name in ordered]


def _frame_numbers(folder: str, names: List[str], stems: List[str],
                   found: List[List[int]]) -> List[int]:
    """Return for each name the number that counts the frames.

    Raises:
        ValueError: It is not clear which number counts.
    """
    if len({_NUMBERS.sub('#', stem) for stem in stems}) > 1:
        if all(stem[-1].isdigit() for stem in stems):
            return [numbers[-1] for numbers in found]
        raise ValueError(
            f'the images of {folder} must be named alike but for their '
            f'numbers, found {names[0]} and {names[-1]}; rename them')
    columns = [column for column in zip(*found) if len({*column}) > 1]
    if not columns:  # a single image, or 1 and 01
        return [numbers[-1] for numbers in found]
    # one column counts, and no other disagrees about the order
    counting = [
        column for column in columns if sorted(column) == list(
            range(min(column),
                  min(column) + len(column)))
    ]
    chosen = (counting or columns[-1:])[-1]
    order = sorted(range(len(names)), key=chosen.__getitem__)
    for column in columns:
        values = [column[index] for index in order]
        if len(columns) > 1 and (len({*chosen}) < len(names)
                                 or values != sorted(values)):
            raise ValueError(
                f'the images of {folder} must have one number that counts '
                f'them, found {names[0]} and {names[-1]}, in which several '
                'numbers change and disagree about the order; rename them, '
                'or split the folder')
    return list(chosen)


def read_image(path: str) -> np.ndarray:
    """Read an image, (H, W, 3) uint8 RGB, by the rules of
    :func:`read_clip`."""
    with reading_image(path), Image.open(path) as image:
        # Pillow would silently drop the low byte of 16-bit colours
        deep = image.mode[:1] in 'IF' or any('16' in str(tile[3])
                                             for tile in image.tile)
        image.load()
        if not deep:
            image = ImageOps.exif_transpose(image.copy())
    if deep:
        raise ValueError(f'{path} must have 8 bits a channel, found more '
                         f'(mode {image.mode}); convert it to 8 bits first')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        opaque = image.getchannel('A').getextrema()[0]
        if opaque < 255:
            raise ValueError(
                f'{path} must be opaque, found alpha values down to {opaque};'
                ' draw it on a background first')
    return np.asarray(image.convert('RGB'))
