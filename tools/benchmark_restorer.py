"""Measure what each way of restoring frames costs, and what it changes.

    python tools/benchmark_restorer.py CONFIG [CHECKPOINT] [--ways WAY ...]

A way is

- ``alone``: each window by itself, without keeping features;
- ``bf16``, ``fp16``: features and convolutions in this type;
- ``batch=N``: N windows at once;
- ``compile``: by torch.compile, inductor;
- ``graph``: by CUDA graphs, on a GPU;
- ``TILE/OVERLAP``: in tiles, sides in pixels of the source;
- ``max-memory=GIB``: in tiles, or strips, that fit this memory.

All are compared with whole frames in float32, one window at a time, with
features kept. The comparison covers time (ways take turns; medians),
multiply-adds of convolutions, matrix products and our operators, memory that
PyTorch allocates, and the difference of the results before rounding: PSNR, and
the largest difference in 8-bit levels.

    # with what tools/quickstart.sh leaves
    python tools/benchmark_restorer.py \\
        configs/dksan-small_quickstart_x16.py \\
        work_dirs/quickstart/dksan/iter_300.pth \\
        --input work_dirs/quickstart/clips/val/coffee --size 120x68

Without a checkpoint the weights are random, and without an input the clip is
synthetic.
"""
import os

# Before PyTorch is loaded, as tools/restore_video.py does.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

# First: it hides the warnings of what is imported next.
from dksan_mm.cli import add_debug_argument, run_tool, whole_number

# isort: split
import argparse
import functools
import os.path as osp
import re
import statistics
import tempfile
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from benchmark_model import parse_size
from benchmark_video import build, write_clip
from torch import Tensor, nn

from dksan_mm.apis import WindowRestorer, probe, read_frames
from dksan_mm.engine import complexity
from dksan_mm.utils import benchmark as bench
from dksan_mm.utils.memory import keep_freed_memory
from dksan_mm.video.source import full_scale

WAYS = ('alone', 'bf16', 'fp16', '64/16', '48/16', '48/8')
REFERENCE = 'whole'
_SIZE = (120, 68)


