"""The benchmarks: what they count and write, never how long things take."""
import io
import itertools
import json
import math
import os.path as osp
import re
import statistics
import sys

import pytest
import torch
from commands import ROOT
from mmagic.models.editors.basicvsr_plusplus_net import basicvsr_plusplus_net
from torch import nn

from dksan_mm import cli
from dksan_mm.engine import complexity
from dksan_mm.models.blocks import PointwiseConv2d
from dksan_mm.ops import DeformKernelConv2d, _mmcv, backends
from dksan_mm.utils import benchmark as bench

sys.path.insert(0, osp.join(ROOT, 'tools'))
import benchmark_model  # noqa: E402
import benchmark_op  # noqa: E402

CONFIG = '''
custom_imports = dict(imports=['dksan_mm.models'])
default_scope = 'mmagic'
model = dict(type='DKSAN', generator=dict(
    type='DKSANNet', mid_channels=8, num_frames=3, num_blocks=(1, 1),
    num_extraction_blocks=1, num_align_layers=1, deform_groups=2,
    num_dksa_layers=1, reduction=2, with_dksa={with_dksa}))
'''
OTHERS = {'mmcv', 'torchvision', 'conv3x3'}


def run_tool(tool, monkeypatch, *arguments):
    """Run a tool's main in this process."""
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, arguments)])
    # it would hold for all tests after this one
    monkeypatch.setattr(benchmark_model, 'keep_freed_memory', lambda: True)
    cli.run_tool(tool.parse_args, tool.main)


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """Return two configs, one without the spatial attention."""
    folder = tmp_path_factory.mktemp('configs')
    paths = []
    for name, with_dksa in (('full', True), ('plain', False)):
        paths.append(folder / f'{name}.py')
        paths[-1].write_text(CONFIG.format(with_dksa=with_dksa))
    return paths


# The operator's


def test_op_results(monkeypatch, tmp_path, capsys):
    """The file has all contestants; ratios are those of the medians."""
    out = tmp_path / 'new' / 'op.json'
    run_tool(benchmark_op, monkeypatch, '--shapes', '1x4x6x5', '1x4x12x11',
             '--dtype', 'float32', 'bfloat16', '--repeat', 2, '--device',
             'cpu', '--out', out)
    results = json.loads(out.read_text())
    ours = {'portable', 'cpp'} & set(backends())
    assert results['default'] == ('cpp' if 'cpp' in ours else 'portable')
    assert results['hardware']['threads'] == torch.get_num_threads()
    cases = {
        (case['shape'][2], case['dtype'], case['layout']): case
        for case in results['cases']
    }
    assert set(cases) == set(
        itertools.product((6, 12), ('float32', 'bfloat16'),
                          ('channels_last', 'nchw')))
    for (_, dtype, _), case in cases.items():
        found = case['contestants']
        if dtype == 'float32':
            assert set(found) == ours | OTHERS and not case['skipped']
        else:
            # what others lack is left out, ours and its baseline are not
            assert case['skipped']['mmcv'] == 'mmcv has no bfloat16'
            assert set(found) | set(case['skipped']) == ours | OTHERS
            assert ours | {'conv3x3'} <= set(found)
        for entry in found.values():
            assert entry['extra_memory'] >= 1  # the result
            check_ratios(entry, found)

    text = capsys.readouterr().out
    assert '1x4x12x11 bfloat16 nchw' in text and 'mmcv left out' in text
    check_comparisons(results, cases)


def check_ratios(entry, found):
    for mode in ('forward', 'train'):
        assert len(entry[mode]['runs_ms']) == 2
        assert min(entry[mode]['runs_ms']) > 0
        median = statistics.median(entry[mode]['runs_ms'])
        assert entry[mode]['median_ms'] == median
        for other in ('mmcv', 'conv3x3'):
            ratio = entry[mode][f'over_{other}']
            if other in found:
                assert ratio == median / found[other][mode]['median_ms']
            else:
                assert ratio is None


