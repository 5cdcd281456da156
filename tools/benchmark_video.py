"""Measure the restoration of videos: time beside the network, and memory.

    python tools/benchmark_video.py overhead memory peak [--threads 2]

- ``overhead``: the time of a frame from file to file, compared with the
network's alone; the rest is decoding, conversion, windows, encoding and
joining. Both take turns; medians. Target: a rest of at most 5% of the frame
time. ``--processes N`` adds N processes, as under torchrun, that share the
threads.
- ``images``: the time of each step on a restored frame's images, in a thread
of its own, and its share of the frame's time in the restorer. The steps are
8-bit levels to float and back, scene cuts, comparison, and encoding by each of
``--presets``. Targets: at most 3% of the frame time for all but the
  encoding, 6% for the default preset.
- ``memory``: peak resident memory of short and long videos, each in a fresh
  process. Target: 600 frames within 3% of 60.
- ``peak``: peak resident memory of a large network that restores one frame,
beyond the memory of the imported packages, in a fresh process. Target: at most
  2.0 GiB.

Without a checkpoint weights are random, and without an input clips are
synthetic.
"""
import os

# Set before PyTorch is loaded: waiting threads of the network would take cores
# from those that decode and encode.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

# First: it hides the warnings of what is imported next.
from dksan_mm.cli import add_debug_argument, run_tool, whole_number

# isort: split
import argparse
import functools
import os.path as osp
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Callable, Dict, List, Optional

import av
import cv2
import numpy as np
import torch
import torch.distributed as dist
from benchmark_model import fill_zeros, parse_size
from mmagic.models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from torch import nn

from dksan_mm.apis import probe, read_frames, scene_cuts
from dksan_mm.apis.comparison import Comparison
from dksan_mm.apis.loading import load_model
from dksan_mm.apis.network import to_array, to_image
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.apis.window_restorer import WindowRestorer
from dksan_mm.apis.windows import Frame
from dksan_mm.engine.config import read_config
from dksan_mm.utils import benchmark as bench
from dksan_mm.utils.memory import keep_freed_memory
from dksan_mm.utils.precision import DTYPES
from dksan_mm.video.encoding import EncoderOptions, write_segment

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
SMALL = osp.join(ROOT, 'configs', 'dksan-small_quickstart_x16.py')
FULL = osp.join(ROOT, 'configs', 'dksan_vid3oc_x16.py')
PARTS = ('overhead', 'images', 'memory', 'peak')


def build(config: str, checkpoint: Optional[str],
          device: torch.device) -> BaseEditModel:
    """Return a config's model; without a checkpoint its weights are random."""
    if checkpoint is not None:
        return load_model(config, checkpoint, device)
    cfg = read_config(config)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    fill_zeros(model.generator)
    model.cfg = cfg
    return model.to(device).eval()


