"""Frames of a data set on disk: PNGs, or one memory map per sequence.

``<folder>/<sequence>/<frame>.png``, 8-bit RGB, or ``<folder>/<sequence>.npy``,
(T, H, W, 3) uint8 RGB, NumPy's format. Frames are called 00000000, 00000001,
...; both storages hold the same pixels. A memory map needs no decoding, and
only the pixels in use are read from disk.
"""
import os
import os.path as osp
import re
from functools import lru_cache
from glob import escape, glob
from typing import List, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.lib import format as npy
from PIL import Image

from dksan_mm.utils.faults import reading_image
from dksan_mm.utils.files import file_sha256, output_error, remove, write_whole
from .folders import list_frames, read_image

STORAGES = ('png', 'memmap')
# file names that transforms use for frames
_FRAME = re.compile(r'\d{8}\.png')


class Listing(NamedTuple):
    """A sequence as it is stored on disk."""
    path: str  # folder or .npy file
    storage: str
    names: List[str]  # of files, or of frames in the map, '00000000.png'


def memmap_path(folder: str, sequence: str) -> str:
    """Return where a sequence's memory map is, if it has one."""
    return osp.join(folder, f'{sequence}.npy')


def list_sequence(folder: str, sequence: str) -> Listing:
    """Return how a sequence is stored on disk.

    Raises:
        FileNotFoundError: There is neither a folder nor a memory map.
        ValueError: Both are there, or the map is damaged.
    """
    frames, mapped = osp.join(folder, sequence), memmap_path(folder, sequence)
    if osp.isdir(frames) and osp.exists(mapped):
        raise ValueError(f'sequence {sequence} must be stored once in '
                         f'{folder}, found {frames} and {mapped}; remove one')
    if osp.exists(mapped):
        count = len(open_memmap(mapped))
        return Listing(mapped, 'memmap',
                       [f'{i:08d}.png' for i in range(count)])
    if not osp.isdir(frames):
        raise FileNotFoundError(
            f'neither {frames} nor {mapped} exists; run the converter again')
    return Listing(frames, 'png', sorted(os.listdir(frames)))


def open_memmap(path: str) -> np.ndarray:
    """Return a sequence's memory map, (T, H, W, 3) uint8 RGB, read-only.

    Raises:
        ValueError: The file is no such map, or is incomplete.
    """
    return _open_memmap(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=256)
def _open_memmap(path: str, changed: int) -> np.ndarray:
    """Open a map; a changed file is opened again."""
    try:
        frames = np.load(path, mmap_mode='r')
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} must be a whole .npy file, found: {error}; '
                         'run the converter again') from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(
            f'{path} must hold frames, (T, H, W, 3) uint8, found '
            f'{frames.shape} {frames.dtype}; run the converter again')
    return frames


def read_mapped(path: str) -> Optional[np.ndarray]:
    """Return the frame that ``<folder>/<sequence>/<frame>.png`` stands for
    from the sequence's memory map, read-only (H, W, 3) uint8 RGB; None where
    there is no map.

    Raises:
        ValueError: The map does not have this frame.
    """
    folder, name = osp.split(path)
    mapped = f'{folder}.npy'
    if not osp.exists(mapped):
        return None
    frames = open_memmap(mapped)
    number = osp.splitext(name)[0]
    if not number.isdigit() or int(number) >= len(frames):
        raise ValueError(f'{mapped} must hold frame {number}, found '
                         f'{len(frames)} frames; run the converter again')
    return frames[int(number)]


def frame_file(path: str) -> str:
    """Return the file of the frame ``<folder>/<sequence>/<frame>.png``.

    Usually that is the path itself. Public data sets may number their images
    differently (0000.png, or from 00000001.png on): in such a folder 00000000
    is the image with the lowest number, 00000001 the next, ...

    Raises:
        FileNotFoundError: The folder has fewer images.
        ValueError: As :func:`dksan_mm.video.folders.list_frames`.
    """
    folder, name = osp.split(path)
    if not _FRAME.fullmatch(name) or not osp.isdir(folder) or osp.exists(
            osp.join(folder, '00000000.png')):
        return path
    names = _names_in_order(folder, os.stat(folder).st_mtime_ns)
    place = int(name[:8])
    if place >= len(names):
        raise FileNotFoundError(
            f'{folder} must hold frame {place}, counted from 0, found '
            f'{len(names)} images; restore what is missing')
    return osp.join(folder, names[place])


