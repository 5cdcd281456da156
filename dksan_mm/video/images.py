"""Frames as single images."""
import os
import os.path as osp
from typing import Optional

import numpy as np

from dksan_mm.utils.files import write_whole
from dksan_mm.video.storage import encode_png
from .source import SourceInfo, turn_upright


def frame_name(index: int) -> str:
    """Return the file name of a frame in a folder."""
    return f'{index:08d}.png'


# the last chunk of every PNG
_END = b'\0\0\0\0IEND\xaeB`\x82'


def is_whole_png(path: str) -> bool:
    """Return whether a PNG is there and complete, down to its last chunk."""
    try:
        with open(path, 'rb') as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def write_frame(folder: str,
                index: int,
                image: np.ndarray,
                info: Optional[SourceInfo] = None) -> None:
    """Write a frame as a PNG, completely or not at all.

    Args:
        folder (str): Where to write; created if need be.
        index (int): The frame's number, from which its name is made.
        image (ndarray): (H, W, 3) RGB, uint8, or uint16 with 0 to 1023,
            stretched to 0 to 65535 in the file.
        info (SourceInfo, optional): The source, if the image is to be turned
            and mirrored as the source says. (The aspect ratio of its pixels is
            lost.)

    Raises:
        OutputError: The disk is full, the folder read-only, ...
    """
    if image.dtype == np.uint16:
        image = image << 6 | image >> 4
    if info is not None:
        image = turn_upright(image, info)
    write_whole(
        osp.join(folder, frame_name(index)), encode_png(image), durable=True)
