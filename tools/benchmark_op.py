"""Time the deformable-kernel convolution against others of the same width.

    python tools/benchmark_op.py [--shapes 1x128x68x120] [--out op.json] ...

Needs PyTorch; mmcv and torchvision are timed if they are installed. All
contestants run in one process and take turns; medians are shown.

- portable, cpp, triton: the backends of dksan_mm.ops.deform_kernel_conv2d, 3x3
  taps in a 4x4 scope, image offsets and kernel offsets as two halves of one
  tensor, as the network makes them. The device's own backend is marked *.
- mmcv, torchvision: their deformable convolutions as depthwise 3x3.
- conv3x3: a dense 3x3 convolution, C to C.

With --op modulated it times the modulated deformable convolution, C to C, 3x3,
with --deform-groups groups of offsets, against mmcv's kernel, torchvision's
and the dense convolution.
"""
import argparse
import contextlib
import functools
import itertools
import math
import os.path as osp
import re
import sys
from typing import (Any, Callable, ContextManager, Dict, List, NamedTuple,
                    Optional, Tuple)

import torch
import torch.nn.functional as F
from torch import Tensor

# also where the package is not installed
ROOT = osp.join(osp.dirname(osp.abspath(__file__)), '..')
sys.path.insert(0, ROOT)

from dksan_mm.cli import add_debug_argument, run_tool  # noqa: E402
from dksan_mm.utils import benchmark as bench  # noqa: E402

SHAPES = {
    'cpu': ['1x128x34x60', '1x128x68x120', '1x128x136x240', '16x128x32x32'],
    'cuda': ['1x128x272x480', '16x128x64x64']
}
LAYOUTS = {
    'channels_last': torch.channels_last,
    'nchw': torch.contiguous_format
}
DTYPES = ('float32', 'bfloat16', 'float16', 'float64')
KEYS = ('shape', 'dtype', 'layout')
MODULATED_SHAPES = ['1x128x68x120', '6x32x135x240']
OPS = ('deform_kernel', 'modulated')
OURS = ('cpp', 'triton', 'portable')
OTHERS = ('mmcv', 'torchvision', 'conv3x3')
# root mean square difference between a backend and the portable one; one
# sample in some thousand may fall on the other side of a pixel
AGREEMENT = 1e-2


class Inputs(NamedTuple):
    """Inputs for all contestants; each takes what it needs."""
    x: Tensor  # (N, C, H, W)
    offset: Tensor  # (N, 18, H, W), pixels
    kernel_offset: Tensor  # (N, 18, H, W), scope cells
    scope: Tensor  # (C, 1, 4, 4)
    taps: Tensor  # (C, 1, 3, 3)
    dense: Tensor  # (C, C, 3, 3)
    bias: Tensor  # (C,)
    mask: Tensor  # (N, 9, H, W), ones
    grad_out: Tensor  # (N, C, H, W)
    memory_format: torch.memory_format

    @property
    def leaves(self) -> Tuple[Tensor, ...]:
        return self[:7]


class ModulatedInputs(NamedTuple):
    """Inputs for the modulated deformable convolution."""
    x: Tensor  # (N, C, H, W)
    offset: Tensor  # (N, D * 18, H, W), pixels
    mask: Tensor  # (N, D * 9, H, W), 0 to 1
    dense: Tensor  # (C, C, 3, 3)
    bias: Tensor  # (C,)
    grad_out: Tensor  # (N, C, H, W)
    memory_format: torch.memory_format
    groups: int  # D

    @property
    def leaves(self) -> Tuple[Tensor, ...]:
        return self[:5]


class Contestant(NamedTuple):
    function: Callable[[Inputs], Tensor]
    context: Callable[[], ContextManager] = contextlib.nullcontext


def make_inputs(shape: Tuple[int, ...], dtype: torch.dtype, layout: str,
                device: torch.device) -> Inputs:
    """Return random inputs; offsets have a standard deviation of 0.75."""
    generator = torch.Generator().manual_seed(0)
    batch, channels, height, width = shape
    memory_format = LAYOUTS[layout]

    def randn(*size: int, scale: float = 1.) -> Tensor:
        values = scale * torch.randn(size, generator=generator)
        values = values.to(device, dtype)
        if len(size) == 4:
            values = values.contiguous(memory_format=memory_format)
        return values

    offsets = randn(batch, 36, height, width, scale=0.75)
    leaves = (randn(*shape), offsets[:, :18], offsets[:, 18:],
              randn(channels, 1, 4, 4,
                    scale=0.3), randn(channels, 1, 3, 3, scale=0.3),
              randn(channels, channels, 3, 3, scale=0.03), randn(channels))
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    mask = torch.ones(batch, 9, height, width, dtype=dtype, device=device)
    return Inputs(*leaves, mask, randn(*shape), memory_format)