def check_comparisons(results, cases):

    def ms(height, dtype, entry):
        case = cases[height, dtype, entry['layout']]
        return case['contestants'][results['default']][
            entry['mode']]['median_ms']

    pixels = results['comparisons']['pixels']
    assert len(pixels) == 8  # dtypes x layouts x modes
    for entry in pixels:
        ratio = ms(12, entry['dtype'], entry) / ms(6, entry['dtype'], entry)
        assert entry['ratio'] == pytest.approx(ratio * 6 * 5 / (12 * 11))
        assert entry['against'] == [1, 4, 6, 5]
    half = results['comparisons']['bfloat16']
    assert len(half) == 8  # shapes x layouts x modes
    for entry in half:
        height = entry['shape'][2]
        ratio = ms(height, 'bfloat16', entry) / ms(height, 'float32', entry)
        assert entry['ratio'] == pytest.approx(ratio)


@pytest.mark.parametrize('layout', benchmark_op.LAYOUTS)
def test_op_contestants_compute_the_same(layout):
    """mmcv and torchvision agree, in layout too, so neither is misfed."""
    inputs = benchmark_op.make_inputs((2, 4, 7, 5), torch.float32, layout,
                                      torch.device('cpu'))
    strides = inputs.x.stride()
    assert (strides[1] == 1) == (layout == 'channels_last')
    assert inputs.offset.stride() == inputs.kernel_offset.stride()
    assert inputs.offset.stride(0) == 36 * 7 * 5  # half of one tensor
    outs = [
        benchmark_op.train(benchmark_op.Contestant(run), inputs)
        for run in (benchmark_op.run_mmcv, benchmark_op.run_torchvision)
    ]
    assert outs[0][0].stride() == outs[1][0].stride() == strides
    for got, expected in zip(*outs):
        assert (got is None) == (expected is None)
        if got is not None:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('layout', benchmark_op.LAYOUTS)
def test_modulated_contestants_compute_the_same(layout):
    inputs = benchmark_op.make_modulated_inputs((2, 4, 7, 5), torch.float32,
                                                layout, torch.device('cpu'), 2)
    assert (inputs.x.stride(1) == 1) == (layout == 'channels_last')
    ours, *others = (
        benchmark_op.train(benchmark_op.Contestant(run), inputs)
        for run in (benchmark_op.run_our_modulated,
                    benchmark_op.run_mmcv_modulated,
                    benchmark_op.run_torchvision_modulated))
    for other in others:
        assert other[0].stride() == ours[0].stride() == inputs.x.stride()
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)


def test_modulated_results(monkeypatch, tmp_path, capsys):
    out = tmp_path / 'op.json'
    run_tool(benchmark_op, monkeypatch, '--op', 'modulated', '--deform-groups',
             2, '--shapes', '1x4x6x5', '--repeat', 2, '--device', 'cpu',
             '--out', out)
    results = json.loads(out.read_text())
    ours = {'cpp'} & set(backends('modulated_deform_conv2d'))
    assert len(results['cases']) == 2  # layouts
    for case in results['cases']:
        assert set(case['contestants']) == ours | OTHERS
        for entry in case['contestants'].values():
            check_ratios(entry, case['contestants'])
    assert '1x4x6x5 float32 channels_last' in capsys.readouterr().out


def test_op_leaves_out_what_is_missing(monkeypatch):
    """PyTorch alone will do; but a fault of ours is not passed over."""
    inputs = benchmark_op.make_inputs((1, 4, 7, 5), torch.float32, 'nchw',
                                      torch.device('cpu'))
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    contestant = benchmark_op.Contestant(benchmark_op.run_mmcv)
    fault = benchmark_op.find_fault('mmcv', contestant, inputs, ['forward'])
    assert 'mmcv.ops' in fault
    with pytest.raises(ImportError):
        benchmark_op.find_fault('cpp', contestant, inputs, ['forward'])


def test_op_refuses_wrong_backend():
    """Nothing is timed if a backend computes something else."""
    inputs = benchmark_op.make_inputs((1, 4, 7, 5), torch.float32, 'nchw',
                                      torch.device('cpu'))
    right = benchmark_op.Contestant(benchmark_op.run_ours)
    benchmark_op.check_backends(dict(cpp=right), inputs)
    wrong = benchmark_op.Contestant(
        lambda inputs: 1.02 * benchmark_op.run_ours(inputs))
    with pytest.raises(RuntimeError, match='cpp must agree .* the result is'):
        benchmark_op.check_backends(dict(cpp=wrong), inputs)


