"""Estimates the time and memory of a restoration from a few frames."""
import os.path as osp
import sys
import tempfile
from typing import Any, Optional

import torch
from mmagic.models import BaseEditModel
from mmengine.dist import get_dist_info

from dksan_mm.utils.faults import told
from . import processes
from .job import Job, choose_dtype
from .options import RestoreOptions
from .outputs import is_video_path
from .restore_video import restore_video

# least frames of a run, and how many times as many the next one restores:
# their difference cancels the cost of starting
_FEW, _TIMES = 2, 4


@told('source')
def estimate(model: BaseEditModel,
             source: str,
             output: str,
             options: RestoreOptions = RestoreOptions(),
             **settings: Any) -> str:
    """Return a sentence on how much time and memory restoring would take.

    Frames from the middle are restored with all the options and encoded into a
    temporary folder; nothing is written beside ``output``.

    Args:
        model (BaseEditModel): The model, from :func:`load_model`.
        source (str or Path): Video, or folder of frames.
        output (str or Path): Path that would be written; its suffix chooses
            the format.
        options (RestoreOptions): As for :func:`restore_video`; ``resume``,
            ``overwrite`` and ``progress`` are ignored.
        **settings: As for :func:`restore_video`.

    Raises:
        FileNotFoundError, ValueError, OSError: As for :func:`restore_video`.
    """
    options = options.updated(
        **settings, resume=False, overwrite=False, progress=False)
    if options.dtype == 'auto':  # once for both runs
        dtype = processes.done_first(
            lambda: choose_dtype(model, output, device=options.device))
        options = options.updated(dtype=dtype)
    job = Job(model, source, output, options)
    # for the whole video: a part of it would be too short for trials
    whole, zero = job.info, job.first_time
    batch = processes.from_first(job.choose_batch())
    del job  # and its copy of the network
    options = options.updated(batch=batch)
    total = whole.num_frames
    few = -(-_FEW // batch) * batch  # whole batches
    few, more = min(few, total), min(_TIMES * few, total)
    first = max(total - more, 0) // 2
    times = [(time - zero) * whole.time_base for time in whole.times]
    end = times[-1] + (whole.last_duration or 1) * whole.time_base

    def run(frames: int) -> float:
        last = first + frames
        until = times[last] if last < total else end
        with tempfile.TemporaryDirectory() as folder:
            name = 'out'
            if is_video_path(output):
                name += osp.splitext(output)[1]
            part = options.updated(
                start=times[first],
                duration=until - times[first],
                segment=frames)
            # one folder for all processes, as in the run itself
            place = osp.join(processes.from_first(folder), name)
            return restore_video(model, source, place, part).seconds

    once = run(few)
    each = max(
        (run(more) - once) / (more - few), 0) if more > few else (once / few)
    # the trials are one process's
    seconds = once + each * (total - few) / get_dist_info()[1]
    # the trials are too short to fill the encoder
    beside = ', and the encoder beside it' if is_video_path(output) else ''
    return (f'{source}: {total} frames, about {each:.3g} s each, '
            f'{_duration(seconds)} in all; memory: {_memory(model)}{beside}')


def _memory(model: BaseEditModel) -> str:
    """Return the peak memory of this process so far."""
    try:
        import resource
    except ImportError:
        text = 'not known on this system'
    else:
        unit = 1 if sys.platform == 'darwin' else 1024
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        text = f'{taken / 2**30:.1f} GiB'
    parameter: Optional[torch.Tensor] = next(model.parameters(), None)
    if parameter is not None and parameter.is_cuda:
        most = torch.cuda.max_memory_allocated(parameter.device)
        text += f', {most / 2**30:.1f} GiB of the GPU'
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}'
