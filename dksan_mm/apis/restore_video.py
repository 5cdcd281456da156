"""Restoration of videos of any length."""
import contextlib
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Iterable, List, Optional, Set, Tuple, Union

from mmagic.models import BaseEditModel
from mmengine.dist import all_gather_object, get_dist_info

from dksan_mm.utils.faults import told
from . import processes
from .job import Job, choose_dtype
from .outputs import Segment
from .pipeline import restore_segments
from .progress import show_progress


@dataclass(frozen=True)
class Summary:
    """What :func:`restore_video` did.

    Attributes:
        output (str): Where the restored video is.
        comparison (str, optional): Where that with bicubic is.
        frames (int): Of the video.
        restored (int): Of these, frames that this run restored, in all
            processes; the others were there already.
        seconds (float): That this process took, all in all.
        frames_per_second (float): Restored frames over these seconds.
        cuts (tuple[int]): Numbers of the frames that begin a scene, of those
            that this run read.
        segments (int): Of the video.
        reused (int): Of these, segments that were there already.
        was_there (bool): Whether the output was there already, whole.
    """
    output: str
    comparison: Optional[str]
    frames: int
    restored: int
    seconds: float
    frames_per_second: float
    cuts: Tuple[int, ...]
    segments: int
    reused: int
    was_there: bool


@told('source')
def restore_video(model: BaseEditModel,
                  source: str,
                  output: str,
                  *,
                  dtype: str = 'auto',
                  segment: int = 48,
                  resume: bool = False,
                  overwrite: bool = False,
                  compare: Optional[str] = None,
                  fps: Union[Fraction, float, str, None] = None,
                  start: Union[Fraction, float] = 0,
                  duration: Union[Fraction, float, None] = None,
                  height: Optional[int] = None,
                  width: Optional[int] = None,
                  progress: bool = True,
                  strict: bool = False,
                  video_stream: Optional[int] = None,
                  **options: Any) -> Summary:
    """Restore a video, or a folder of frames, of any length.

    Frames are decoded and encoded in threads of their own, beside the
    network; a fixed number of them is in memory. The video is made in
    segments, each a file of its own in ``OUTPUT.partial``, which in the end
    become one file without encoding anew, with the source's sound,
    subtitles, chapters and frame times. ``output`` gets its name when it is
    whole. A run that was stopped, by whatever and whenever, loses at most the
    segment that it was at.

    In processes started by ``torchrun`` that have called
    :func:`dksan_mm.apis.processes.join_processes`, each restores a part of the
    segments; the result has the same bits.

    Args:
        model (BaseEditModel): Of :func:`load_model`.
        source (str or Path): Video, or folder of frames.
        output (str or Path): Video, by its suffix, or folder, for a PNG each
            frame.
        dtype (str): 'fp32', 'bf16' or 'fp16', of features and convolutions.
            Default: 'auto': what a resumed run was begun with; else 'bf16'
            where a self-test of some tenths of a second finds it 1.3 times
            as fast as 'fp32', and right; else 'fp32'. A line says which.
        segment (int): Frames of a segment, at least 1. More make a slightly
            smaller file, fewer lose less. Default: 48.
        resume (bool): Whether to go on with what a stopped run left, which
            must have had the same settings. A finished output stays,
            with whatever settings it was made.
        overwrite (bool): Whether to replace an output, and to throw away
            what a stopped run left.
        compare (str, optional): ``'split'`` or ``'side'``: also write a video
            that shows bicubic interpolation at left and the result at right,
            to ``<output>_compare<suffix>``; for a folder,
            ``<output>_compare.mkv``.
        fps (Fraction, float or str, optional): Frames per second of a folder
            of frames, such as ``'24000/1001'``. Default: 25. A video has its
            own.
        start (Fraction or float): Restore a part, from so many seconds on.
            Windows do not reach over its ends. Of sound and subtitles what
            begins in it is copied, of several videos the first.
            Default: 0.
        duration (Fraction or float, optional): Seconds of the part. Default:
            to the end.
        height (int, optional): Reduce the result to this height, in pixels,
            by an antialiased bicubic filter. Default: as restored.
        width (int, optional): The same. With one of the two the shape is
            kept.
        progress (bool): Whether to show frames per second and time left.
        strict (bool): Whether to refuse a video that is damaged, or whose
            frames change their size, instead of restoring what its decoder
            makes of it.
        video_stream (int, optional): Number of the video among the file's
            streams, from 0. Default: as players choose.
        **options: Those of :class:`WindowRestorer` (compile, batch, tile,
            tile_overlap, max_memory in bytes, scene_threshold, ensemble,
            device) and of :class:`EncoderOptions` (codec, crf,
            preset, pix_fmt, lossless, threads, extra, leave_out). Default
            codec: libx264, libvpx-vp9 for .webm.

    Returns:
        Summary: What was done.

    Raises:
        FileNotFoundError: There is no source.
        ValueError: The source is damaged or empty; the output exists, or
            cannot have this size, codec or sound; a stopped run had other
            settings; an option breaks its rule.
        OutputError: The output cannot be written (full disk, ...).
        OSError: The system refuses something else; the message names the file
            and the cure.
        KeyboardInterrupt: Of Ctrl-C; the state can be gone on with.
    """
    begun = time.perf_counter()
    if dtype == 'auto':
        dtype = processes.done_first(
            lambda: choose_dtype(model, output, resume, options.get('device')))
    options['dtype'] = dtype
    job = Job(model, source, output, segment, compare, fps, options,
              (start, duration), (height, width), strict, video_stream)
    try:
        # the first process looks what there is to do, and tells the others
        todo = processes.done_first(lambda: job.begin(resume, overwrite))
        if todo:
            job.join()
        _check_tile(job)
        cuts = _restore(job, processes.own_share(todo), todo, progress)
        processes.wait_for_all()
        if processes.is_first() and not job.finished:
            job.publish()
        processes.wait_for_all()
    finally:
        job.release()
    return _summarise(job, todo, cuts, time.perf_counter() - begun)


def _restore(job: Job, share: List[Segment], todo: List[Segment],
             progress: bool) -> Set[int]:
    """Restore this process's share; return the cuts that all found."""
    rank, processes = get_dist_info()
    total, done = job.info.num_frames, job.info.num_frames - _count(todo)
    label = 'restored'
    if processes > 1:
        total, done = _count(share), 0
        label = f'restored by process 1 of {processes}'
    bar = show_progress(total, done, progress and rank == 0 and share, label)
    with contextlib.closing(bar):
        restore_segments(job, share, bar.update)
    return set().union(*all_gather_object(job.restorer.cuts))


def _check_tile(job: Job) -> None:
    """Raise ValueError if another kind of GPU would take other tiles than
    the first process's."""
    tile = job.tile()
    first = processes.from_first(tile)
    if tile != first:
        raise ValueError(
            'max_memory (--max-memory) must lead to the same tiles in all '
            f'processes, found {tile} and {first}; give tile (--tile) instead')


def _count(segments: Iterable[Segment]) -> int:
    return sum(segment.stop - segment.start for segment in segments)


def _summarise(job: Job, todo: List[Segment], cuts: Set[int],
               seconds: float) -> Summary:
    restored = _count(todo)
    output, *others = (target.output for target in job.targets)
    return Summary(
        output=output,
        comparison=others[0] if others else None,
        frames=job.info.num_frames,
        restored=restored,
        seconds=seconds,
        frames_per_second=restored / seconds,
        cuts=tuple(sorted(cuts)),
        segments=len(job.segments),
        reused=0 if job.was_there else len(job.segments) - len(todo),
        was_there=job.was_there)
