"""What checks operators and networks on a GPU, run on the CPU."""
import os.path as osp
import sys

import pytest
import torch
from commands import ROOT
from pretended_graphs import PretendedGraphs
from tiny_networks import make_network

from dksan_mm.cli import run_tool
from dksan_mm.ops import _triton

sys.path.insert(0, osp.join(ROOT, 'tools'))
import check_gpu  # noqa: E402

CPU = torch.device('cpu')
SMALL = (2, 6, 4, 3)


@pytest.fixture(autouse=True)
def settings():
    """Restore what the tool sets for its process."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark
    yield
    cudnn.allow_tf32, cudnn.benchmark = before


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['check_gpu.py', *arguments])
    try:
        run_tool(check_gpu.parse_args, check_gpu.main)
    except SystemExit as end:
        return end.code
    return 0


def test_report(monkeypatch, tmp_path, capsys):
    """Triton, by its interpreter, the portable backend, mmcv, a network;
    three tables of times."""
    out = tmp_path / 'new' / 'gpu.md'
    assert run(monkeypatch, '--device', 'cpu', '--out', str(out)) == 0
    report = out.read_text()
    assert report in capsys.readouterr().out
    verdicts = {}
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if len(cells) == 3:
            verdicts[cells[0]] = cells[1]
    for name in ('triton', 'dksan-lite_x4, fp32', 'dksan-lite_x4, bf16'):
        assert verdicts.pop(f'{name}: CUDA graph') == 'left out'
    names = ('triton: golden cases, float64',
             'portable: golden cases, float64', 'triton: bfloat16',
             'triton: deterministic', 'mmcv: modulated, float32',
             'dksan-lite_x4, bf16')
    assert {verdicts[name] for name in names} == {'right'}
    assert 'WRONG' not in report and 'All is right.' in report
    assert '| network ' in report and '| modulated: mmcv ' in report
    table = report[report.index('| training of dksan-lite_x4, LR crops 8x8'):]
    rows = [[cell.strip() for cell in line.strip('|').split('|')]
            for line in table.splitlines()[2:6]]
    assert [row[:2] for row in rows] == [['fp32', '1'], ['fp32', '2'],
                                         ['bf16', '1'], ['bf16', '2']]
    assert all(float(cell) > 0 for row in rows for cell in row[2:])
    assert float(rows[1][3]) > 1 + float(rows[0][3])  # of twice the batch


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'PyTorch sees no GPU' in run(monkeypatch)


@pytest.mark.parametrize('key', ['out', 'grad_kernel_offset'])
@pytest.mark.parametrize('value', [1e-6, float('nan')])
def test_a_wrong_backend_is_found(key, value, monkeypatch):
    """By any of its tensors."""
    run_op = check_gpu.run_op

    def broken(*args, **kwargs):
        found = run_op(*args, **kwargs)
        found[key].view(-1)[-1] += value
        return found

    monkeypatch.setattr(check_gpu, 'run_op', broken)
    right, text = check_gpu.check_golden('portable', CPU)
    assert not right and 'relative difference' in text


def test_a_wrong_dtype_is_found(monkeypatch):
    """A kernel that computes in bfloat16 what it should in float32."""
    forward = _triton.forward
    monkeypatch.setattr(
        _triton, 'forward',
        lambda x, *args: forward(x.bfloat16(), *args).to(x.dtype))
    assert not check_gpu.check_dtype('triton', 'float32', SMALL, CPU)[0]
    assert check_gpu.check_dtype('triton', 'bfloat16', SMALL, CPU)[0]


def test_bits_that_differ_are_found(monkeypatch):
    backward = _triton.backward
    noise = torch.Generator().manual_seed(0)

    def shaken(*args):
        grad, *others = backward(*args)
        return (grad + 1e-9 * torch.rand(grad.shape, generator=noise), *others)

    monkeypatch.setattr(_triton, 'backward', shaken)
    right, text = check_gpu.check_deterministic('triton', SMALL, CPU)
    assert not right and 'unlike bits' in text
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_a_wrong_network_is_found(dtype, monkeypatch):
    convert = check_gpu.in_dtype

    def broken(network, name):
        network = convert(network, name)
        with torch.no_grad():
            network.upscale[-1].conv_last.weight.mul_(2)
        return network

    monkeypatch.setattr(check_gpu, 'in_dtype', broken)
    right, _ = check_gpu.check_network('dksan-lite_x4', dtype, (12, 10), CPU)
    assert not right


def test_a_graph_is_compared(monkeypatch):
    """And found if its results do not stay; here it is pretended."""
    pretended = PretendedGraphs().patch(monkeypatch)
    network = make_network('dksan')
    x = torch.rand(1, 3, 3, 12, 10)
    device = torch.device('cuda')
    found, expected = check_gpu.run_twice(network,
                                          check_gpu.graphed(network, device),
                                          x)
    assert check_gpu.judge_images(found, expected, 'bf16') == (True, 'equal')
    assert found.shape[0] == 2 and not torch.equal(found[0], found[1])
    assert pretended.graphs[0].replays == 2
    monkeypatch.setattr(torch, 'clone', lambda out: out)
    found, expected = check_gpu.run_twice(network,
                                          check_gpu.graphed(network, device),
                                          x)
    assert not check_gpu.judge_images(found, expected, 'bf16')[0]


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_a_step_of_training(dtype):
    """The weights move, and the network ran in the dtype."""
    model = torch.nn.Module()
    model.generator = torch.nn.Conv2d(3, 2, 1)
    model.pixel_loss = torch.nn.MSELoss()
    seen = []
    model.generator.register_forward_hook(
        lambda module, inputs, out: seen.append(out.dtype))
    before = model.generator.weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=.01)
    check_gpu.train_step(model, optimizer, torch.ones(1, 3, 4, 5), dtype)
    assert seen == [dtype or torch.float32]
    moved = (model.generator.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, .01))


def test_a_step_that_does_not_fit():
    """The others are timed all the same."""

    def step():
        raise torch.OutOfMemoryError('CUDA out of memory')

    assert check_gpu.time_steps(step, CPU, 1.) == ('out of memory', '-')


def test_a_fault_is_a_line_and_an_exit_code(monkeypatch, capsys):

    def fail():
        raise RuntimeError('no kernel image\nis available')

    monkeypatch.setattr(check_gpu, 'find_checks', lambda *args: dict(a=fail))
    for name in ('time_ops', 'time_networks', 'time_training'):
        monkeypatch.setattr(check_gpu, name, lambda *args: [['a'], ['b']])
    assert run(monkeypatch, '--device', 'cpu') == 1
    out = capsys.readouterr().out
    assert '| a | WRONG | RuntimeError: no kernel image |' in out
    assert 'Something is WRONG' in out
