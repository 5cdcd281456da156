"""Shared by the benchmarks: fair timing, memory, tables.

Needs only PyTorch, like tools/benchmark_op.py.
"""
import argparse
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import (Any, Callable, Dict, List, Optional, Sequence, TypeVar,
                    Union)

import torch

from .files import write_whole

Run = Callable[[], Any]
T = TypeVar('T')
# larger than the second-level cache of any GPU
_CACHE_BYTES = 2**28
# cycles (about a millisecond) that let the host get ahead of the GPU
_HEAD_START = 2_000_000
# seconds before the first progress message; characters of a terminal line
_QUIET, _LINE = 2, 79


def pick_device(name: Optional[str]) -> torch.device:
    """Return the device called ``name``; None means a GPU if there is one."""
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(name or ('cuda' if gpu else 'cpu'))
    except RuntimeError as error:
        raise ValueError(
            f'--device must be cpu, cuda or cuda:N, got {name!r}') from error
    if device.type == 'cuda' and not gpu:
        raise ValueError(f'--device must be cpu here, got {name!r}, but '
                         'PyTorch sees no GPU: see tools/check_env.py')
    return device


def add_arguments(parser: argparse.ArgumentParser, repeat: int) -> None:
    """Add the arguments that all benchmarks have."""
    parser.add_argument(
        '--device', help='cpu, cuda or cuda:N; default: cuda if available')
    parser.add_argument(
        '--repeat',
        type=int,
        default=repeat,
        help=f'number of rounds; default: {repeat}')
    parser.add_argument(
        '--threads',
        type=int,
        help="number of CPU threads; default: PyTorch's choice")
    parser.add_argument('--out', help='JSON file to write the results to')


def check_arguments(args: argparse.Namespace) -> None:
    """Check the arguments of :func:`add_arguments` and apply them.

    Raises:
        ValueError: An argument has a value that is not allowed; the message
            names it.
    """
    for name in ('repeat', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f'--{name} must be at least 1, got {value}')
    if args.out and not args.out.endswith('.json'):
        raise ValueError(f'--out must end in .json, got {args.out!r}')
    args.device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)


def cpu_name() -> str:
    try:
        with open('/proc/cpuinfo') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware(device: torch.device) -> Dict[str, Any]:
    """Return everything that a timing depends on: processor, cores available
    to this process, threads, versions and, if used, the GPU."""
    cores = os.cpu_count()
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    found = dict(
        cpu=cpu_name(),
        cores=cores,
        threads=torch.get_num_threads(),
        torch=torch.__version__)
    if device.type == 'cuda':
        found.update(
            gpu=torch.cuda.get_device_name(device),
            cuda=torch.version.cuda,
            tf32_conv=torch.backends.cudnn.allow_tf32)
    return found


def show_hardware(found: Dict[str, Any]) -> None:
    print(', '.join(f'{key}: {value}' for key, value in found.items()))


def time_once(run: Run,
              device: torch.device,
              kernels_only: bool = False) -> float:
    """Return the time of one run in milliseconds.

    Args:
        run (Callable): What to time.
        device (torch.device): Where it runs; on a GPU, the time includes
            waiting for it.
        kernels_only (bool): Whether to leave out the host's part on a GPU: the
            GPU is kept busy, with a sweep that also empties its cache, until
            the host is ahead. Default: False, which times from the call to the
            end.
    """
    if device.type != 'cuda':
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    torch.cuda.synchronize(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if kernels_only:
        torch.empty(_CACHE_BYTES, dtype=torch.int8, device=device).zero_()
        torch.cuda._sleep(_HEAD_START)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end)