@lru_cache(maxsize=256)
def _names_in_order(folder: str, changed: int) -> List[str]:
    """List a folder's images; a changed folder is listed again."""
    return list_frames(folder)


def frame_size(path: str) -> Tuple[int, int]:
    """Return (width, height) of the frame ``<folder>/<sequence>/<frame>.png``
    in either storage, from the file's header.

    Raises:
        ValueError: The file is damaged.
    """
    image = read_mapped(path)
    if image is not None:
        return image.shape[1], image.shape[0]
    path = frame_file(path)
    with reading_image(path), Image.open(path) as image:
        return image.size


def read_frame(folder: str, sequence: str, frame: str) -> np.ndarray:
    """Return one frame, (H, W, 3) uint8 RGB, in either storage.

    Raises:
        ValueError: The frame is missing or damaged.
    """
    path = osp.join(folder, sequence, f'{frame}.png')
    image = read_mapped(path)
    return read_image(frame_file(path)) if image is None else image


def encode_png(frame: np.ndarray) -> bytes:
    """Return an (H, W, 3) uint8 RGB frame as a PNG file."""
    return cv2.imencode('.png', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]


def sequence_digest(folder: str, sequence: str) -> str:
    """Return the SHA-256 of a sequence's files on disk, in hexadecimal.

    Raises:
        FileNotFoundError, ValueError: As :func:`list_sequence`.
    """
    listing = list_sequence(folder, sequence)
    paths = [listing.path] if listing.storage == 'memmap' else [
        osp.join(listing.path, name) for name in listing.names
    ]
    return file_sha256(*paths)


class PNGWriter:
    """Writes a sequence's frames as PNGs, skipping those that exist.

    Args:
        folder (str): Folder of sequences.
        sequence (str): Name of the sequence.
    """

    def __init__(self, folder: str, sequence: str) -> None:
        self.folder = osp.join(folder, sequence)
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame, (H, W, 3) uint8 RGB."""
        path = osp.join(self.folder, f'{self.count:08d}.png')
        if not osp.exists(path):
            write_whole(path, encode_png(frame))
        self.count += 1

    def close(self) -> None:
        """Remove the partial files of a killed run."""
        for name in os.listdir(self.folder):
            if name.endswith('.partial'):
                remove(osp.join(self.folder, name))

    def abort(self) -> None:
        """Keep the files: each is complete."""


class MemmapWriter:
    """Writes a sequence as one ``.npy`` file, which gets its final name once
    it is complete.

    It uses ordinary writes: writing to a mapping would kill the process when
    the disk is full.

    Args:
        folder (str): Folder of sequences.
        sequence (str): Name of the sequence.
    """

    def __init__(self, folder: str, sequence: str) -> None:
        self.path = memmap_path(folder, sequence)
        # unique to this process, in case another is still writing
        self.partial = f'{self.path}.{os.getpid()}.partial'
        for left in glob(f'{escape(self.path)}.*partial'):
            if left != self.partial:
                remove(left)
        self.file = None
        self.shape = (0, )
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame, (H, W, 3) uint8 RGB."""
        try:
            if self.file is None:
                os.makedirs(osp.dirname(self.path), exist_ok=True)
                self.file = open(self.partial, 'wb')
                self.shape = frame.shape
                self._write_header()
            self.file.write(np.ascontiguousarray(frame))
        except OSError as error:
            self.abort()
            raise output_error(self.path, error) from error
        self.count += 1

    def _write_header(self) -> None:
        # NumPy leaves room in the header for the first axis to grow
        npy.write_array_header_1_0(
            self.file,
            dict(
                descr='|u1',
                fortran_order=False,
                shape=(self.count, *self.shape)))

    def close(self) -> None:
        """Give the file its name."""
        try:
            start = self.file.tell()
            self.file.seek(0)
            self._write_header()
            self.file.seek(start)
            self.file.close()
            os.replace(self.partial, self.path)
        except OSError as error:
            self.abort()
            raise output_error(self.path, error) from error

    def abort(self) -> None:
        """Remove the unfinished file."""
        try:
            if self.file is not None:
                self.file.close()
        except OSError:
            pass  # the disk is still full, which is being reported
        remove(self.partial)


WRITERS = dict(png=PNGWriter, memmap=MemmapWriter)
