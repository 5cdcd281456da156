"""Check the operators and the networks on your GPU, and time them.

    python tools/check_gpu.py [--out gpu.md]

Prints Markdown that can be pasted into an issue: comparisons, largest
differences, and times. The exit code is 1 if anything is wrong. It should take
less than three minutes, mostly for compiling.

- the deformable kernel's backend (Triton), and the portable one, on the golden
  cases of tests/data in float64: values and gradients;
- both against each other in float32, bfloat16 and float16;
- gradients with the same bits in each run under
torch.use_deterministic_algorithms;
- capture in a CUDA graph;
- the modulated deformable convolution (mmcv's kernel behind our wrapper), in
  channels-last, against the CPU;
- a trained network against the CPU, in float32 and in the short floats of
restoration;
- the same network, replayed as a CUDA graph, against its calls;
- times of the operators and of networks, also as CUDA graphs;
- iterations per second of training, and their memory, by batch and dtype.

``--device cpu`` runs the same at small sizes; set TRITON_INTERPRET=1 to run
Triton's interpreter there. Parts that need missing packages are left out, and
named.
"""
import argparse
import functools
import os
import os.path as osp
import platform
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

# also where the package is not installed
ROOT = osp.join(osp.dirname(osp.abspath(__file__)), '..')
sys.path.insert(0, ROOT)

import benchmark_op

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.ops import (backends, deform_kernel_conv2d,
                          modulated_deform_conv2d, use_backend)
from dksan_mm.utils import benchmark as bench
from dksan_mm.utils import precision
from dksan_mm.utils.files import write_whole

GOLDEN = osp.join(ROOT, 'tests', 'data', 'deform_kernel.npz')
# of float64 on the golden cases, whose values are of order one
EXACT = 1e-9
# of a result computed in float32 from inputs of the dtype, root mean square
# relative to that of the result
NEAR = {'float32': 1e-5, 'bfloat16': 2**-7, 'float16': 2**-10}
# dB, of a network to itself on the CPU
LEAST_PSNR = dict(fp32=80, bf16=50, fp16=50)
# marks the rows of what is replayed
GRAPH = ': CUDA graph'


class LeftOut(Exception):
    """A part that cannot be run here, and why."""


class Row(NamedTuple):
    """A line of the report."""
    what: str
    verdict: str
    found: str


class Sizes(NamedTuple):
    """Sizes of the checks and timings."""
    op: Tuple[int, ...]  # (N, C, H, W)
    # a network's name, and width and height of its LR frames
    compared: Tuple[str, Tuple[int, int]]
    timed: Tuple[Tuple[str, Tuple[int, int]], ...]
    repeat: int
    # a config, the side of its LR crops, batches, and seconds for each
    trained: Tuple[str, int, Tuple[int, ...], float]


GPU_SIZES = Sizes(
    (1, 128, 68, 120), ('dksan-lite_x4', (64, 48)),
    (('dksan-lite_x4', (480, 270)), ('dksan-lite_x16', (120, 68))), 20,
    ('dksan_vid3oc_x16', 32, (4, 8, 16), 4.))
CPU_SIZES = Sizes((1, 4, 6, 5), ('dksan-lite_x4', (12, 10)),
                  (('dksan-lite_x4', (12, 10)), ), 2,
                  ('dksan-lite_x4', 8, (1, 2), 0.))


def tested_backend(device: torch.device) -> str:
    """Return the backend of the deformable kernel to test."""
    if device.type == 'cpu' and os.environ.get('TRITON_INTERPRET') != '1':
        return benchmark_op.default_backend(device)
    if 'triton' not in backends():
        raise LeftOut('triton is not installed')
    return 'triton'


def relative(out: Tensor, expected: Tensor) -> float:
    """Return the root mean square of the difference, relative to the root mean
    square of the expected values."""
    expected = expected.double().cpu()
    difference = (out.double().cpu() - expected).norm()
    return float(difference / expected.norm().clamp_min(1e-30))


def run_op(inputs: Dict[str, Tensor], grad_out: Tensor,
           **settings: int) -> Dict[str, Tensor]:
    """Return the deformable kernel's result and its gradients."""
    leaves = {
        key: value.detach().clone().requires_grad_()
        for key, value in inputs.items()
    }
    out = deform_kernel_conv2d(**leaves, **settings)
    out.backward(grad_out.to(out))
    return dict(
        out=out.detach(),
        **{
            f'grad_{key}': value.grad
            for key, value in leaves.items()
        })