def alternate(runs: Dict[str, Run],
              device: torch.device,
              repeat: int,
              budget: Optional[float] = None,
              kernels_only: bool = False,
              warmup: int = 2) -> Dict[str, List[float]]:
    """Time several runs in turn, so that all see the same machine.

    After some rounds of warm-up, each round runs each contestant once, in
    order. A contestant that would exceed ``budget`` runs less often, but at
    least three times, spread over the rounds. A terminal shows what is
    running.

    Args:
        runs (dict): Maps a name to the callable to time.
        device (torch.device): Where they run.
        repeat (int): Rounds.
        budget (float, optional): Seconds for each contestant. Default: None,
            no limit.
        kernels_only (bool): See :func:`time_once`.
        warmup (int): Rounds of warm-up. Default: 2.

    Returns:
        dict: Maps a name to its times in milliseconds.
    """
    counts = dict.fromkeys(runs, repeat)
    begun = time.monotonic()

    def tell(what: str = '') -> None:
        # shown on a terminal if it takes long; '' wipes the line
        if sys.stderr.isatty() and time.monotonic() - begun > _QUIET:
            sys.stderr.write(f'\r{what:<{_LINE}.{_LINE}}\r')
            sys.stderr.flush()

    for turn in range(warmup):
        for name, run in runs.items():
            tell(f'warm-up {turn + 1} of {warmup}: {name}')
            if counts[name] < repeat:
                continue  # slow: one warm-up is enough
            took = time_once(run, device, kernels_only) / 1e3
            if budget is not None:
                fits = int(budget / max(took, 1e-9))
                counts[name] = min(repeat, max(3, fits))
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for turn in range(repeat):
        for name, run in runs.items():
            count = counts[name]
            if (turn + 1) * count // repeat > turn * count // repeat:
                tell(f'round {turn + 1} of {repeat}: {name}')
                times[name].append(time_once(run, device, kernels_only))
    tell()
    return times


def summary(times: Sequence[float]) -> Dict[str, Any]:
    """Return the median and all times, in milliseconds."""
    return dict(median_ms=statistics.median(times), runs_ms=list(times))


def peak_allocation(run: Run, device: torch.device) -> int:
    """Return the peak of PyTorch's allocated memory while ``run`` runs, in
    bytes beyond what was allocated before; the result of ``run`` counts."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # PyTorch builds for GPUs would print warnings on machines without one
    os.environ.setdefault('KINETO_LOG_LEVEL', '5')
    with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU],
            profile_memory=True,
            acc_events=True) as profile:
        run()
    held = peak = 0
    for event in sorted((e for e in profile.profiler.kineto_results.events()
                         if e.name() == '[memory]'),
                        key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def peak_resident(run: Run) -> Dict[str, Any]:
    """Return the process's peak of host memory while ``run`` runs, in bytes
    beyond the memory before, and how it was measured. Call this in a fresh
    process, where no freed memory can be reused."""

    def read(field: str) -> int:
        with open('/proc/self/status') as file:
            for line in file:
                if line.startswith(f'{field}:'):
                    return 1024 * int(line.split()[1])
        raise OSError(f'/proc/self/status has no {field}')

    try:
        before = read('VmRSS')
    except OSError as error:
        return dict(bytes=None, method=f'not measured: {error}')
    method = 'peak resident size beyond that of the loaded network'
    try:
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # resets the peak
    except OSError as error:
        method += f', of the whole process, loading included ({error})'
    run()
    return dict(bytes=max(0, read('VmHWM') - before), method=method)


def apart(measure: Callable[..., T], *task: Any) -> T:
    """Call a module's function on ``task`` in a fresh process, whose C library
    returns memory to the system as by default; return the result."""
    # nothing that imports make is garbage: as dksan_mm.cli.imports
    with ProcessPoolExecutor(
            1, get_context('spawn'), initializer=gc.disable) as pool:
        return pool.submit(_with_imports_done, measure, *task).result()


def _with_imports_done(measure: Callable[..., T], *task: Any) -> T:
    gc.freeze()
    gc.enable()
    return measure(*task)


def copy_bandwidth(device: torch.device, size: int = 2**30) -> float:
    """Return the bandwidth of copying ``size`` bytes on the device, in bytes
    per second, read and written together."""
    source = torch.empty(size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    times = alternate(
        dict(copy=lambda: target.copy_(source)),
        device,
        repeat=10,
        kernels_only=True)
    return 2 * size / (statistics.median(times['copy']) / 1e3)


def decibels(error: float) -> Optional[float]:
    """Return the PSNR in dB for a mean squared error of values in [0, 1]; None
    if the error is 0."""
    return None if error == 0 else -10 * math.log10(error)


def number(value: Union[float, int, None]) -> str:
    """Return ``value`` with three digits, or a dash for None."""
    if value is None:
        return '-'
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'


def make_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table. The first row is the heading;
    the first column is text, the others are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = [
        '-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])
    ]
    lines = []
    for row in [rows[0], rule, *rows[1:]]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(row[1:], widths[1:])]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def write_json(path: str, data: Any) -> None:
    """Write ``data`` as :func:`.files.write_whole` does."""
    write_whole(path, f'{json.dumps(data, indent=1)}\n'.encode())
