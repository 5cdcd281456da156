"""Time the networks of configs, whole and by part, on random weights.

    python tools/benchmark_model.py CONFIG [CONFIG ...] [--sizes 120x68] ...

Networks (``model.generator``) run in inference mode and take turns in one
process. Memory is measured separately, in a fresh process for each. Layers
that start at zero get small random weights, and offsets a standard deviation
of at least half a pixel, so that nothing is trivial.

    # the paper: DKSAN takes 1.17 times the time of its backbone
    python tools/benchmark_model.py configs/dksan_vid3oc_x16.py \\
        configs/dksan_backbone_vid3oc_x16.py --convs

With --train a run is a forward and a backward pass, and its memory includes
the gradients. Compare with --cfg-options model.generator.with_cp=True.

With --accelerate each network runs twice: as it is, with its modulated
deformable convolutions on mmcv's kernel, and after dksan_mm.ops.accelerate.
"""
# First: it hides the warnings of what is imported next.
from dksan_mm.cli import DictAction, add_debug_argument, run_tool, whole_number

# isort: split
import argparse
import contextlib
import functools
import os.path as osp
import re
import statistics
import time
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from dksan_mm.engine import complexity
from dksan_mm.engine.checkpoint import load_checkpoint_file
from dksan_mm.engine.config import merge_options, read_config
from dksan_mm.ops import accelerate, use_backend
from dksan_mm.utils import benchmark as bench
from dksan_mm.utils import precision
from dksan_mm.utils.memory import keep_freed_memory

# as in restoration, and by autocast, as in training
DTYPES = dict(precision.DTYPES)
DTYPES.update({
    f'{name}-autocast': dtype
    for name, dtype in precision.DTYPES.items() if dtype
})
# DKSANNet's figure; names that are not there are passed over
DKSAN_PARTS = (r'extract|extract_levels\.\d+|align|fuse|'
               r'reconstruct\.\d+\.(rcabs|dksa)|upscale\.\d+')
Size = Tuple[int, int]


class Source(NamedTuple):
    """Where a network comes from, and whether its modulated deformable
    convolutions run on mmcv's kernel."""
    path: str
    checkpoint: Optional[str]
    on_mmcv: bool = False


class Case(NamedTuple):
    """A network, its input, the dtype of its features, whether autocast gives
    that dtype, whether a run trains, with a backward pass, and whether
    modulated deformable convolutions run on mmcv's kernel."""
    name: str
    network: nn.Module
    x: Tensor
    dtype: str
    autocast: bool = True
    train: bool = False
    on_mmcv: bool = False

    @property
    def key(self) -> str:
        return f'{self.name} {self.dtype}'

    def run(self) -> Tensor:
        with use_backend('mmcv') if self.on_mmcv else contextlib.nullcontext():
            return self._run()

    def _run(self) -> Tensor:
        autocast = contextlib.nullcontext()
        if self.autocast and DTYPES[self.dtype] is not None:
            autocast = torch.autocast(
                self.x.device.type, dtype=DTYPES[self.dtype])
        with torch.inference_mode(not self.train), autocast:
            out = self.network(self.x)
        out = out[-1] if isinstance(out, (tuple, list)) else out
        if self.train:
            out.float().square().mean().backward()
            self.network.zero_grad()
        return out.detach()


def make_case(name: str, network: nn.Module, on_mmcv: bool, size: Size,
              dtype: str, args: argparse.Namespace) -> Case:
    """Return a network with its input, in ``dtype`` as in restoration if the
    network supports that; training uses autocast."""
    case = Case(
        name,
        network,
        make_input(network, size, args),
        dtype,
        train=args.train,
        on_mmcv=on_mmcv)
    if (not args.train and precision.DTYPES.get(dtype)
            and precision.has_short_copy(network)):
        network = precision.short_copy(network, DTYPES[dtype])
        return case._replace(network=network, autocast=False)
    return case


# Networks and inputs


def find_sources(args: argparse.Namespace) -> Dict[str, Source]:
    """Return the sources to time, by name."""
    checkpoints = args.checkpoint or [None] * len(args.configs)
    sources = {}
    for name, *source in zip(args.names, args.configs, checkpoints):
        if args.accelerate:
            sources[on_mmcv(name)] = Source(*source, on_mmcv=True)
        sources[name] = Source(*source)
    return sources


def on_mmcv(name: str) -> str:
    """Return the name of a network that runs on mmcv's kernel."""
    return f'{name} on mmcv'