class Alone(nn.Module):
    """A network without features of single frames."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return self.generator(x)


def parse_way(way: str) -> Dict[str, Any]:
    """Return a WindowRestorer's options.

    Raises:
        ValueError: There is no such way.
    """
    if way in (REFERENCE, 'alone'):
        return {}
    if way in ('bf16', 'fp16'):
        return dict(dtype=way)
    if way == 'compile':
        return dict(compile=True)
    if way == 'graph':
        return dict(cuda_graph=True)
    found = re.fullmatch(r'(\d+)/(\d+)', way)
    if found:
        return dict(tile=int(found[1]), tile_overlap=int(found[2]))
    name, _, value = way.partition('=')
    try:
        if name == 'batch':
            return dict(batch=int(value))
        if name == 'max-memory':
            return dict(max_memory=round(float(value) * 2**30))
    except ValueError:
        pass
    raise ValueError('--ways must be alone, bf16, fp16, batch=N, compile, '
                     f'graph, TILE/OVERLAP or max-memory=GIB, got {way!r}')


def make_restorer(way: str, model: nn.Module,
                  args: argparse.Namespace) -> WindowRestorer:
    """Return a restorer for a way."""
    if way == 'alone':
        model = SimpleNamespace(generator=Alone(model.generator))
    return WindowRestorer(
        model, device=args.device, scene_threshold=None, **parse_way(way))


def restore(restorer: WindowRestorer,
            frames: List[np.ndarray]) -> Iterator[np.ndarray]:
    """Restore all frames."""
    count = len(frames)
    return restorer.restore(iter(frames), 0, count, count, 0)


def run_through(restorer: WindowRestorer, frames: List[np.ndarray]) -> None:
    """Restore all frames without keeping them."""
    for _ in restore(restorer, frames):
        pass


def run_anew(way: str, model: nn.Module, args: argparse.Namespace,
             frames: List[np.ndarray]) -> None:
    """Restore all frames by a restorer of their own."""
    run_through(make_restorer(way, model, args), frames)


def compare(restorer: WindowRestorer, reference: WindowRestorer,
            frames: List[np.ndarray]) -> Dict[str, Optional[float]]:
    """Return the differences between the results of two ways."""
    squares, largest = [], 0.
    for one, other in zip(
            restore(restorer, frames), restore(reference, frames)):
        difference = np.abs(one.astype(np.float64) - other)
        squares.append(np.square(difference).mean())
        largest = max(largest, float(difference.max()))
    return dict(
        psnr=bench.decibels(float(np.mean(squares))),
        largest_difference=255 * largest)


def read_middle(clip: str, size: Optional[Tuple[int,
                                                int]]) -> Iterator[np.ndarray]:
    """Yield a clip's frames, or their middle, of a width and height.

    Raises:
        ValueError: The frames are smaller.
    """
    info = probe(clip)
    width, height = size or (info.width, info.height)
    left, top = (info.width - width) // 2, (info.height - height) // 2
    if left < 0 or top < 0:
        raise ValueError(f'--size must be at most that of {clip}, '
                         f'{info.width}x{info.height}, got {width}x{height}')
    for frame in read_frames(info):
        yield frame[top:top + height, left:left + width]


def measure(args: argparse.Namespace, folder: str) -> Dict[str, Any]:
    """Return what each way costs and changes."""
    model = build(args.config, args.checkpoint, args.device)
    clip = args.input or write_clip(
        osp.join(folder, 'clip.mp4'), args.size or _SIZE, args.frames)
    frames = [
        (frame / full_scale(frame)).astype(np.float32)
        for frame, _ in zip(read_middle(clip, args.size), range(args.frames))
    ]
    restorers = {
        way: make_restorer(way, model, args)
        for way in (REFERENCE, *args.ways)
    }
    runs = {
        way: functools.partial(run_through, restorer, frames)
        for way, restorer in restorers.items()
    }
    times = bench.alternate(runs, args.device, args.repeat, warmup=1)
    rows = {}
    for way, run in runs.items():
        if way == 'graph':  # it has its memory since the first run
            run = functools.partial(run_anew, way, model, args, frames)
        rows[way] = dict(
            ms_a_frame=statistics.median(times[way]) / len(frames),
            runs_ms=times[way],
            # a compiled or replayed network's operators are not seen
            multiply_adds_a_frame=None if way in ('compile', 'graph') else
            complexity.count_multiply_adds(run, {})['rest'] / len(frames),
            peak_bytes=bench.peak_allocation(run, args.device),
            tile=restorers[way].tile_for(*frames[0].shape[:2]))
        if way != REFERENCE:
            rows[way].update(
                compare(restorers[way], restorers[REFERENCE], frames))
    return dict(
        config=args.config,
        checkpoint=args.checkpoint,
        size=[*frames[0].shape[1::-1]],
        frames=len(frames),
        ways=rows)


def show(results: Dict[str, Any]) -> None:
    reference = results['ways'][REFERENCE]
    table = [[
        'way', 'tile', 'ms a frame', 'time', 'multiply-adds', 'peak MiB',
        'PSNR dB', 'largest'
    ]]
    for way, row in results['ways'].items():
        adds = row['multiply_adds_a_frame']
        table.append([
            way,
            bench.number(row['tile']),
            bench.number(row['ms_a_frame']),
            f'{row["ms_a_frame"] / reference["ms_a_frame"]:.3f}', '-' if adds
            is None else f'{adds / reference["multiply_adds_a_frame"]:.3f}',
            bench.number(row['peak_bytes'] / 2**20), '-' if way == REFERENCE
            else 'equal' if row['psnr'] is None else f'{row["psnr"]:.1f}',
            bench.number(row.get('largest_difference'))
        ])
    width, height = results['size']
    print(f'\n{results["frames"]} frames of {width}x{height}\n'
          f'{bench.make_table(table)}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('config', help='config file path')
    add('checkpoint',
        nargs='?',
        help='checkpoint file; default: random weights')
    add('--ways',
        nargs='+',
        default=WAYS,
        metavar='WAY',
        help='ways to run the network, compared with whole frames; '
        f'default: {" ".join(WAYS)}')
    add('--input', help='video or folder of frames; default: synthetic frames')
    add('--size',
        help='size of the LR frames, WxH, which are cut from the middle of '
        '--input; default: that of --input, or 120x68')
    add('--frames',
        type=whole_number(),
        default=8,
        help='frames to restore at most; default: 8')
    bench.add_arguments(parser, repeat=3)
    add_debug_argument(parser)
    args = parser.parse_args()
    try:
        bench.check_arguments(args)
        if args.size:
            args.size = parse_size(args.size)
        for way in args.ways:
            parse_way(way)
        if 'graph' in args.ways and args.device.type != 'cuda':
            raise ValueError(f'--ways graph needs a GPU, got {args.device}')
    except ValueError as error:
        parser.error(str(error))
    return args


def main(args: argparse.Namespace) -> None:
    keep_freed_memory()  # as tools/restore_video.py
    hardware = bench.hardware(args.device)
    bench.show_hardware(hardware)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(args, folder)
    show(results)
    if args.out:
        bench.write_json(args.out, dict(hardware=hardware, **results))


if __name__ == '__main__':
    run_tool(parse_args, main)