def make_modulated_inputs(shape: Tuple[int, ...], dtype: torch.dtype,
                          layout: str, device: torch.device,
                          groups: int) -> ModulatedInputs:
    """Return random inputs; offsets have a standard deviation of 0.75."""
    generator = torch.Generator().manual_seed(0)
    batch, channels, height, width = shape
    memory_format = LAYOUTS[layout]

    def place(values: Tensor) -> Tensor:
        return values.to(device, dtype).contiguous(memory_format=memory_format)

    def randn(*size: int, scale: float = 1.) -> Tensor:
        return place(scale * torch.randn(size, generator=generator))

    maps = randn(batch, 27 * groups, height, width, scale=0.75)
    leaves = (randn(*shape), maps[:, :18 * groups],
              torch.sigmoid(maps[:, 18 * groups:]),
              randn(channels, channels, 3, 3, scale=0.03),
              torch.randn(channels, generator=generator).to(device, dtype))
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    return ModulatedInputs(*leaves, randn(*shape), memory_format, groups)


# The contestants


def run_ours(inputs: Inputs) -> Tensor:
    from dksan_mm.ops import deform_kernel_conv2d
    return deform_kernel_conv2d(
        inputs.x,
        inputs.scope,
        inputs.kernel_offset,
        inputs.offset,
        inputs.bias,
        padding=1)


def run_mmcv(inputs: Inputs) -> Tensor:
    from mmcv.ops import modulated_deform_conv2d

    # its CPU kernel is silently wrong unless all is contiguous
    out = modulated_deform_conv2d(inputs.x.contiguous(),
                                  inputs.offset.contiguous(), inputs.mask,
                                  inputs.taps.contiguous(), inputs.bias, 1, 1,
                                  1, inputs.x.shape[1], 1)
    return out.contiguous(memory_format=inputs.memory_format)


def run_torchvision(inputs: Inputs) -> Tensor:
    from torchvision.ops import deform_conv2d
    out = deform_conv2d(
        inputs.x, inputs.offset, inputs.taps, inputs.bias, padding=1)
    return out.contiguous(memory_format=inputs.memory_format)


def run_our_modulated(inputs: ModulatedInputs) -> Tensor:
    from dksan_mm.ops import modulated_deform_conv2d
    return modulated_deform_conv2d(*inputs.leaves, 1, 1, 1, 1, inputs.groups)


def run_mmcv_modulated(inputs: ModulatedInputs) -> Tensor:
    from mmcv.ops import modulated_deform_conv2d

    # its CPU kernel is silently wrong unless all is contiguous
    leaves = [leaf.contiguous() for leaf in inputs.leaves]
    out = modulated_deform_conv2d(*leaves, 1, 1, 1, 1, inputs.groups)
    return out.contiguous(memory_format=inputs.memory_format)


def run_torchvision_modulated(inputs: ModulatedInputs) -> Tensor:
    from torchvision.ops import deform_conv2d
    out = deform_conv2d(
        inputs.x,
        inputs.offset,
        inputs.dense,
        inputs.bias,
        padding=1,
        mask=inputs.mask)
    return out.contiguous(memory_format=inputs.memory_format)


def run_conv(inputs: Inputs) -> Tensor:
    return F.conv2d(inputs.x, inputs.dense, inputs.bias, padding=1)


def default_backend(device: torch.device) -> str:
    """Return the default backend of ``device``."""
    from dksan_mm.ops import backends
    if device.type == 'cuda':
        return 'triton'
    return 'cpp' if 'cpp' in backends() else 'portable'