def build_source(source: Source, args: argparse.Namespace) -> nn.Module:
    """Return the network of a source, ready to run."""
    network = build_network(source.path, source.checkpoint, args)
    if args.accelerate and not source.on_mmcv and not accelerate(network):
        raise ValueError('--accelerate needs networks with modulated '
                         f'deformable convolutions, found none in '
                         f'{source.path}: leave that config out')
    return network


def build_network(path: str, checkpoint: Optional[str],
                  args: argparse.Namespace) -> nn.Module:
    """Return the network of a config, ready to run."""
    cfg = read_config(path)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    torch.manual_seed(0)
    # not the losses, whose networks might be downloaded
    generator = cfg.model.get('generator')
    if generator is not None:
        network = MODELS.build(generator)
    else:
        network = getattr(MODELS.build(cfg.model), 'generator', None)
    if network is None:
        raise ValueError('config must describe a model with a generator, got '
                         f'{path}, whose model is a {cfg.model.type}')
    if checkpoint and checkpoint != 'none':
        load_weights(network, checkpoint)
    else:
        fill_zeros(network)
    network = network.eval().to(args.device)
    if args.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network


def load_weights(network: nn.Module, checkpoint: str) -> None:
    loaded = load_checkpoint_file(checkpoint)
    prefix = 'generator.'
    network.load_state_dict({
        key[len(prefix):]: value
        for key, value in loaded.get('state_dict', loaded).items()
        if key.startswith(prefix)
    })


@torch.no_grad()
def fill_zeros(network: nn.Module) -> None:
    """Give all-zero convolutions small random weights, and those that predict
    offsets a random bias."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.01)
            if 'offset' in name.split('.')[-1] and module.bias is not None:
                nn.init.normal_(module.bias, std=0.5)


def make_input(network: nn.Module, size: Size,
               args: argparse.Namespace) -> Tensor:
    """Return smooth, moving frames in [0, 1]: (1, T, 3, H, W), or (1, 3, H, W)
    for a network of single images."""
    width, height = size
    frames = args.frames
    if frames is None:
        frames = getattr(network, 'num_frames', 0)
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(1, 3, 9, 9, generator=generator)
    scene = F.interpolate(
        scene, (height, width + frames), mode='bilinear', align_corners=True)
    x = torch.cat([scene[..., t:t + width]
                   for t in range(max(1, frames))]).to(args.device)
    if args.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x[None] if frames else x


def find_parts(network: nn.Module) -> Dict[str, nn.Module]:
    """Return the parts to time separately: for DKSANNet those of its figure,
    for others the modules two levels down."""
    if type(network).__name__ == 'DKSANNet':
        parts = {
            name: module
            for name, module in network.named_modules()
            if re.fullmatch(DKSAN_PARTS, name)
        }
        if parts:
            return parts
    parts = {}
    for name, child in network.named_children():
        inner = dict(child.named_children())
        if not inner or isinstance(child, nn.Sequential):
            parts[name] = child
        else:
            parts.update({f'{name}.{key}': inner[key] for key in inner})
    return parts


# Measuring


def measure_memory(source: Source, size: Size, dtype: str,
                   args: argparse.Namespace) -> Dict[str, Any]:
    """Return the memory of one run beyond network and input."""
    if args.threads:
        torch.set_num_threads(args.threads)
    network = build_source(source, args)
    case = make_case('', network, source.on_mmcv, size, dtype, args)
    if args.device.type == 'cuda':
        return dict(
            bytes=bench.peak_allocation(case.run, args.device),
            method='torch.cuda.max_memory_allocated, beyond the network')
    return bench.peak_resident(case.run)


def memory_apart(*task: Any) -> Dict[str, Any]:
    """Return :func:`measure_memory` from a fresh process."""
    try:
        return bench.apart(measure_memory, *task)
    except BrokenProcessPool as error:
        return dict(bytes=None, method=f'not measured: {error}')


def clock(device: torch.device) -> float:
    """Return the time in milliseconds, when the device is done."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return 1e3 * time.perf_counter()


def by_part(case: Case, repeat: int) -> Dict[str, Dict[str, float]]:
    """Return time, parameters and multiply-adds of each part."""
    parts = find_parts(case.network)
    multiply_adds = complexity.count_multiply_adds(case.run, parts)
    parameters = complexity.count_parameters(case.network, parts)
    read = functools.partial(clock, case.x.device)
    times = [
        complexity.measure_parts(case.run, parts, read) for _ in range(repeat)
    ]
    return {
        name:
        dict(
            ms=statistics.median(t[name] for t in times),
            parameters=parameters[name],
            multiply_adds=multiply_adds[name])
        for name in parameters
    }


def psnr(image: Tensor, reference: Tensor) -> Optional[float]:
    """Return the PSNR in dB of images in [0, 1], None if they are equal."""
    return bench.decibels(
        (image.double() - reference.double()).square().mean().item())