@pytest.mark.parametrize('tool, arguments, message', [
    (benchmark_op, ['--shapes', '1x4x8'], r"--shapes must .* got '1x4x8'"),
    (benchmark_op, ['--shapes', '1x4x0x8'], r"--shapes must .* '1x4x0x8'"),
    (benchmark_op, ['--contestants', 'dense'
                    ], r"--contestants must be among \['.*, got 'dense'"),
    (benchmark_op, [
        '--op', 'modulated', '--shapes', '1x4x6x5', '--deform-groups', '3'
    ], '--deform-groups must divide .* got 3 for 1x4x6x5'),
    (benchmark_op, ['--repeat', '0'], '--repeat must be at least 1, got 0'),
    (benchmark_op, ['--out', 'op.txt'], "--out must end in .json, got 'op.t"),
    (benchmark_model, ['a.py', '--sizes', '30'], "--sizes must .* got '30'"),
    (benchmark_model, ['a.py', 'b/a.py'
                       ], r"configs must differ in name, got \['a', 'a'\]"),
    (benchmark_model, ['a.py', '--baseline', 'c'
                       ], r"--baseline must be one of \['a'\], got 'c'"),
    (benchmark_model, ['a.py', '--checkpoint', 'x', 'y'
                       ], '--checkpoint must be one .* got 2 for 1'),
    (benchmark_model, ['a.py', '--frames', '-1'
                       ], "--frames: must .* least 0, got '-1'"),
    (benchmark_model, ['a.py', '--train', '--convs'], '--convs times forward'),
])
def test_refuses_arguments(tool, arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run_tool(tool, monkeypatch, '--device', 'cpu', *arguments)
    assert exit_info.value.code == 2
    error = ' '.join(capsys.readouterr().err.split())
    assert re.search(message, error), error


# Helpers


@pytest.mark.parametrize('is_terminal', [True, False])
def test_long_benchmarks_say_where_they_are(monkeypatch, is_terminal):
    shown = io.StringIO()
    shown.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, 'stderr', shown)
    monkeypatch.setattr(bench.time, 'monotonic',
                        itertools.count(0, 5).__next__)
    bench.alternate(
        dict(a=int, b=int), torch.device('cpu'), repeat=2, warmup=1)
    told = [line.strip() for line in shown.getvalue().split('\r')]
    assert [line for line in told if line] == ([
        'warm-up 1 of 1: a', 'warm-up 1 of 1: b', 'round 1 of 2: a',
        'round 1 of 2: b', 'round 2 of 2: a', 'round 2 of 2: b'
    ] if is_terminal else [])


def test_alternate(monkeypatch):
    """All take turns; the slow one runs less often, but three times, and
    warm-up does not count."""
    order = []

    def contestant(name, seconds):

        def run():
            order.append(name)
            return 1e3 * seconds

        return run

    monkeypatch.setattr(bench, 'time_once', lambda run, *_: run())
    runs = dict(fast=contestant('fast', 0.1), slow=contestant('slow', 5.))
    times = bench.alternate(runs, torch.device('cpu'), repeat=9, budget=2.)
    assert times == dict(fast=[100.] * 9, slow=[5000.] * 3)
    assert order[:3] == ['fast', 'slow', 'fast']
    assert ''.join(name[0] for name in order[3:]) == 'fffs' * 3
    times = bench.alternate(runs, torch.device('cpu'), repeat=2, warmup=0)
    assert times == dict(fast=[100.] * 2, slow=[5000.] * 2)


def test_peak_allocation():
    """The peak counts, not the sum, and not what was there before."""

    def run():
        first = torch.zeros(1000)
        second = torch.zeros(3000)
        del first
        return second, torch.zeros(500)

    assert bench.peak_allocation(run, torch.device('cpu')) == 16000


def peak_of_a_run():
    held = torch.ones(2**26)

    def run():
        held[:2**25] += torch.ones(2**25)

    return bench.peak_resident(run)


def test_peak_resident():
    """What a run frees again counts; what was there before does not. In a
    fresh process: this one has memory that tests before have freed."""
    found = bench.apart(peak_of_a_run)
    if found['bytes'] is None or 'loading included' in found['method']:
        pytest.skip(found['method'])
    assert 0.9 < found['bytes'] / (4 * 2**25) < 1.5