def find_contestants(wanted: Optional[List[str]], device: torch.device,
                     op: str) -> Dict[str, Contestant]:
    """Return the contestants that run on ``device``, None: all of them."""
    from dksan_mm.ops import backends, use_backend
    default = default_backend(device)
    found = {}
    runs = run_mmcv, run_torchvision, run_conv
    if op == 'modulated':
        runs = run_mmcv_modulated, run_torchvision_modulated, run_conv
        if device.type == 'cpu' and 'cpp' in backends(
                'modulated_deform_conv2d'):
            found['cpp'] = Contestant(run_our_modulated)
    for name in OURS if op == 'deform_kernel' else ():
        if name in backends() and name in (default, 'portable'):
            # the context costs Python time in each call
            found[name] = Contestant(run_ours) if name == default else (
                Contestant(run_ours, functools.partial(use_backend, name)))
    for name, run in zip(OTHERS, runs):
        found[name] = Contestant(run)
    for name in wanted or ():
        if name not in found:
            raise ValueError(f'--contestants must be among {list(found)}, '
                             f'which run on {device} here, got {name!r}')
    return {name: found[name] for name in found if name in (wanted or found)}


def forward(contestant: Contestant, inputs: Inputs) -> Tensor:
    with torch.inference_mode(), contestant.context():
        return contestant.function(inputs)


def train(contestant: Contestant, inputs: Inputs) -> Tuple[Tensor, ...]:
    """Run forward and backward; return the result and the gradients."""
    with contestant.context():
        out = contestant.function(inputs)
        grads = torch.autograd.grad(
            out, inputs.leaves, inputs.grad_out, allow_unused=True)
    return out, *grads


STEPS = dict(forward=forward, train=train)


def check_backends(contestants: Dict[str, Contestant], inputs: Inputs) -> None:
    """Check that our backends agree in results and gradients, and that our
    modulated convolution agrees with mmcv's, if that is installed."""
    from dksan_mm.ops import backends, use_backend
    names = ('the result', 'grad x', 'grad offset', 'grad kernel_offset',
             'grad weight')
    run, other = run_ours, 'portable'
    if isinstance(inputs, ModulatedInputs):
        names = ('the result', 'grad x', 'grad offset', 'grad mask',
                 'grad weight')
        run, other = run_our_modulated, 'mmcv'
        if other not in backends('modulated_deform_conv2d'):
            return
    expected = train(
        Contestant(run, functools.partial(use_backend, other)), inputs)
    for name in set(OURS) & set(contestants) - {other}:
        for what, got, want in zip(names, train(contestants[name], inputs),
                                   expected):
            error = (got.double() - want.double()).norm()
            error = (error / want.double().norm()).item()
            if not error <= AGREEMENT:
                raise RuntimeError(
                    f'backend {name} must agree with {other} to {AGREEMENT}, '
                    f'but {what} is off by {error:.3g} (relative, '
                    f'{inputs.x.dtype}, {tuple(inputs.x.shape)}): run pytest '
                    'tests/test_ops before timing anything')


def find_fault(name: str, contestant: Contestant, inputs: Inputs,
               modes: List[str]) -> Optional[str]:
    """Return why a foreign contestant cannot take the inputs."""
    if name == 'mmcv' and inputs.x.dtype == torch.bfloat16:
        return 'mmcv has no bfloat16'
    try:
        for mode in modes:
            STEPS[mode](contestant, inputs)
    except (ImportError, RuntimeError) as error:
        if name in OURS:
            raise
        return str(error).strip().splitlines()[0][:200]
    return None


# Measuring


def bytes_moved(inputs: Inputs, mode: str) -> int:
    """Return the bytes that our operator must at least read and write."""
    sources = sum(t.nbytes for t in (*inputs[:4], inputs.bias))
    out = inputs.grad_out.nbytes
    if mode == 'forward':
        return sources + out
    # the backward pass reads sources and grad_out, and writes grads
    return sources + out + 2 * sources + out


def measure_case(contestants: Dict[str, Contestant], inputs: Inputs,
                 args: argparse.Namespace) -> Dict[str, Any]:
    """Return times and memory of one shape, dtype and layout."""
    faults = {
        name: find_fault(name, contestant, inputs, args.modes)
        for name, contestant in contestants.items()
    }
    found: Dict[str, Any] = {
        name: {}
        for name, fault in faults.items() if fault is None
    }
    for name in found:
        extra = bench.peak_allocation(
            functools.partial(forward, contestants[name], inputs), args.device)
        found[name]['extra_memory'] = extra / inputs.x.nbytes
    for mode in args.modes:
        times = bench.alternate(
            {
                name: functools.partial(STEPS[mode], contestants[name], inputs)
                for name in found
            }, args.device, args.repeat, args.budget, True)
        medians = {name: bench.summary(ms) for name, ms in times.items()}
        for name, entry in medians.items():
            for other in ('mmcv', 'conv3x3'):
                entry[f'over_{other}'] = None
                if other in medians:
                    entry[f'over_{other}'] = (
                        entry['median_ms'] / medians[other]['median_ms'])
            if args.bandwidth and name in OURS:
                copy_ms = 1e3 * bytes_moved(inputs, mode) / args.bandwidth
                entry['over_copy'] = entry['median_ms'] / copy_ms
            found[name][mode] = entry
    skipped = {name: fault for name, fault in faults.items() if fault}
    return dict(contestants=found, skipped=skipped)