def worst(found: Dict[str, Tensor], expected: Dict[str, Tensor]) -> float:
    """Return the largest relative difference; NaN if there is one."""
    return float(
        torch.tensor([relative(found[key], expected[key]) for key in found],
                     dtype=torch.float64).max())


def judge(error: float, limit: float) -> Tuple[bool, str]:
    """Return whether an error is small, and its text."""
    return error <= limit, f'relative difference {error:.1e}'


# The checks: each returns whether all is right, and what was found


def check_golden(name: str, device: torch.device) -> Tuple[bool, str]:
    """Compare a backend with the golden cases."""
    if not osp.exists(GOLDEN):
        raise LeftOut(f'{osp.normpath(GOLDEN)} is missing: run it in a clone')
    stored = np.load(GOLDEN)
    cases = sorted({key.split('/')[0] for key in stored})
    errors = []
    for case in cases:
        values = {
            key.split('/')[1]: torch.from_numpy(stored[key]).to(device)
            for key in stored if key.startswith(f'{case}/')
        }
        settings = dict(
            zip(('kernel_size', 'stride', 'padding', 'dilation'),
                map(int, values['params'][:4])))
        inputs = {
            key: values[key]
            for key in ('x', 'weight', 'kernel_offset', 'offset')
            if key in values
        }
        with use_backend(name):
            found = run_op(inputs, values['grad_out'], **settings)
        errors.append(worst(found, values))
    right, text = judge(float(torch.tensor(errors).max()), EXACT)
    return right, f'{text}, {len(cases)} cases'


def op_inputs(shape: Tuple[int, ...], dtype: torch.dtype,
              device: torch.device) -> Tuple[Dict[str, Tensor], Tensor]:
    """Return a channels-last layer's inputs, and the gradient of its result.
    """
    made = benchmark_op.make_inputs(shape, dtype, 'channels_last', device)
    return dict(
        x=made.x,
        weight=made.scope,
        kernel_offset=made.kernel_offset,
        offset=made.offset,
        bias=made.bias), made.grad_out


def check_dtype(name: str, dtype: str, shape: Tuple[int, ...],
                device: torch.device) -> Tuple[bool, str]:
    """Compare a backend with the portable one in float64, on the same inputs
    of a dtype."""
    inputs, grad_out = op_inputs(shape, getattr(torch, dtype), device)
    with use_backend(name):
        found = run_op(inputs, grad_out, padding=1)
    with use_backend('portable'):
        expected = run_op(
            {
                key: value.double()
                for key, value in inputs.items()
            },
            grad_out,
            padding=1)
    return judge(worst(found, expected), NEAR[dtype])


def check_deterministic(name: str, shape: Tuple[int, ...],
                        device: torch.device) -> Tuple[bool, str]:
    """Compare the bits of two backward passes, and their values with the usual
    mode."""
    inputs, grad_out = op_inputs(shape, torch.float32, device)
    before = torch.are_deterministic_algorithms_enabled()
    with use_backend(name):
        usual = run_op(inputs, grad_out, padding=1)
        torch.use_deterministic_algorithms(True)
        try:
            first, second = (
                run_op(inputs, grad_out, padding=1) for _ in range(2))
        finally:
            torch.use_deterministic_algorithms(before)
    equal = all(torch.equal(first[key], second[key]) for key in first)
    right, text = judge(worst(first, usual), NEAR['float32'])
    return right and equal, f'{"equal" if equal else "unlike"} bits, {text}'


def check_graph(name: str, shape: Tuple[int, ...],
                device: torch.device) -> Tuple[bool, str]:
    """Compare a replayed CUDA graph with a call, on inputs other than those at
    its capture."""
    if device.type != 'cuda':
        raise LeftOut('needs a GPU')
    inputs, _ = op_inputs(shape, torch.float32, device)
    static = {key: value.detach() for key, value in inputs.items()}
    with torch.inference_mode(), use_backend(name):
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # compile before the capture
            deform_kernel_conv2d(**static, padding=1)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = deform_kernel_conv2d(**static, padding=1)
        static['x'].mul_(-2)
        graph.replay()
        expected = deform_kernel_conv2d(**static, padding=1)
    return judge(relative(out, expected), NEAR['float32'])