def write_clip(path: str, size: tuple, count: int) -> str:
    """Write a video of a moving scene; return its name."""
    width, height = size
    coarse = np.random.default_rng(0).integers(
        0, 256, (9, 16, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (2 * width, height))
    with av.open(path, 'w') as container:
        stream = container.add_stream('libx264', rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for t in range(count):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.roll(scene, t, 1)[:, :width]))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class NetworkClock:
    """Adds up the time in a network's methods, including the device's work.

    Attributes:
        seconds (float): Total so far.
    """
    METHODS = ('forward', 'extract_features', 'restore_features')

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.seconds = 0.
        self._device = device
        self._inside = False
        for name in self.METHODS:
            if hasattr(network, name):
                setattr(network, name, self._timed(getattr(network, name)))

    def _timed(self, method: Callable) -> Callable:

        @functools.wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self._inside:  # one method calls another
                return method(*args, **kwargs)
            self._inside = True
            start = self._now()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += self._now() - start
                self._inside = False

        return run

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def join_team(rendezvous: str, rank: int, count: int, threads: int) -> None:
    """Become one of some processes that share threads."""
    keep_freed_memory()
    torch.set_num_threads(max(threads // count, 1))
    dist.init_process_group(
        'gloo',
        init_method=f'file://{rendezvous}',
        rank=rank,
        world_size=count)


# a process of a team restores again and again
build_once = functools.lru_cache(build)


def restore_share(config: str, checkpoint: Optional[str], clip: str,
                  output: str, preset: str, dtype: str, segment: int, *team:
                  Any) -> None:
    """Restore a clip with the rest of a team; see :func:`join_team`."""
    if not dist.is_initialized():
        join_team(*team)
    restore_video(
        build_once(config, checkpoint, torch.device('cpu')),
        clip,
        output,
        dtype=dtype,
        segment=segment,
        overwrite=True,
        progress=False,
        device='cpu',
        preset=preset)


def team_runs(pool: ProcessPoolExecutor, args: argparse.Namespace, folder: str,
              clip: str, output: str, count: int) -> Dict[str, Callable]:
    """Return functions, by name, that restore a clip of ``count`` frames in
    several processes."""
    segment = min(48, -(-count // args.processes))
    threads = torch.get_num_threads()

    def shared(preset: str) -> None:
        shares = [
            pool.submit(restore_share, args.config, args.checkpoint, clip,
                        output, preset, args.dtype, segment,
                        osp.join(folder,
                                 'team'), rank, args.processes, threads)
            for rank in range(args.processes)
        ]
        for share in shares:
            share.result()

    return {
        f'{name}, {args.processes} processes': functools.partial(shared, name)
        for name in args.presets
    }


def measure_overhead(args: argparse.Namespace, folder: str) -> Dict[str, Any]:
    """Return the time of a frame from file to file, and in the network."""
    model = build(args.config, args.checkpoint, args.device)
    clip = args.input or write_clip(
        osp.join(folder, 'clip.mp4'), args.size, args.frames)
    output = osp.join(folder, 'restored.mp4')
    info = probe(clip)
    count = info.num_frames
    frames = list(read_frames(info))
    restorer = WindowRestorer(model, dtype=args.dtype, device=args.device)
    # what runs: in a short dtype a copy of the model's
    clock = NetworkClock(restorer._network._generator, args.device)
    network: List[float] = []

    def windows() -> None:
        before = clock.seconds
        for _ in restorer.restore(iter(frames), 0, count, count, 0):
            pass
        network.append(1e3 * (clock.seconds - before))

    def whole(preset: str) -> None:
        restore_video(
            model,
            clip,
            output,
            dtype=args.dtype,
            overwrite=True,
            progress=False,
            device=args.device,
            preset=preset)

    runs = {name: functools.partial(whole, name) for name in args.presets}
    # it starts no process before there is work
    with ProcessPoolExecutor(args.processes, get_context('spawn')) as pool:
        if args.processes > 1:
            runs.update(team_runs(pool, args, folder, clip, output, count))
        times = bench.alternate(
            dict(windows=windows, **runs), args.device, args.repeat, warmup=1)
    times['network'] = network[-args.repeat:]
    medians = {
        name: statistics.median(values) / count
        for name, values in times.items()
    }
    return dict(
        size=[info.width, info.height],
        frames=count,
        ms_a_frame=medians,
        runs_ms=times,
        over_network={
            name: medians[name] / medians['network']
            for name in runs
        },
        not_network={
            name: 1 - medians['network'] / medians[name]
            for name in args.presets
        })


def measure_images(args: argparse.Namespace, folder: str) -> Dict[str, Any]:
    """Return the time of each step of a frame's images."""
    model = build(args.config, args.checkpoint, args.device)
    clip = args.input or write_clip(
        osp.join(folder, 'images.mp4'), args.size, args.frames)
    info = probe(clip)
    frames = list(read_frames(info))
    count = len(frames)
    restorer = WindowRestorer(model, dtype=args.dtype, device=args.device)
    restored: List[np.ndarray] = []

    def restore() -> None:
        restored[:] = restorer.restore(iter(frames), 0, count, count, 0)

    whole = bench.alternate(
        dict(restore=restore), args.device, args.repeat, warmup=1)['restore']
    device = args.device
    sources = [
        Frame(number, to_image(frame, device), frame.dtype)
        for number, frame in enumerate(frames)
    ]
    images = [to_image(frame, device)[0] for frame in restored]
    comparison = Comparison('split', info, restorer.scale, device=device)
    thumbnails = [scene_cuts.thumbnail(frame) for frame in frames]

    def encode(preset: str) -> None:
        write_segment(
            osp.join(folder, 'segment.mkv'), restored, info, 0, restorer.scale,
            EncoderOptions(preset=preset))

    def each(step: Callable, *inputs: List[Any]) -> Callable:
        return lambda: [step(*values) for values in zip(*inputs)]

    runs = {
        'levels to float':
        each(lambda x: to_image(x, device), frames),
        'float to levels':
        each(to_array, images, sources),
        'scene cuts':
        each(
            lambda frame, before: scene_cuts.difference(
                scene_cuts.thumbnail(frame), before), frames, thumbnails),
        'comparison':
        each(comparison.draw, frames, restored),
        **{
            f'encoding, {preset}': functools.partial(encode, preset)
            for preset in args.presets
        }
    }
    times = bench.alternate(runs, device, args.image_repeat, warmup=1)
    least = {name: min(values) / count for name, values in times.items()}
    frame_ms = min(whole) / count
    return dict(
        size=[info.width, info.height],
        frames=count,
        dtype=args.dtype,
        frame_ms=frame_ms,
        ms_a_frame=least,
        runs_ms=times,
        of_frame={
            name: ms / frame_ms
            for name, ms in least.items()
        })


def read_peak() -> Optional[int]:
    """Return this process's peak resident memory in bytes, if known."""
    try:
        with open('/proc/self/status') as file:
            found = [line for line in file if line.startswith('VmHWM:')]
    except OSError:
        return None
    return 1024 * int(found[0].split()[1])


def restore_clip(args: argparse.Namespace, clip: str, output: str) -> int:
    """Restore a clip like tools/restore_video.py; return peak memory."""
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = build(args.config, args.checkpoint, args.device)
    restore_video(
        model,
        clip,
        output,
        dtype=args.dtype,
        progress=False,
        device=args.device)
    return read_peak()


def measure_memory(args: argparse.Namespace, folder: str) -> Dict[str, Any]:
    """Return peak memory of a process for videos of several lengths."""
    peaks = {}
    for count in args.memory_frames:
        clip = write_clip(
            osp.join(folder, f'{count}.mp4'), args.memory_size, count)
        peaks[count] = bench.apart(restore_clip, args, clip,
                                   osp.join(folder, f'{count}_restored.mp4'))
    least, most = min(peaks), max(peaks)
    ratio = peaks[most] and peaks[least] and peaks[most] / peaks[least]
    return dict(
        size=list(args.memory_size), peak_bytes=peaks, longest_over=ratio)


def restore_frame(args: argparse.Namespace, keep: bool) -> Dict[str, Any]:
    """Restore one frame; return peak memory beyond the imported packages."""
    if keep:
        keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    width, height = args.size

    def run() -> None:
        model = build(args.full_config, args.full_checkpoint, args.device)
        restorer = WindowRestorer(model, device=args.device)
        reach = restorer.context
        window = np.random.default_rng(0).integers(
            0, 256, (2 * reach + 1, height, width, 3), dtype=np.uint8)
        for _ in restorer.restore(
                iter(window), reach, reach + 1, len(window), 0):
            pass

    return bench.peak_resident(run)


def measure_peak(args: argparse.Namespace, folder: str) -> Dict[str, Any]:
    """Return peak memory of a large network, for each way to free memory."""
    return dict(
        size=list(args.size),
        tool=bench.apart(restore_frame, args, True),
        default=bench.apart(restore_frame, args, False))


def show(results: Dict[str, Any]) -> None:
    if 'overhead' in results:
        found = results['overhead']
        rows = [['', 'ms a frame', 'over network', 'not network']]
        for name, ms in found['ms_a_frame'].items():
            share = found['not_network'].get(name)
            over = found['over_network'].get(name)
            rows.append([
                name if over is None else f'file to file, {name}',
                bench.number(ms), '-' if over is None else f'{over:.3f}',
                '-' if share is None else f'{share:.1%}'
            ])
        print(f'\n{found["frames"]} frames of '
              f'{found["size"][0]}x{found["size"][1]}\n'
              f'{bench.make_table(rows)}')
    if 'images' in results:
        found = results['images']
        rows = [['least times', 'ms a frame', 'of the frame']]
        rows.append([
            f'restorer, {found["dtype"]}',
            bench.number(found['frame_ms']), '-'
        ])
        rows += [[name,
                  bench.number(ms), f'{found["of_frame"][name]:.2%}']
                 for name, ms in found['ms_a_frame'].items()]
        print(f'\n{found["frames"]} frames of '
              f'{found["size"][0]}x{found["size"][1]}\n'
              f'{bench.make_table(rows)}')
    if 'memory' in results:
        found = results['memory']
        rows = [['frames', 'peak MiB']]
        rows += [[str(count), bench.number(peak and peak / 2**20)]
                 for count, peak in found['peak_bytes'].items()]
        print(f'\n{bench.make_table(rows)}')
        if found['longest_over']:
            print(f'longest over shortest: {found["longest_over"]:.4f}')
    for how, text in (('tool', 'as tools/restore_video.py frees memory'),
                      ('default', "with the C library's default")):
        if 'peak' in results:
            found = results['peak'][how]
            size = found['bytes'] and found['bytes'] / 2**30
            print(f'one frame, {text}: {bench.number(size)} GiB above the '
                  f'import ({found["method"]})')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('parts',
        nargs='*',
        metavar='part',
        help=f'parts to measure; default: {" ".join(PARTS)}')
    add('--config', default=SMALL, help='config of the small network')
    add('--checkpoint',
        help='checkpoint of the small network; default: random weights')
    add('--input',
        help='video for "overhead" and "images"; default: synthetic frames')
    add('--dtype',
        choices=DTYPES,
        default='fp32',
        help='precision of the network, except in "peak"; default: fp32')
    add('--image-repeat',
        type=whole_number(),
        default=5,
        help='number of rounds of the steps of "images"; default: 5')
    add('--size',
        default='120x68',
        help='size of the LR frames, WxH; default: 120x68')
    add('--frames',
        type=whole_number(),
        default=24,
        help='number of frames; default: 24')
    add('--presets',
        nargs='+',
        default=['medium'],
        help='presets of libx264 for "overhead" and "images"; default: '
        'medium, as in tools/restore_video.py')
    add('--processes',
        type=whole_number(),
        default=1,
        help='measure "overhead" with so many processes as well, on CPUs; '
        'default: 1')
    add('--memory-size',
        default='30x18',
        help='size of the LR frames of "memory", WxH; default: 30x18')
    add('--memory-frames',
        type=whole_number(),
        nargs='+',
        default=[60, 600],
        help='lengths of the videos of "memory"; default: 60 600')
    add('--full-config',
        default=FULL,
        help='config of the large network, for "peak"')
    add('--full-checkpoint',
        help='checkpoint of the large network; default: random weights')
    bench.add_arguments(parser, repeat=3)
    add_debug_argument(parser)
    args = parser.parse_args()
    try:
        bench.check_arguments(args)
        args.size = parse_size(args.size)
        args.memory_size = parse_size(args.memory_size)
    except ValueError as error:
        parser.error(str(error))
    if args.processes > 1 and args.device.type != 'cpu':
        parser.error('--processes must go with --device cpu, got '
                     f'{args.device}; on GPUs use torchrun and '
                     'tools/restore_video.py')
    unknown = {*args.parts} - {*PARTS}
    if unknown:
        parser.error(f'part must be one of {PARTS}, got {unknown.pop()!r}')
    args.parts = args.parts or list(PARTS)
    return args


def main(args: argparse.Namespace) -> None:
    keep_freed_memory()  # as tools/restore_video.py
    hardware = bench.hardware(args.device)
    bench.show_hardware(hardware)
    measures = dict(
        overhead=measure_overhead,
        images=measure_images,
        memory=measure_memory,
        peak=measure_peak)
    with tempfile.TemporaryDirectory() as folder:
        results = {part: measures[part](args, folder) for part in args.parts}
    show(results)
    if args.out:
        bench.write_json(args.out, dict(hardware=hardware, **results))


if __name__ == '__main__':
    run_tool(parse_args, main)