def compare_cases(cases: List[Dict[str, Any]], name: str,
                  modes: List[str]) -> Dict[str, List[Dict[str, Any]]]:
    """Return how our backend ``name`` scales: time per pixel, from the
    smallest to the largest image of equal N and C; bfloat16 over float32."""
    found: Dict[str, List[Dict[str, Any]]] = dict(pixels=[], bfloat16=[])
    for mode, case, other in itertools.product(modes, cases, cases):
        times = [
            c['contestants'].get(name, {}).get(mode, {}).get('median_ms')
            for c in (case, other)
        ]
        if case['layout'] != other['layout'] or None in times:
            continue
        ratio = times[0] / times[1]
        entry = dict(mode=mode, **{key: case[key] for key in KEYS})
        if case['shape'] == other['shape']:
            if (case['dtype'], other['dtype']) == ('bfloat16', 'float32'):
                found['bfloat16'].append(dict(entry, ratio=ratio))
        elif case['dtype'] == other['dtype'] and is_range(case, other, cases):
            ratio *= pixels(other) / pixels(case)
            found['pixels'].append(
                dict(entry, against=other['shape'], ratio=ratio))
    return found


def pixels(case: Dict[str, Any]) -> int:
    return case['shape'][2] * case['shape'][3]


def is_range(large: Dict[str, Any], small: Dict[str, Any],
             cases: List[Dict[str, Any]]) -> bool:
    """Return whether these are the extremes of the images of one N and C."""
    sizes = [
        pixels(case) for case in cases
        if case['shape'][:2] == large['shape'][:2]
    ]
    return (large['shape'][:2] == small['shape'][:2]
            and pixels(large) == max(sizes) and pixels(small) == min(sizes))


# Showing


def show_case(case: Dict[str, Any], default: str,
              args: argparse.Namespace) -> None:
    """Print the table of one case."""
    fields = ['median_ms', 'over_mmcv', 'over_conv3x3']
    heads = ['ms', '/mmcv', '/conv']
    if args.bandwidth:
        fields.append('over_copy')
        heads.append('/copy')
    rows = [['contestant']]
    for mode in args.modes:
        rows[0] += [f'{mode} ms', *heads[1:]]
    rows[0].append('memory')
    fewer = []
    for name, entry in case['contestants'].items():
        rows.append([name + '*' * (name == default)])
        for mode in args.modes:
            rows[-1] += [bench.number(entry[mode].get(key)) for key in fields]
            runs = len(entry[mode]['runs_ms'])
            if runs < args.repeat:
                fewer.append(f'{runs} for {name}, {mode}')
        rows[-1].append(bench.number(entry['extra_memory']))
    print(f'\n{name_of(case["shape"])} {case["dtype"]} {case["layout"]}\n')
    print(bench.make_table(rows))
    print(', '.join([f'runs: {args.repeat}', *fewer]))
    for name, fault in case['skipped'].items():
        print(f'{name} left out: {fault}')


def show_comparisons(found: Dict[str, List[Dict[str, Any]]]) -> None:
    for entry in found['pixels']:
        print(f'time per pixel at {name_of(entry["shape"])} over that at '
              f'{name_of(entry["against"])}, {entry["mode"]}, '
              f'{entry["dtype"]}, {entry["layout"]}: {entry["ratio"]:.3f}')
    for entry in found['bfloat16']:
        print(f'bfloat16 over float32 at {name_of(entry["shape"])}, '
              f'{entry["mode"]}, {entry["layout"]}: {entry["ratio"]:.3f}')