class Net(nn.Module):
    """Every kind of layer that is counted, and some that is not."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(6, 6, (3, 1), stride=2, groups=2), nn.ReLU())
        self.dkc = DeformKernelConv2d(6, 6, padding=1)
        self.tail = nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x):
        x = self.body(self.head(x))  # (2, 6, 3, 4)
        x = self.dkc(x, x.new_zeros(2, 18, 3, 4), x.new_ones(2, 18, 3, 4))
        x = self.dkc(x, x.new_zeros(2, 18, 3, 4))
        x = x @ x.transpose(-1, -2)
        return self.tail(x.mean((2, 3)))


def test_multiply_adds_and_parameters():
    """Each part has the numbers worked out by hand."""
    net, x = Net(), torch.rand(2, 3, 7, 7)
    parts = {name: getattr(net, name) for name in ('head', 'body', 'dkc')}
    with torch.no_grad():
        found = complexity.count_multiply_adds(lambda: net(x), parts)
    assert found == dict(
        head=2 * 7 * 7 * 6 * 3 * 9,
        body=2 * 3 * 4 * 6 * 3 * 3,
        dkc=2 * 6 * 3 * 4 * 9 * (9 + 5),
        rest=2 * 6 * 3 * 4 * 3 + 2 * 6 * 4)
    found = complexity.count_parameters(net, parts)
    assert found == dict(
        head=6 * 3 * 9 + 6,
        body=6 * 3 * 3 + 6,
        dkc=6 * 16 + 6,
        rest=6 * 4 + 4 + 5)


def test_deform_conv_multiply_adds():
    """As a convolution, and five for each value sampled."""
    out_shape = (2, 6, 3, 5)
    sampled = 2 * 3 * 5 * 4 * 9
    flops = complexity.deform_conv_flops((2, 4, 3, 5), (2, 36, 3, 5),
                                         (2, 18, 3, 5), (6, 2, 3, 3), (6, ),
                                         [1, 1], [1, 1], [1, 1],
                                         2,
                                         2,
                                         out_shape=out_shape)
    assert flops == 2 * (2 * 6 * 3 * 5 * 2 * 9 + 5 * sampled)


def test_measure_parts():
    """Each part gets what grows in it, in all its calls."""
    log = []

    class Step(nn.Module):

        def forward(self, x):
            log.extend(['step'] * 3)
            return x

    class Whole(nn.Module):

        def __init__(self):
            super().__init__()
            self.step, self.last = Step(), Step()

        def forward(self, x):
            log.append('own')
            return self.last(self.step(self.step(x)))

    net = Whole()
    for _ in range(2):  # the hooks of the first time are gone
        found = complexity.measure_parts(lambda: net(1), dict(step=net.step),
                                         lambda: len(log))
        assert found == dict(step=6, rest=4)
    assert not net.step._forward_hooks and not net.step._forward_pre_hooks


def test_convs_replayed():
    """The same convolutions in the same order, in layout and dtype."""
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.Conv2d(5, 4, 1),
        nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, groups=2))
    x = torch.rand(2, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    case = benchmark_model.Case('net', net, x, 'bf16')
    recorder = benchmark_model.record_convs(case)
    shapes, strides, dtypes, _ = zip(*(like
                                       for _, like, _, _ in recorder.calls))
    assert shapes == ((2, 3, 9, 9), (2, 5, 4, 4), (2, 4, 8, 8))
    assert all(stride[1] == 1 for stride in strides)
    assert set(dtypes) == {torch.bfloat16}

    with benchmark_model.complexity.ConvRecorder() as again:
        recorder.replay()()
    assert [call[1] for call in again.calls] == [c[1] for c in recorder.calls]
    for call, first in zip(again.calls, recorder.calls):
        assert call[2][0] is first[2][0]  # the network's own weights
    convs = [net[0], net[2], net[4]]
    expected = sum(
        math.prod(shape[:1] + size) * conv.weight.numel()
        for conv, shape, size in zip(convs, shapes, ((4, 4), (4, 4), (6, 6))))
    found = complexity.count_multiply_adds(recorder.replay(), {})
    assert found == dict(rest=expected)


def test_psnr():
    image = torch.full((3, 4), 0.5)
    assert benchmark_model.psnr(image, image) is None
    assert benchmark_model.psnr(image + 0.1, image) == pytest.approx(
        20, abs=1e-4)


# The network's


def test_model_results(configs, monkeypatch, tmp_path, capsys):
    """The file has all networks and dtypes, with parts that sum up."""
    out = tmp_path / 'model.json'
    run_tool(benchmark_model, monkeypatch, *configs, '--sizes', '8x6',
             '--dtype', 'fp32', 'bf16', '--repeat', 2, '--convs', '--device',
             'cpu', '--no-memory', '--channels-last', '--out', out)
    written = json.loads(out.read_text())
    assert written['baseline'] == 'plain'
    results = {(r['name'], r['dtype']): r for r in written['results']}
    assert set(results) == set(
        itertools.product(('full', 'plain'), ('fp32', 'bf16')))
    for (name, dtype), result in results.items():
        assert result['input'] == [1, 3, 3, 6, 8]
        assert result['output'] == [1, 3, 24, 32]
        median = statistics.median(result['runs_ms'])
        assert result['median_ms'] == median and len(result['runs_ms']) == 2
        assert min(result['runs_ms']) > 0
        plain = results['plain', dtype]['median_ms']
        assert result['over_baseline'] == pytest.approx(median / plain)
        fp32 = results[name, 'fp32']['median_ms']
        assert result['fp32_over'] == pytest.approx(fp32 / median)
        convs = result['convs']
        assert convs['whole_over_convs'] == pytest.approx(median /
                                                          convs['median_ms'])
        assert 'memory' not in result
        for key in ('parameters', 'multiply_adds'):
            parts = [part[key] for part in result['parts'].values()]
            assert result[key] == sum(parts) and min(parts) >= 0
    assert 20 < results['full', 'bf16']['psnr_to_fp32'] < 100
    assert 'psnr_to_fp32' not in results['full', 'fp32']
    text = capsys.readouterr().out
    assert '(random weights)' in text and 'plain bf16' in text
    check_totals(configs[0], results['full', 'fp32'])


def check_totals(config, result):
    args = benchmark_model.argparse.Namespace(
        cfg_options=None, device=torch.device('cpu'), channels_last=False)
    network = benchmark_model.build_network(str(config), None, args)
    # no part is missing, and zero weights are not
    assert result['parameters'] == sum(p.numel() for p in network.parameters())
    parts = result['parts']
    assert {'extract', 'align', 'upscale.1', 'rest'} <= set(parts)
    assert parts['extract']['parameters'] == sum(
        p.numel() for p in network.extract.parameters())
    assert parts['extract']['multiply_adds'] == (3 * 6 * 8 *
                                                 (3 * 8 + 2 * 8 * 8) * 9)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.weight.any() for conv in convs)
    # 1x1 convolutions are matrix products
    convs = [m for m in convs if not isinstance(m, PointwiseConv2d)]
    assert result['convs']['count'] >= len(convs)


def test_model_memory(configs, capsys, monkeypatch, tmp_path):
    """Memory comes from a process of its own."""
    out = tmp_path / 'model.json'
    run_tool(benchmark_model, monkeypatch, configs[1], '--sizes', '9x7',
             '--repeat', 1, '--device', 'cpu', '--threads', 1, '--cfg-options',
             'model.generator.num_frames=5', '--out', out)
    result, = json.loads(out.read_text())['results']
    assert result['input'] == [1, 5, 3, 7, 9]
    memory = result['memory']
    assert memory['method'] in capsys.readouterr().out
    if memory['bytes'] is None:
        pytest.skip(memory['method'])
    assert memory['bytes'] > 4 * 3 * 28 * 36


@pytest.mark.parametrize('train', [False, True])
def test_model_train(configs, monkeypatch, tmp_path, train):
    """A run of training has a backward pass through every parameter, and
    leaves no gradients behind."""
    seen = []
    zero_grad = nn.Module.zero_grad

    def spy(module, *args):
        seen.append([p.grad is not None for p in module.parameters()])
        zero_grad(module, *args)
        assert all(p.grad is None for p in module.parameters())

    monkeypatch.setattr(nn.Module, 'zero_grad', spy)
    run_tool(benchmark_model, monkeypatch, configs[0], '--sizes', '8x6',
             '--repeat', 2, '--device', 'cpu', '--no-memory',
             *['--train'] * train)
    assert bool(seen) == train
    assert all(gradients and all(gradients) for gradients in seen)


def test_model_accelerate(configs, monkeypatch, tmp_path, capsys):
    """Each network runs on mmcv's kernel, a module of MMagic's by MMagic's
    code and one of ours by its backend, and then on ours alone."""
    recurrent = tmp_path / 'recurrent.py'
    recurrent.write_text(
        "default_scope = 'mmagic'\n"
        "model = dict(type='BasicVSR', generator=dict(\n"
        "    type='BasicVSRPlusPlusNet', mid_channels=8, num_blocks=1))\n")
    where = []

    def watch(module, name, kind):
        function = getattr(module, name)

        def spy(*args):
            where.append(kind)
            return function(*args)

        monkeypatch.setattr(module, name, spy)

    watch(_mmcv, 'forward', 'our wrapper')
    watch(basicvsr_plusplus_net, 'modulated_deform_conv2d', 'MMagic')
    run = benchmark_model.Case.run
    seen = {}

    def run_case(case):
        where.clear()
        out = run(case)
        seen[case.name] = set(where)
        return out

    monkeypatch.setattr(benchmark_model.Case, 'run', run_case)
    out = tmp_path / 'model.json'
    run_tool(benchmark_model, monkeypatch, configs[0], recurrent, '--sizes',
             '64x64', '--frames', 3, '--repeat', 1, '--device', 'cpu',
             '--accelerate', '--no-memory', '--out', out)
    on_mmcv = benchmark_model.on_mmcv
    assert seen == {
        on_mmcv('full'): {'our wrapper'},
        on_mmcv('recurrent'): {'MMagic'},
        'full': set(),
        'recurrent': set()
    }
    results = {r['name']: r for r in json.loads(out.read_text())['results']}
    assert set(results) == set(seen)
    for name in ('full', 'recurrent'):
        before = results[on_mmcv(name)]
        assert 'mmcv_over' not in before
        assert results[name]['mmcv_over'] == pytest.approx(
            before['median_ms'] / results[name]['median_ms'])
        assert results[name]['psnr_to_mmcv'] > 90
    assert "times as fast as on mmcv's kernel" in capsys.readouterr().out


def test_model_accelerate_needs_a_deformable_convolution(
        tmp_path, monkeypatch):
    path = tmp_path / 'backbone.py'
    path.write_text(
        CONFIG.format(with_dksa=False).replace(
            'with_dksa', 'with_alignment=False, with_dksa'))
    with pytest.raises(SystemExit, match='found none in .*backbone.py: leave'):
        run_tool(benchmark_model, monkeypatch, path, '--accelerate',
                 '--device', 'cpu')


def test_model_parts_of_others():
    """Two levels down, chains whole; nothing is counted twice."""

    class Other(nn.Module):

        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(3, 4, 1)
            self.chain = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
            self.levels = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])
            self.levels[0].weight = self.levels[1].weight

    network = Other()
    parts = benchmark_model.find_parts(network)
    assert list(parts) == ['head', 'chain', 'levels.0', 'levels.1']
    assert complexity.count_parameters(network, parts) == {
        'head': 16,
        'chain': 20,
        'levels.0': 8 + 4,
        'levels.1': 2,
        'rest': 0
    }


def test_model_checkpoint(configs, tmp_path):
    """A checkpoint's weights are the network's, and stay as they are."""
    args = benchmark_model.argparse.Namespace(
        cfg_options=None, device=torch.device('cpu'), channels_last=False)
    first = benchmark_model.build_network(str(configs[0]), None, args)
    path = str(tmp_path / 'model.pth')
    state = {
        f'generator.{key}': torch.zeros_like(value)
        for key, value in first.state_dict().items()
    }
    torch.save(dict(state_dict=state), path)
    loaded = benchmark_model.build_network(str(configs[0]), path, args)
    assert not any(value.any() for value in loaded.state_dict().values())