def check_modulated(dtype: str, shape: Tuple[int, ...],
                    device: torch.device) -> Tuple[bool, str]:
    """Compare the device's modulated deformable convolution (mmcv's kernel, if
    there is one) with the CPU's."""
    if 'mmcv' not in backends('modulated_deform_conv2d'):
        raise LeftOut('mmcv is not installed')
    groups = 2
    made = benchmark_op.make_modulated_inputs(shape, getattr(torch, dtype),
                                              'channels_last', device, groups)

    def run(place: str, kind: Optional[torch.dtype],
            backend: str) -> Dict[str, Tensor]:
        leaves = [
            leaf.detach().to(place, kind).requires_grad_()
            for leaf in made.leaves
        ]
        with use_backend(backend):
            out = modulated_deform_conv2d(*leaves, 1, 1, 1, 1, groups)
            out.backward(made.grad_out.to(out))
        grads = {str(i): leaf.grad for i, leaf in enumerate(leaves)}
        return dict(out=out.detach(), **grads)

    own = 'cpp' in backends('modulated_deform_conv2d')
    found = run(device.type, None, 'mmcv')
    expected = run('cpu', torch.float32, 'cpp' if own else 'mmcv')
    # sums over pixels, in another order and of an atomic kind
    return judge(worst(found, expected), 10 * NEAR[dtype])


def load_network(name: str, device: torch.device) -> nn.Module:
    """Return a trained network.

    Raises:
        LeftOut: MMagic is not installed.
    """
    try:
        from dksan_mm.apis.loading import load_model
    except ImportError as error:
        raise LeftOut(f'networks do not import: {error}') from error
    return load_model(name, device=device).generator


def make_clip(size: Tuple[int, int]) -> Tensor:
    """Return a window of moving frames, (1, 7, 3, H, W), in [0, 1]."""
    width, height = size
    y, x = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing='ij')
    frames = [
        torch.stack([
            torch.sin((x + t) / (2. + c)) * torch.cos((y - t) / (3. + c))
            for c in range(3)
        ]) for t in range(7)
    ]
    return (torch.stack(frames)[None] + 1) / 2


def in_dtype(network: nn.Module, name: str) -> nn.Module:
    """Return a network as restoration runs it, or itself for 'fp32'."""
    dtype = precision.DTYPES[name]
    return network if dtype is None else precision.short_copy(network, dtype)


def check_network(name: str, dtype: str, size: Tuple[int, int],
                  device: torch.device) -> Tuple[bool, str]:
    """Compare a network on the device with itself on the CPU in float32."""
    network = load_network(name, torch.device('cpu'))
    x = make_clip(size)
    with torch.inference_mode():
        expected = network(x)
        network = in_dtype(network.to(device), dtype)
        out = network(x.to(device)).cpu()
    return judge_images(out, expected, dtype)


def judge_images(out: Tensor, expected: Tensor,
                 dtype: str) -> Tuple[bool, str]:
    """Return whether images are as near as a dtype allows, and the text."""
    decibels = bench.decibels(
        float((out.double() - expected.double()).square().mean()))
    if decibels is None:
        return True, 'equal'
    return decibels >= LEAST_PSNR[dtype], f'{decibels:.1f} dB'


def graphed(network: nn.Module, device: torch.device) -> Callable:
    """Return what calls a network by CUDA graphs, as restoration does."""
    from dksan_mm.apis.cuda_graphs import CudaGraphs
    return functools.partial(CudaGraphs(device).call, 'forward', network)


def check_network_graph(name: str, dtype: str, size: Tuple[int, int],
                        device: torch.device) -> Tuple[bool, str]:
    """Compare a replayed network with its calls, on two windows: the result
    for the first is looked at after the second one's."""
    if device.type != 'cuda':
        raise LeftOut('needs a GPU')
    network = in_dtype(load_network(name, device), dtype)
    found, expected = run_twice(network, graphed(network, device),
                                make_clip(size).to(device))
    return judge_images(found, expected, dtype)


def run_twice(network: Callable, replay: Callable,
              x: Tensor) -> Tuple[Tensor, Tensor]:
    """Return what ``replay`` and the network make of two windows."""
    windows = x, x.flip(1) / 2
    with torch.inference_mode():
        expected = [network(window) for window in windows]
        found = [replay(window) for window in windows]
    return torch.cat(found), torch.cat(expected)


# The times


