"""Restoration of videos of any length."""
import contextlib
import time
from dataclasses import dataclass
from typing import Any, Iterable, List, Optional, Set, Tuple

from mmagic.models import BaseEditModel
from mmengine.dist import all_gather_object, get_dist_info

from dksan_mm.utils.faults import told
from . import processes
from .job import Job, choose_dtype
from .options import RestoreOptions
from .outputs import Segment
from .pipeline import restore_segments
from .progress import show_progress


@dataclass(frozen=True)
class Summary:
    """What :func:`restore_video` did.

    Attributes:
        output (str): Where the restored video is.
        comparison (str, optional): Where the comparison with bicubic is.
        frames (int): Number of frames in the video.
        restored (int): Number of frames that this run restored, in all
            processes; the others were there already.
        seconds (float): Total time of this process.
        frames_per_second (float): Restored frames over these seconds.
        cuts (tuple[int]): Numbers of the frames that begin a scene, among
            those that this run read.
        segments (int): Number of segments in the video.
        reused (int): Number of segments that were there already.
        was_there (bool): Whether the complete output was there already.
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
                  options: RestoreOptions = RestoreOptions(),
                  **settings: Any) -> Summary:
    """Restore a video, or a folder of frames, of any length.

    Frames are decoded and encoded in threads of their own, while the network
    runs; only a fixed number of frames is in memory. The video is made in
    segments, each a file in ``OUTPUT.partial``. In the end they are joined
    without re-encoding, and get the source's sound, subtitles, chapters and
    frame times. ``output`` appears under its name only when it is complete. A
    run that is stopped, whenever and for whatever reason, loses at most the
    segment in progress.

    In processes started by ``torchrun`` that have called
    :func:`dksan_mm.apis.processes.join_processes`, each restores a part of
    the segments; the result has the same bits.

    Args:
        model (BaseEditModel): The model, from :func:`load_model`.
        source (str or Path): Video, or folder of frames.
        output (str or Path): A video, recognised by its suffix, or a folder,
            which gets a PNG per frame.
        options (RestoreOptions): How to restore.
        **settings: Fields of :class:`RestoreOptions`, such as
            ``dtype='bf16'`` or ``crf=14``, which override ``options``.

    Returns:
        Summary: What the run did.

    Raises:
        FileNotFoundError: There is no source.
        ValueError: The source is damaged or empty; the output exists, or
            cannot have this size, codec or sound; a stopped run had other
            settings; an option has a value that is not allowed.
        TypeError: There is no such option.
        OutputError: The output cannot be written (full disk, ...).
        OSError: The system refuses something else; the message names the file
            and the cure.
        KeyboardInterrupt: Ctrl-C was pressed; the run can be resumed.
    """
    begun = time.perf_counter()
    options = options.updated(**settings)
    if options.dtype == 'auto':
        dtype = processes.done_first(lambda: choose_dtype(
            model, output, options.resume, options.device))
        options = options.updated(dtype=dtype)
    # damage must not stop a run of days; a part is soon reached
    job = Job(
        model, source, output, options, decode=options.part() == (0, None))
    try:
        # the first process finds out what there is to do, and tells the others
        todo = processes.done_first(job.begin)
        job.use_batch(processes.from_first(job.restorer.batch))
        if todo:
            job.join()
        _check_tile(job)
        share = processes.own_share(todo)
        cuts = _restore(job, share, todo, options.progress)
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
    """Raise ValueError if this process, on another kind of GPU, would use
    other tiles than the first process."""
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
    output, *others = (output.path for output in job.outputs)
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
