"""Outputs for restored frames: a video, or a folder of images."""
import os
import os.path as osp
import re
from itertools import count
from typing import (Callable, Iterable, Iterator, List, NamedTuple, Protocol,
                    Union)

import numpy as np
from mmengine.logging import print_log

from dksan_mm.video.clips import VIDEO_SUFFIXES
from dksan_mm.video.encoding import write_segment
from dksan_mm.video.images import frame_name, is_whole_png, write_frame
from dksan_mm.video.joining import check_container, count_frames, join_segments
from dksan_mm.video.options import EncoderOptions
from dksan_mm.video.probing import probe
from dksan_mm.video.source import SourceInfo
from dksan_mm.video.streams import OUTPUT_SUFFIXES, list_left_out_of_folder
from .resume_folder import ResumeFolder

# names that frame_name gives
_FRAME = re.compile(r'\d{8,}\.png')


class Segment(NamedTuple):
    """Frames ``start`` to before ``stop`` of a video, its ``index``-th part.
    """
    index: int
    start: int
    stop: int


class Output(Protocol):
    """What a job writes to, segment by segment."""
    path: str

    def check(self) -> None:
        """Raise ValueError if the output cannot be written as requested."""

    def has(self, segment: Segment) -> bool:
        """Return whether a segment is there and complete."""

    def draw(self, source: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """Return the frame to write for a source frame, (H, W, 3) RGB, and its
        restored frame."""

    def write(self, segment: Segment, frames: Iterable[np.ndarray]) -> None:
        """Write a segment; if killed, the unfinished one does not count."""

    def join(self, segments: Iterable[Segment]) -> str:
        """Join the segments; return the path of the result."""

    def check_whole(self) -> None:
        """Raise ValueError unless the output looks like the finished one."""


def restored_frame(source: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Return the restored frame."""
    return restored


class VideoOutput:
    """A video file, joined from one file per segment.

    Args:
        path (str): Path of the video; its suffix chooses the container.
        partial (ResumeFolder): Folder for the segments.
        name (str): Beginning of the segments' file names.
        info (SourceInfo): The source.
        scale (int): How many times larger than the source the video is.
        options (EncoderOptions): Codec and quality.
        draw (Callable): Like :meth:`Output.draw`. Default: the restored frame.
    """

    def __init__(
        self,
        path: str,
        partial: ResumeFolder,
        name: str,
        info: SourceInfo,
        scale: int,
        options: EncoderOptions,
        draw: Callable[[np.ndarray, np.ndarray], np.ndarray] = restored_frame
    ) -> None:
        self.path = path
        self._partial = partial
        self._name = name
        self._info = info
        self._scale = scale
        self._options = options
        self.draw = draw

    def check(self) -> None:
        """See :class:`Output`."""
        if osp.isdir(self.path):
            raise ValueError(f'{self.path} must not be a folder, as its '
                             'suffix is that of a video; choose another name')
        for line in check_container(self._info, self.path, self._scale,
                                    self._options):
            print_log(f'{self.path}: {line}', 'current')

    def _path(self, segment: Segment) -> str:
        return self._partial.file(f'{self._name}_{segment.index:05d}.mkv')

    def has(self, segment: Segment) -> bool:
        """See :class:`Output`."""
        return count_frames(self._path(segment)) == (
            segment.stop - segment.start)

    def write(self, segment: Segment, frames: Iterable[np.ndarray]) -> None:
        """See :class:`Output`."""
        write_segment(
            self._path(segment), frames, self._info, segment.start,
            self._scale, self._options)

    def join(self, segments: Iterable[Segment]) -> str:
        """See :class:`Output`."""
        suffix = osp.splitext(self.path)[1]
        joined = self._partial.file(f'{self._name}_joined{suffix}')
        join_segments([self._path(segment) for segment in segments],
                      self._info, joined, self._scale, self._options)
        return joined

    def check_whole(self) -> None:
        """See :class:`Output`."""
        found, info = probe(self.path, video_stream=0), self._info
        _check_equal(self.path, (found.num_frames, found.width, found.height),
                     (info.num_frames, info.width * self._scale,
                      info.height * self._scale))


class FolderOutput:
    """A folder of upright PNGs, named by their numbers from 0.

    Args:
        path (str): The folder.
        partial (ResumeFolder): Folder for the frames until all are there.
        info (SourceInfo): The source.
        draw (Callable): Like :meth:`Output.draw`. Default: the restored frame.
    """

    def __init__(
        self,
        path: str,
        partial: ResumeFolder,
        info: SourceInfo,
        draw: Callable[[np.ndarray, np.ndarray], np.ndarray] = restored_frame
    ) -> None:
        self.path = path
        self._folder = partial.file('frames')
        self._info = info
        self.draw = draw

    def check(self) -> None:
        """See :class:`Output`."""
        if self._info.kind == 'video':
            for line in list_left_out_of_folder(self._info):
                print_log(f'{self.path}: {line}', 'current')
        if osp.isfile(self.path):
            raise ValueError(f'{self.path} must be a folder or not exist, '
                             'found a file; remove it, or choose another name')
        if not osp.isdir(self.path):
            return
        if osp.ismount(self.path):
            raise ValueError(
                f'{self.path} must not be where a file system is mounted, '
                'as the folder is made beside it and moved there; choose one '
                f'in it, such as {osp.join(self.path, "frames")}')
        others = sorted(
            name for name in os.listdir(self.path)
            if not _FRAME.fullmatch(name))
        if others:
            raise ValueError(
                f'{self.path} must hold nothing but the frames of an '
                f'earlier run to be replaced, found {others[0]}; choose '
                'another folder, or empty it')

    def has(self, segment: Segment) -> bool:
        """See :class:`Output`."""
        return all(
            is_whole_png(osp.join(self._folder, frame_name(index)))
            for index in range(segment.start, segment.stop))

    def write(self, segment: Segment, frames: Iterable[np.ndarray]) -> None:
        """See :class:`Output`."""
        for index, frame in zip(count(segment.start), frames):
            write_frame(self._folder, index, frame, self._info)

    def join(self, segments: Iterable[Segment]) -> str:
        """See :class:`Output`."""
        for name in os.listdir(self._folder):
            if not _FRAME.fullmatch(name):  # a killed run left it
                os.remove(osp.join(self._folder, name))
        return self._folder

    def check_whole(self) -> None:
        """See :class:`Output`."""
        _check_equal(self.path, len(os.listdir(self.path)),
                     self._info.num_frames)


def is_video_path(output: str) -> bool:
    """Return whether an output is a video; otherwise it is a folder.

    Raises:
        ValueError: The suffix fits neither.
    """
    suffix = osp.splitext(osp.normpath(output))[1].lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    separators = os.sep, os.altsep or os.sep
    if suffix and not output.endswith(separators) and not osp.isdir(output):
        raise ValueError(
            f'OUTPUT must be a folder, or a video with one of the suffixes '
            f'{", ".join(OUTPUT_SUFFIXES)}, got {output!r}; for a folder of '
            f'that name write {output}{os.sep}')
    return False


def split_segments(num_frames: int, length: int) -> List[Segment]:
    """Return the segments of a video; the last one may be shorter."""
    return [
        Segment(index, start, min(start + length, num_frames))
        for index, start in enumerate(range(0, num_frames, length))
    ]


def find_runs(segments: Iterable[Segment]) -> Iterator[List[Segment]]:
    """Yield groups of consecutive segments, each of which is restored in one
    go."""
    run: List[Segment] = []
    for segment in segments:
        if run and run[-1].index + 1 != segment.index:
            yield run
            run = []
        run.append(segment)
    if run:
        yield run


def _check_equal(output: str, found: Union[int, tuple],
                 expected: Union[int, tuple]) -> None:
    if found != expected:
        raise ValueError(
            f'{output} must not exist, or be the finished result (frames, '
            f'width, height: {expected}), found {found}; --overwrite '
            '(overwrite=True) replaces it')