def time_ops(sizes: Sizes, device: torch.device) -> List[List[str]]:
    """Return rows of a table: milliseconds of the operators."""
    kind = 'x'.join(map(str, sizes.op))
    rows = [[f'{kind}, channels-last', 'dtype', 'forward ms', 'train ms']]
    for op in benchmark_op.OPS:
        contestants = benchmark_op.find_contestants(None, device, op)
        for dtype in ('float32', 'bfloat16'):
            args = argparse.Namespace(
                modes=list(benchmark_op.STEPS),
                device=device,
                repeat=sizes.repeat,
                budget=.3,
                bandwidth=None)
            make = benchmark_op.make_inputs
            if op == 'modulated':
                make = functools.partial(
                    benchmark_op.make_modulated_inputs, groups=2)
            inputs = make(sizes.op, getattr(torch, dtype), 'channels_last',
                          device)
            found = benchmark_op.measure_case(contestants, inputs, args)
            for name, entry in found['contestants'].items():
                rows.append([f'{op}: {name}', dtype] + [
                    bench.number(entry[mode]['median_ms'])
                    for mode in args.modes
                ])
    return rows


def time_networks(sizes: Sizes, device: torch.device) -> List[List[str]]:
    """Return rows of a table: milliseconds of a frame."""
    rows = [['network', 'LR', *precision.DTYPES]]
    for name, size in sizes.timed:
        network = load_network(name, device)
        x = make_clip(size).to(device)

        def run(network: Callable, x: Tensor = x) -> None:
            with torch.inference_mode():
                network(x)

        runs, ways = {}, ('', GRAPH)[:1 + (device.type == 'cuda')]
        for dtype in precision.DTYPES:
            short = in_dtype(network, dtype)
            for way in ways:
                call = graphed(short, device) if way == GRAPH else short
                runs[dtype + way] = functools.partial(run, call)
        times = bench.alternate(runs, device, sizes.repeat, 1.)
        rows.extend([name + way, 'x'.join(map(str, size))] + [
            bench.number(bench.summary(times[dtype + way])['median_ms'])
            for dtype in precision.DTYPES
        ] for way in ways)
    return rows


def time_training(sizes: Sizes, device: torch.device) -> List[List[str]]:
    """Return rows of a table: iterations per second of a config's training,
    without reading data, and memory beyond the weights and Adam's state."""
    name, side, batches, budget = sizes.trained
    try:
        from mmagic.registry import MODELS
        from mmengine.registry import init_default_scope

        from dksan_mm.engine.config import read_config
    except ImportError as error:
        raise LeftOut(f'networks do not import: {error}') from error
    config = read_config(osp.join(ROOT, 'configs', f'{name}.py'))
    torch.backends.cudnn.benchmark = config.env_cfg.cudnn_benchmark
    init_default_scope('mmagic')
    model = MODELS.build(config.model).to(device)
    settings = dict(config.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, settings.pop('type'))(model.parameters(),
                                                           **settings)
    rows = [[
        f'training of {name}, LR crops {side}x{side}', 'batch',
        'iterations a second', 'MiB'
    ]]
    for kind, dtype in dict(fp32=None, bf16=torch.bfloat16).items():
        for batch in batches:
            x = make_clip((side, side)).expand(batch, -1, -1, -1,
                                               -1).to(device)
            step = functools.partial(train_step, model, optimizer, x, dtype)
            rows.append([kind, str(batch), *time_steps(step, device, budget)])
    return rows


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor,
               dtype: Optional[torch.dtype]) -> None:
    """Train on a batch towards a grey image, in autocast if a dtype is given.
    """
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        out = model.generator(x)
        loss = model.pixel_loss(out, torch.full_like(out, .5))
    loss.backward()
    optimizer.step()