NOTES = """
Medians. train: forward and backward, gradients of all inputs, offsets and
weights. /mmcv, /conv: time over that of mmcv and of conv3x3. memory: most that
PyTorch holds in a forward pass beside the inputs, the result included, over
the bytes of x. * the device's own backend.
mmcv and torchvision know NCHW alone: in channels_last their rows include the
copies to NCHW and back, which a channels_last network would need."""
GPU_NOTES = """
On the GPU: kernels alone, the host being ahead, cache emptied. /copy: time
over that of moving, at the bandwidth of a copy, inputs and output (train:
inputs twice, output and its gradient, gradients of the inputs)."""


def name_of(shape: Tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))


def parse_shape(text: str) -> Tuple[int, ...]:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){3}', text):
        raise ValueError('--shapes must be NxCxHxW, four whole numbers of at '
                         f'least 1 such as 1x128x68x120, got {text!r}')
    return tuple(map(int, text.split('x')))


def check_groups(args: argparse.Namespace) -> None:
    for shape in args.shapes if args.op == 'modulated' else ():
        if args.deform_groups < 1 or shape[1] % args.deform_groups:
            raise ValueError(
                f'--deform-groups must divide the channels of all shapes, got '
                f'{args.deform_groups} for {name_of(shape)}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    some = dict(nargs='+')
    parser.add_argument(
        '--op',
        choices=OPS,
        default=OPS[0],
        help='operator; default: deform_kernel')
    parser.add_argument(
        '--deform-groups',
        type=int,
        default=8,
        help='groups of offsets, only for --op modulated; default: 8')
    parser.add_argument(
        '--shapes',
        nargs='+',
        help=f'shapes of the input, NxCxHxW; default: {SHAPES}, for --op '
        f'modulated {MODULATED_SHAPES}')
    parser.add_argument('--dtype', **some, choices=DTYPES, default=['float32'])
    parser.add_argument(
        '--layouts', **some, choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument('--modes', **some, choices=STEPS, default=list(STEPS))
    parser.add_argument(
        '--contestants',
        **some,
        help='backends and peers to time; default: all that run here')
    parser.add_argument(
        '--budget',
        type=float,
        default=2.,
        help='seconds for each contestant in each mode of a case; slow ones '
        'run less often, but three times; default: 2')
    bench.add_arguments(parser, repeat=30)
    add_debug_argument(parser)
    args = parser.parse_args()
    try:
        bench.check_arguments(args)
        default = MODULATED_SHAPES if args.op == 'modulated' else SHAPES[
            args.device.type]
        args.shapes = [parse_shape(shape) for shape in args.shapes or default]
        check_groups(args)
        args.contestants = find_contestants(args.contestants, args.device,
                                            args.op)
    except ValueError as error:
        parser.error(str(error))
    return args


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Check, time and show all cases; return the results."""
    hardware = bench.hardware(args.device)
    args.bandwidth = None
    if args.device.type == 'cuda':
        args.bandwidth = bench.copy_bandwidth(args.device)
        hardware['copy_bytes_per_s'] = args.bandwidth
    bench.show_hardware(hardware)
    kinds = list(itertools.product(args.dtype, args.layouts))

    def inputs_of(shape: Tuple[int, ...], dtype: str, layout: str) -> Inputs:
        kind = shape, getattr(torch, dtype), layout, args.device
        if args.op == 'modulated':
            return make_modulated_inputs(*kind, args.deform_groups)
        return make_inputs(*kind)

    for kind in kinds:
        smallest = min(args.shapes, key=math.prod)
        check_backends(args.contestants, inputs_of(smallest, *kind))
    default = default_backend(args.device)
    cases = []
    for shape, kind in itertools.product(args.shapes, kinds):
        case = dict(zip(KEYS, (shape, *kind)))
        case.update(
            measure_case(args.contestants, inputs_of(shape, *kind), args))
        cases.append(case)
        show_case(case, default, args)
    print(NOTES + (GPU_NOTES if args.bandwidth else '') + '\n')
    comparisons = compare_cases(cases, default, args.modes)
    show_comparisons(comparisons)
    return dict(
        hardware=hardware,
        default=default,
        cases=cases,
        comparisons=comparisons)


def main(args: argparse.Namespace) -> None:
    torch.backends.cudnn.benchmark = True
    results = measure(args)
    if args.out:
        bench.write_json(args.out, results)


if __name__ == '__main__':
    run_tool(parse_args, main)
