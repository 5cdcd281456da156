"""Raw material of a data set: folders of frames and video files."""
import logging
import os
import os.path as osp
import re
from dataclasses import replace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import av
import numpy as np

from dksan_mm.utils.faults import telling, told
from dksan_mm.utils.log import print_log
from . import check_av
from .folders import IMAGE_SUFFIXES, check_exists, list_frames, read_image

check_av()
VIDEO_SUFFIXES = ('.mp4', '.mkv', '.mov', '.avi', '.webm', '.m4v', '.mpg',
                  '.mpeg', '.ts', '.y4m')
# 000, video_000, 000.mp4, ...
_SEQUENCE = re.compile(r'(?:video_)?(\d+)$')


class Clip(NamedTuple):
    """A span of a video, or of a folder of frames: frames from ``start`` to
    before ``stop``, counted from 0 whatever the files are numbered. It may
    end before ``stop`` unless it is ``exact``."""
    path: str
    start: int = 0
    stop: Optional[int] = None
    exact: bool = False


def stem_of(path: str) -> str:
    """Return the name of a file or folder, without the suffix of a video."""
    name = osp.basename(osp.normpath(path))
    stem, suffix = osp.splitext(name)
    is_file = suffix.lower() in VIDEO_SUFFIXES or osp.isfile(path)
    return stem if is_file else name


@told('root')
def list_sources(root: str, tell: bool = False) -> List[str]:
    """Return the videos and folders of frames directly below a folder, in
    the order of their names; hidden files are skipped. With ``tell``, whatever
    else is there is named in the log."""
    check_exists(root)
    paths = [
        osp.join(root, name) for name in sorted(os.listdir(root))
        if not name.startswith('.')
    ]
    found = [path for path in paths if _is_video(path) or _has_frames(path)]
    others = [path for path in paths if path not in found]
    if tell and found and others:
        print_log(
            f'{root}: left out, as they are neither videos nor folders of '
            f'frames: {", ".join(map(osp.basename, others))}', 'current',
            logging.WARNING)
    return found


def find_numbered_sequences(roots: Sequence[str]) -> Dict[str, str]:
    """Return the numbered sequences of a challenge's data set.

    Args:
        roots (Sequence[str]): Folders that directly hold the sequences:
            folders of frames or videos called ``NNN`` or ``video_NNN``.

    Returns:
        dict: ``'000'`` (three digits) to its folder or video.

    Raises:
        FileNotFoundError: A root does not exist.
        ValueError: A root has no sequence, or a sequence occurs twice.
    """
    found: Dict[str, str] = {}
    for root in roots:
        check_exists(root)
        here = {
            path: match
            for path in (list_sources(root, True) if osp.isdir(root) else [])
            if (match := _SEQUENCE.match(stem_of(path)))
        }
        if not here:
            raise ValueError(
                f'{root} must directly hold sequences (folders of frames, or '
                'videos) called 000 or video_000, found none' +
                _nested_hint(root))
        for path, match in here.items():
            name = f'{int(match[1]):03d}'
            if name in found:
                raise ValueError(
                    f'sequence {name} must be there once, found '
                    f'{found[name]} and {path}; name only the folders that '
                    'hold the HR side')
            found[name] = path
    return found


def _nested_hint(root: str) -> str:
    """Return advice on which folder to name, for the end of a message."""
    named = '; name the folder that holds them'
    if not osp.isdir(root):
        return named
    below = [
        osp.join(root, name) for name in sorted(os.listdir(root)) if
        osp.isdir(osp.join(root, name)) and list_sources(osp.join(root, name))
    ]
    return (f'; name the folders that hold some: {", ".join(below)}'
            if below else named)


def _is_video(path: str) -> bool:
    """Return whether a file is a video, by its suffix or else its content; a
    damaged file with a video's suffix counts."""
    if not osp.isfile(path):
        return False
    if path.lower().endswith(VIDEO_SUFFIXES):
        return True
    if path.lower().endswith(IMAGE_SUFFIXES):
        return False
    try:
        with av.open(osp.abspath(path), metadata_errors='replace') as file:
            name = file.format.name
            # one picture, or text that is drawn
            still = name.endswith('_pipe') or name in ('image2', 'tty')
            return not still and any(
                not stream.disposition & av.stream.Disposition.attached_pic
                for stream in file.streams.video)
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _has_frames(path: str) -> bool:
    return osp.isdir(path) and any(name.lower().endswith(IMAGE_SUFFIXES)
                                   for name in os.listdir(path))


def read_clip(clip: Clip) -> Iterator[np.ndarray]:
    """Yield a clip's frames, (H, W, 3) uint8 RGB, all of one size.

    Folders: images in the order of their numbers, of any number of digits,
    beginning anywhere; grey ones get three equal channels, an opaque alpha
    channel is dropped. Videos: every frame, upright, reduced to 8 bits if it
    has more.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: There is no frame, or fewer than asked for; a number is
            missing or occurs twice; frames differ in size; an image is
            damaged, has 16 bits or is transparent; a video is damaged or ends
            early.
        OSError: The system refuses to read it.
    """
    with telling(clip.path):
        yield from _read_clip(clip)


def _read_clip(clip: Clip) -> Iterator[np.ndarray]:
    check_exists(clip.path)
    frames = _read_folder(clip) if osp.isdir(clip.path) else _read_video(clip)
    size, count = None, 0
    for name, frame in frames:
        if size is not None and frame.shape != size:
            raise ValueError(
                f'{name} must be as large as the frames before it, '
                f'{size[1]}x{size[0]}, found {frame.shape[1]}x'
                f'{frame.shape[0]}; split {clip.path} there')
        size = frame.shape
        count += 1
        yield frame
    if clip.exact and count < clip.stop - clip.start:
        raise ValueError(
            f'{clip.path} must have {clip.stop - clip.start} frames from '
            f'number {clip.start} on (counted from 0), found {count}; ask for '
            'fewer, or restore the sequence')
    if size is None:
        raise ValueError(
            f'{clip.path} must be a video or a folder of images with frames '
            f'from number {clip.start} on, found no frame; supported images: '
            f'{", ".join(IMAGE_SUFFIXES)}')


def _read_folder(clip: Clip) -> Iterator[Tuple[str, np.ndarray]]:
    for name in list_frames(clip.path)[clip.start:clip.stop]:
        path = osp.join(clip.path, name)
        yield path, read_image(path)


def _read_video(clip: Clip) -> Iterator[Tuple[str, np.ndarray]]:
    # imported here: these modules import this one
    from .probing import probe
    from .reader import read_frames
    from .source import turn_upright
    info = replace(probe(clip.path), bit_depth=8)
    stop = info.num_frames
    if clip.stop is not None:
        stop = min(stop, clip.stop)
    start = min(clip.start, stop)
    for index, frame in enumerate(read_frames(info, start, stop), start):
        yield info.describe_frame(index), turn_upright(frame, info)