def time_steps(step: Callable[[], None], device: torch.device,
               seconds: float) -> Tuple[str, str]:
    """Return the steps per second, and the MiB of a step, or that it does not
    fit. Takes about ``seconds``, but at least five steps."""
    try:
        # the first makes Adam's tensors, and compiles
        took = bench.alternate(
            dict(step=step), device, repeat=10, budget=seconds, warmup=1)
        memory = bench.peak_allocation(step, device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return 'out of memory', '-'
    rate = 1e3 / bench.summary(took['step'])['median_ms']
    return bench.number(rate), bench.number(memory / 2**20)


# The report


def find_checks(sizes: Sizes, device: torch.device,
                backend: str) -> Dict[str, Callable[[], Tuple[bool, str]]]:
    """Return all checks by name."""
    part = functools.partial
    # golden cases show the order of axes: the rest is a matter of dtypes
    small = (2, 6, 7, 5)
    checks = {
        f'{name}: golden cases, float64': part(check_golden, name, device)
        for name in dict.fromkeys((backend, 'portable'))
    }
    for dtype in NEAR:
        checks[f'{backend}: {dtype}'] = part(check_dtype, backend, dtype,
                                             small, device)
    checks[f'{backend}: deterministic'] = part(check_deterministic, backend,
                                               small, device)
    checks[f'{backend}: CUDA graph'] = part(check_graph, backend, small,
                                            device)
    for dtype in ('float32', 'float16'):
        checks[f'mmcv: modulated, {dtype}'] = part(check_modulated, dtype,
                                                   small, device)
    name, size = sizes.compared
    for dtype in precision.DTYPES:
        checks[f'{name}, {dtype}'] = part(check_network, name, dtype, size,
                                          device)
    for dtype in precision.DTYPES:
        checks[f'{name}, {dtype}{GRAPH}'] = part(check_network_graph, name,
                                                 dtype, size, device)
    return checks


def run_check(what: str, check: Callable[[], Tuple[bool, str]]) -> Row:
    """Return a check's line; an error becomes a line as well."""
    begun = time.perf_counter()
    try:
        right, found = check()
    except LeftOut as reason:
        return Row(what, 'left out', str(reason))
    except Exception as error:  # one fault is not to hide the others
        traceback.print_exc()
        text = str(error).strip().splitlines() or ['']
        return Row(what, 'WRONG', f'{type(error).__name__}: {text[0][:120]}')
    found += f', {time.perf_counter() - begun:.1f} s'
    return Row(what, 'right' if right else 'WRONG', found)


def describe(device: torch.device) -> str:
    """Return the facts that a result depends on."""
    found: Dict[str, Any] = dict(
        bench.hardware(device), python=platform.python_version())
    if device.type == 'cuda':
        major, minor = torch.cuda.get_device_capability(device)
        found.update(
            capability=f'{major}.{minor}',
            cudnn=torch.backends.cudnn.version())
    try:
        import triton
        found['triton'] = triton.__version__
    except ImportError:
        found['triton'] = 'none'
    return ', '.join(f'{key}: {value}' for key, value in found.items())


def make_report(sizes: Sizes, device: torch.device) -> Tuple[bool, str]:
    """Return whether all checks passed, and the report in Markdown."""
    parts = [describe(device)]
    try:
        backend = tested_backend(device)
    except LeftOut as reason:
        parts.append(f'Triton: {reason}')
        backend = 'portable'
    rows = [
        run_check(what, check)
        for what, check in find_checks(sizes, device, backend).items()
    ]
    parts.append('\n'.join(['| check | | found |', '| --- | --- | --- |'] +
                           [f'| {" | ".join(row)} |' for row in rows]))
    right = all(row.verdict != 'WRONG' for row in rows)
    # as the tools have them
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    for measure in (time_ops, time_networks, time_training):
        try:
            parts.append(bench.make_table(measure(sizes, device)))
        except LeftOut as reason:
            parts.append(f'{measure.__name__}: left out, {reason}')
        except Exception as error:  # what was found before is to be shown
            traceback.print_exc()
            parts.append(f'{measure.__name__}: WRONG, {error}')
            right = False
    parts.append('All is right.' if right else 'Something is WRONG: see above')
    return right, '\n\n'.join(parts)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--device',
        default='cuda',
        help='device to check: cuda, cuda:N or cpu; default: cuda')
    parser.add_argument(
        '--out', help='Markdown file to write the report to as well')
    add_debug_argument(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    device = bench.pick_device(args.device)
    if device.type == 'cuda':  # where graphs are captured, and 'cuda' leads
        torch.cuda.set_device(device)
    # float32 is to be float32 where it is compared
    torch.backends.cudnn.allow_tf32 = False
    begun = time.perf_counter()
    right, text = make_report(CPU_SIZES if device.type == 'cpu' else GPU_SIZES,
                              device)
    text += f' ({time.perf_counter() - begun:.0f} s)'
    print(text)
    if args.out:
        write_whole(args.out, f'{text}\n'.encode())
    if not right:
        sys.exit(1)


if __name__ == '__main__':
    run_tool(parse_args, main)
