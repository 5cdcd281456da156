"""Several processes, or GPUs, for one video, started by ``torchrun``.

They divide the segments among themselves and share nothing else: they need no
process group of GPUs, only one to wait for each other.
"""
import datetime
import os
from typing import Callable, List, Optional, Sequence, TypeVar

import torch
import torch.distributed as dist
from mmengine.dist import barrier, broadcast_object_list, get_dist_info

from dksan_mm.utils.benchmark import pick_device

T = TypeVar('T')
# one process may be done days before another, on another kind of GPU
_PATIENCE = datetime.timedelta(days=30)


def join_processes() -> None:
    """Join the other processes if this one was started by ``torchrun``; end
    with :func:`dksan_mm.engine.finish_launcher`."""
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and not dist.is_initialized():
        dist.init_process_group('gloo', timeout=_PATIENCE)


def own_device(name: Optional[str] = None) -> torch.device:
    """Return this process's device; with several GPUs, each process has its
    own.

    Args:
        name (str, optional): ``cpu``, ``cuda`` or ``cuda:N``. Default: None,
            a GPU if there is one.

    Raises:
        ValueError: There is no GPU, or there are fewer GPUs than processes.
    """
    device = pick_device(name)
    if device.type != 'cuda' or device.index is not None:
        return device
    rank = int(os.environ.get('LOCAL_RANK', 0))
    if rank >= torch.cuda.device_count():
        raise ValueError(
            '--nproc_per_node must be at most the number of GPUs, '
            f'{torch.cuda.device_count()}, found process {rank + 1}; start '
            'fewer, or use --device cpu')
    return torch.device('cuda', rank)


def is_first() -> bool:
    """Return whether this is the process that prepares and joins."""
    return get_dist_info()[0] == 0


def from_first(value: Optional[T]) -> T:
    """Return the first process's value, in every process."""
    values = [value]
    broadcast_object_list(values)
    return values[0]


def done_first(work: Callable[[], T]) -> T:
    """Run ``work`` in the first process and return its result in every
    process; an error of the input or the output is raised in every process."""
    result, error = None, None
    if is_first():
        try:
            result = work()
        except (OSError, ValueError) as found:
            error = found
    told = from_first(error)
    if told is not None:
        raise error or told
    return from_first(result)


def own_share(items: Sequence[T]) -> List[T]:
    """Return this process's share: consecutive items, so that few windows
    reach into another process's share. The first process gets an item if any
    does."""
    rank, count = get_dist_info()
    begin, end = (-(-edge * len(items) // count) for edge in (rank, rank + 1))
    return list(items[begin:end])


def wait_for_all() -> None:
    """Wait until every process has called this."""
    barrier()