def record_convs(case: Case) -> complexity.ConvRecorder:
    with complexity.ConvRecorder() as recorder:
        case.run()
    return recorder


def measure_size(sources: Dict[str, Source], networks: Dict[str, nn.Module],
                 size: Size, args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one result for each network and dtype at one input size."""
    cases = [
        make_case(name, networks[name], source.on_mmcv, size, dtype, args)
        for name, source in sources.items() for dtype in args.dtype
    ]
    # these warm up as well
    parts = {
        case.key: by_part(case._replace(train=False), min(3, args.repeat))
        for case in cases
    }
    runs = {case.key: case.run for case in cases}
    recorders = {}
    for case in cases if args.convs else ():
        recorders[case.key] = record_convs(case)
        runs[f'{case.key} convs'] = recorders[case.key].replay()
    times = bench.alternate(runs, args.device, args.repeat, warmup=1)

    results, outs = [], {}
    for case in cases:
        out = outs[case.name, case.dtype] = case.run()
        frames = out.shape[1] if out.dim() == 5 else 1
        result = dict(
            name=case.name,
            size=list(size),
            dtype=case.dtype,
            input=list(case.x.shape),
            output=list(out.shape),
            **bench.summary([ms / frames for ms in times[case.key]]),
            **{
                what: sum(part[what] for part in parts[case.key].values())
                for what in ('parameters', 'multiply_adds')
            },
            parts=parts[case.key])
        if args.convs:
            convs = bench.summary(
                [ms / frames for ms in times[f'{case.key} convs']])
            count = len(recorders[case.key].calls)
            ratio = result['median_ms'] / convs['median_ms'] if count else None
            result['convs'] = dict(convs, count=count, whole_over_convs=ratio)
        if case.dtype != 'fp32' and 'fp32' in args.dtype:
            # of this network's, the first dtype
            result['psnr_to_fp32'] = psnr(out, outs[case.name, 'fp32'])
        if args.accelerate and not case.on_mmcv:
            result['psnr_to_mmcv'] = psnr(out, outs[on_mmcv(case.name),
                                                    case.dtype])
        results.append(result)
    add_ratios(results, args.baseline)
    return results


def add_ratios(results: List[Dict[str, Any]], baseline: str) -> None:
    """Add ratios of times: each result's over the baseline's, and, over the
    result's, those of fp32 and of the same network on mmcv's kernel."""
    medians = {(r['name'], r['dtype']): r['median_ms'] for r in results}
    for result in results:
        name, dtype = result['name'], result['dtype']
        result['over_baseline'] = (
            result['median_ms'] / medians[baseline, dtype])
        fp32 = medians.get((name, 'fp32'))
        result['fp32_over'] = fp32 and fp32 / result['median_ms']
        before = medians.get((on_mmcv(name), dtype))
        if before is not None:
            result['mmcv_over'] = before / result['median_ms']


# Showing


def show_size(results: List[Dict[str, Any]], args: argparse.Namespace) -> None:
    """Print the table of one size, and one for the parts of each network."""
    width, height = results[0]['size']
    rows = [[
        f'{width}x{height}', 'dtype', 'ms', '/base', 'fp32/', 'MiB', 'Mparam',
        'Gmadd'
    ]]
    for result in results:
        memory = result.get('memory', {}).get('bytes')
        values = (result['median_ms'], result['over_baseline'],
                  result['fp32_over'], memory and memory / 2**20,
                  result['parameters'] / 1e6, result['multiply_adds'] / 1e9)
        rows.append(
            [result['name'], result['dtype'], *map(bench.number, values)])
    print(f'\n{bench.make_table(rows)}')
    for result in results:
        name = f'{result["name"]} {result["dtype"]}'
        if args.convs and result['convs']['count']:
            convs = result['convs']
            print(f'{name}: {convs["whole_over_convs"]:.3f} times its '
                  f'{convs["count"]} convolutions alone, '
                  f'{bench.number(convs["median_ms"])} ms')
        if 'mmcv_over' in result:
            print(f'{name}: {result["mmcv_over"]:.2f} times as fast as on '
                  "mmcv's kernel")
        for key, other in (('psnr_to_fp32', 'fp32'), ('psnr_to_mmcv', 'mmcv')):
            if key in result:
                decibels = result[key]
                print(f'{name}: output to that of {other}: ' +
                      ('equal' if decibels is None else f'{decibels:.1f} dB') +
                      ('' if args.checkpoint else ' (random weights)'))
    for result in results:
        show_parts(result)


def show_parts(result: Dict[str, Any]) -> None:
    whole = sum(part['ms'] for part in result['parts'].values())
    rows = [[
        f'{result["name"]} {result["dtype"]}', 'ms', '%', 'M params',
        'G mul-adds'
    ]]
    for name, part in result['parts'].items():
        rows.append([
            name, *map(bench.number,
                       (part['ms'], 100 * part['ms'] / whole,
                        part['parameters'] / 1e6, part['multiply_adds'] / 1e9))
        ])
    print(f'\n{bench.make_table(rows)}')


NOTES = """
ms: for each frame, median, {run}. /base: time over that of
{baseline}. fp32/: time of fp32 over this one's. MiB: {memory}.
Gmadd: multiply-adds of convolutions, matrix products and our operators; of
mmcv's deformable convolutions the matrix products alone. Convolutions alone
run in the network's order, on inputs that are there already. Parts: one
forward pass, median of 3; rest: what is in none of them.
Weights: {weights}."""


def parse_size(text: str) -> Size:
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise ValueError('--sizes must be WxH of the LR frames, two whole '
                         f'numbers of at least 1 such as 120x68, got {text!r}')
    width, height = text.split('x')
    return int(width), int(height)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('configs', nargs='+', metavar='config')
    add('--sizes',
        nargs='+',
        default=['120x68'],
        help='sizes of the LR frames, WxH; default: 120x68')
    add('--dtype',
        nargs='+',
        choices=DTYPES,
        default=['fp32'],
        help='precisions to time, bf16 and fp16 as in restore_video.py; '
        'default: fp32')
    add('--channels-last',
        action=argparse.BooleanOptionalAction,
        default=False,
        help='store weights and input in channels-last layout')
    add('--frames',
        type=whole_number(0),
        help="number of frames in a window, 0 for a single image; default: "
        "the network's num_frames, else 0")
    add('--convs',
        action='store_true',
        help="time the networks' convolutions alone")
    add('--train',
        action='store_true',
        help='time the forward and backward pass, as in training')
    add('--accelerate',
        action='store_true',
        help="time each network on mmcv's kernel of the modulated deformable "
        'convolution, and after dksan_mm.ops.accelerate')
    add('--memory',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='measure memory too, which is the default')
    add('--baseline',
        help='name of the config to compare with; default: the last')
    add('--checkpoint',
        nargs='+',
        help="checkpoint of each config, 'none' for random weights; default: "
        'all are random')
    add('--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of all configs')
    bench.add_arguments(parser, repeat=5)
    add_debug_argument(parser)
    args = parser.parse_args()
    try:
        bench.check_arguments(args)
        check_own_arguments(args)
    except ValueError as error:
        parser.error(str(error))
    return args


def check_own_arguments(args: argparse.Namespace) -> None:
    args.sizes = [parse_size(size) for size in args.sizes]
    args.dtype.sort(key=[*DTYPES].index)  # fp32, which others compare with
    args.names = [osp.splitext(osp.basename(c))[0] for c in args.configs]
    if len(set(args.names)) < len(args.names):
        raise ValueError(f'configs must differ in name, got {args.names}')
    args.baseline = args.baseline or args.names[-1]
    if args.baseline not in args.names:
        raise ValueError(f'--baseline must be one of {args.names}, got '
                         f'{args.baseline!r}')
    if args.train and args.convs:
        raise ValueError('--convs times forward passes, found --train as well')
    if args.checkpoint and len(args.checkpoint) != len(args.configs):
        raise ValueError(
            f"--checkpoint must be one for each config, or 'none', got "
            f'{len(args.checkpoint)} for {len(args.configs)} configs')


def main(args: argparse.Namespace) -> None:
    keep_freed_memory()  # as tools/test.py
    hardware = bench.hardware(args.device)
    bench.show_hardware(hardware)
    sources = find_sources(args)
    networks = {
        name: build_source(source, args)
        for name, source in sources.items()
    }
    results, method = [], 'not measured'
    for size in args.sizes:
        found = measure_size(sources, networks, size, args)
        for result in found if args.memory else ():
            result['memory'] = memory_apart(sources[result['name']], size,
                                            result['dtype'], args)
            method = result['memory']['method']
        show_size(found, args)
        results += found
    weights = 'of --checkpoint' if args.checkpoint else 'random'
    run = 'forward and backward pass' if args.train else 'forward pass'
    print(
        NOTES.format(
            run=run, baseline=args.baseline, memory=method, weights=weights))
    if args.out:
        bench.write_json(
            args.out,
            dict(hardware=hardware, baseline=args.baseline, results=results))


if __name__ == '__main__':
    run_tool(parse_args, main)
