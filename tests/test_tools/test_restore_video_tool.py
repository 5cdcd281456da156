"""The command: a shell over restore_video, several processes, Ctrl-C."""
import json
import os
import os.path as osp
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest
import torch
from commands import ROOT, free_port, run
from pretended_graphs import PretendedGraphs
from raw_material import make_frames, write_folder, write_video
from tiny_model import data, write_tiny

from dksan_mm.apis import network, probe
from dksan_mm.apis.cuda_graphs import CudaGraphs
from dksan_mm.apis.options import RestoreOptions
from dksan_mm.cli import restore as tool
from dksan_mm.cli import run_tool

sys.path.insert(0, osp.join(ROOT, 'tools'))
import benchmark_restorer  # noqa: E402
import benchmark_video  # noqa: E402

TOOL = 'tools/restore_video.py'
# --dtype: the same bits in every run
OPTIONS = ('--dtype', 'fp32', '--codec', 'ffv1', '--lossless',
           '--no-scene-cuts')
# a network that takes its time, so that a signal finds it at work
SLOW = '''
import time
from mmagic.registry import MODELS
from dksan_mm.models import BicubicUpsampler

@MODELS.register_module()
class SlowUpsampler(BicubicUpsampler):

    def forward(self, x):
        time.sleep(.2)
        return super().forward(x)
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with configs, a checkpoint and a video."""
    folder = tmp_path_factory.mktemp('tool')
    write_tiny(folder)
    (folder / 'slow_network.py').write_text(SLOW)
    (folder / 'slow.py').write_text(
        "custom_imports = dict(imports=['dksan_mm.models', 'slow_network'])\n"
        "model = dict(type='BaseEditModel', generator=dict(\n"
        "    type='SlowUpsampler', scale=2), pixel_loss=dict(type='L1Loss'))\n"
    )
    write_video(folder / 'in.mp4', make_frames(31, (18, 22)))
    return folder


@pytest.fixture(scope='module')
def alone(folder):
    """Return the result of one process."""
    result = run(sys.executable, TOOL, *command(folder, 'alone.mkv'))
    return folder / 'alone.mkv', result


def command(folder, output, *options):
    return [
        str(part) for part in (folder / 'tiny.py', folder / 'tiny.pth',
                               folder / 'in.mp4', folder / output, '--segment',
                               4, *OPTIONS, *options)
    ]


def test_one_process(alone):
    path, result = alone
    assert f'{path}: 31 frames, 31 of them restored in ' in result.stdout
    assert '0 scene cuts found' in result.stdout
    assert '31/31' in result.stderr and 'frame/s' in result.stderr
    found = probe(str(path))
    assert (found.width, found.height, found.num_frames) == (44, 36, 31)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_two_processes_equal_one(folder, alone):
    """torchrun: the same bits, and each made a part."""
    result = run('torchrun', '--nproc_per_node', 2, '--master_port',
                 free_port(), TOOL, *command(folder, 'two.mkv'))
    assert data(folder / 'two.mkv') == data(alone[0])
    assert 'process 1 of 2' in result.stderr
    assert result.stdout.count('31 of them restored') == 1
    assert not osp.exists(folder / 'two.mkv.partial')


def test_ctrl_c_and_the_command_that_it_names(folder, tmp_path):
    """SIGINT: exit code 130, a state that can be gone on with."""
    output = tmp_path / 'out.mp4'
    arguments = [folder / 'slow.py', 'none', folder / 'in.mp4', output]
    arguments = [*map(str, arguments), '--segment', '4', '--device', 'cpu']
    process = subprocess.Popen([sys.executable, TOOL, *arguments],
                               cwd=ROOT,
                               env=dict(
                                   os.environ,
                                   PYTHONPATH=str(folder),
                                   PYTHONWARNINGS='ignore'),
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               text=True)
    segment = tmp_path / 'out.mp4.partial/segment_00001.mkv'
    deadline = time.monotonic() + 600
    while (not segment.exists() and process.poll() is None
           and time.monotonic() < deadline):
        time.sleep(.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert 'Traceback' not in errors
    assert not output.exists() and segment.exists()
    line = errors.splitlines()[-1].split()
    assert line[:2] == ['python', TOOL] and line[-1] == '--resume'
    result = run(sys.executable, *line[1:], PYTHONPATH=str(folder))
    assert 'segments were there already' in result.stdout
    assert probe(str(output)).num_frames == 31
    assert os.listdir(tmp_path) == ['out.mp4']


def test_nothing_of_an_estimate_is_kept(monkeypatch, capsys):

    def restore(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('dksan_mm.apis.command.restore', restore)
    monkeypatch.setattr(sys, 'argv', [TOOL, 'c', 'p', 'i', 'o', '--estimate'])
    with pytest.raises(SystemExit) as end:
        tool.main(tool.parse_args())
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith(': stopped\n')


def test_errors_are_a_line(folder, alone):
    result = run(
        sys.executable, TOOL, *command(folder, 'alone.mkv'), check=False)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert 'restore_video.py: ' in result.stderr
    assert 'alone.mkv already exists' in result.stderr


def parse(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [TOOL, 'c', 'p', 'i', 'o', *arguments])
    return vars(tool.parse_args())


def test_what_is_left_out_is_left_to_the_function(monkeypatch):
    """So that there is one place for the defaults."""
    assert {*parse(monkeypatch)} == {
        'config', 'checkpoint', 'input', 'output', 'resume', 'overwrite',
        'segment', 'compare', 'fps', 'device', 'quiet', 'start', 'duration',
        'height', 'width', 'estimate', 'strict', 'video_stream', 'debug'
    }
    found = parse(monkeypatch, '--no-scene-cuts', '--self-ensemble', '--crf',
                  '12', '--fps', '24000/1001')
    assert found['scene_threshold'] is None and found['ensemble'] is True
    assert found['crf'] == 12 and str(found['fps']) == '24000/1001'
    with pytest.raises(SystemExit):
        parse(monkeypatch, '--no-scene-cuts', '--scene-threshold', '1')


def test_every_option_of_the_command_is_one_of_the_function(monkeypatch):
    found = parse(monkeypatch, '--dtype', 'bf16', '--compile', '--cuda-graph',
                  '--batch', '2', '--tile', '64', '--tile-overlap', '4',
                  '--max-memory', '1', '--scene-threshold', '1',
                  '--self-ensemble', '--codec', 'libx264', '--crf', '12',
                  '--preset', 'slow', '--pix-fmt', 'yuv444p', '--lossless',
                  '--leave-out', 'audio', 'subtitle', '--extra', 'bf=2',
                  '--leave-out', 'data', '--extra', 'x264-params=a=1:b=2')
    assert found['leave_out'] == ['audio', 'subtitle', 'data']
    assert found['extra'] == [('bf', '2'), ('x264-params', 'a=1:b=2')]
    known = {field.name for field in fields(RestoreOptions)}
    # and the other way round: but for what is said by --quiet, or chosen
    assert {*found} - {
        'config', 'checkpoint', 'input', 'output', 'quiet', 'estimate', 'debug'
    } == known - {'progress', 'threads', 'audio'}


@pytest.mark.parametrize('text, seconds', [('90', 90), ('1:30', 90),
                                           ('0:01:30.5', 90.5)])
def test_times(monkeypatch, text, seconds):
    assert parse(monkeypatch, '--start', text)['start'] == seconds


@pytest.mark.parametrize('text',
                         ['1/0', '-0:30', '1:-30', '1:2:3:4', '1:', ''])
def test_no_times(monkeypatch, capsys, text):
    with pytest.raises(SystemExit):
        parse(monkeypatch, f'--start={text}')
    assert 'argument --start: invalid seconds value' in capsys.readouterr().err


def test_options_anywhere(monkeypatch):
    monkeypatch.setattr(
        sys, 'argv',
        [TOOL, 'dksan-lite_x4', '--height', '9', 'in', '--crf', '3', 'out'])
    found = vars(tool.parse_args())
    assert (found['input'], found['output']) == ('in', 'out')
    assert (found['height'], found['crf']) == (9, 3)


def test_a_network_by_name(monkeypatch, capsys):
    """NAME INPUT OUTPUT, or CONFIG CHECKPOINT INPUT OUTPUT."""
    monkeypatch.setattr(sys, 'argv',
                        ['restore_video.py', 'dksan-lite_x4', 'in', 'out'])
    found = vars(tool.parse_args())
    assert (found['config'], found['checkpoint']) == ('dksan-lite_x4', None)
    assert (found['input'], found['output']) == ('in', 'out')
    for words, message in ((['dksan-lite_4', 'in',
                             'out'], 'did you mean dksan-lite_x4'),
                           (['in', 'out'], 'got 2: in out')):
        monkeypatch.setattr(sys, 'argv', ['restore_video.py', *words])
        with pytest.raises(SystemExit):
            tool.parse_args()
        assert message in capsys.readouterr().err


# The benchmark: that it runs, and what it counts


def test_benchmark(monkeypatch, tmp_path, folder, capsys):
    out = tmp_path / 'video.json'
    monkeypatch.setattr(sys, 'argv', [
        'benchmark_video', '--config',
        str(folder / 'tiny.py'), '--full-config',
        str(folder / 'tiny.py'), '--size', '24x18', '--frames', '4',
        '--presets', 'medium', 'ultrafast', '--memory-size', '24x18',
        '--memory-frames', '3', '6', '--repeat', '2', '--device', 'cpu',
        '--threads', '1', '--processes', '2', '--out',
        str(out)
    ])
    monkeypatch.setattr(benchmark_video, 'keep_freed_memory', lambda: True)
    run_tool(benchmark_video.parse_args, benchmark_video.main)
    results = json.loads(out.read_text())
    ms = results['overhead']['ms_a_frame']
    assert 0 < ms['network'] < ms['windows']
    assert results['overhead']['not_network'] == {
        preset: pytest.approx(1 - ms['network'] / ms[preset])
        for preset in ('medium', 'ultrafast')
    }
    shared = [f'{preset}, 2 processes' for preset in ('medium', 'ultrafast')]
    assert results['overhead']['over_network'] == {
        name: pytest.approx(ms[name] / ms['network'])
        for name in ('medium', 'ultrafast', *shared)
    }
    assert len(results['overhead']['runs_ms']['network']) == 2
    peaks = results['memory']['peak_bytes']
    assert set(peaks) == {'3', '6'}
    images = results['images']
    steps = {
        'levels to float', 'float to levels', 'scene cuts', 'comparison',
        'encoding, medium', 'encoding, ultrafast'
    }
    assert {*images['ms_a_frame']} == steps and images['size'] == [24, 18]
    for name, ms in images['ms_a_frame'].items():
        assert ms == min(images['runs_ms'][name]) / 4
        assert images['of_frame'][name] == pytest.approx(ms /
                                                         images['frame_ms'])
    assert results['memory']['longest_over'] == peaks['6'] / peaks['3']
    for how in ('tool', 'default'):
        assert results['peak'][how]['bytes'] > 0
    text = capsys.readouterr().out
    assert 'file to file, ultrafast' in text
    assert 'longest over shortest' in text


def test_benchmark_of_ways(monkeypatch, tmp_path, folder, capsys):
    out = tmp_path / 'ways.json'
    ways = ['alone', 'bf16', 'batch=2', '24/8', 'max-memory=0.02']
    monkeypatch.setattr(sys, 'argv', [
        'benchmark_restorer',
        str(folder / 'tiny.py'),
        str(folder / 'tiny.pth'), '--size', '60x44', '--frames', '4', '--ways',
        *ways, '--repeat', '2', '--device', 'cpu', '--threads', '1', '--out',
        str(out)
    ])
    monkeypatch.setattr(benchmark_restorer, 'keep_freed_memory', lambda: True)
    run_tool(benchmark_restorer.parse_args, benchmark_restorer.main)
    found = json.loads(out.read_text())
    assert found['size'] == [60, 44] and found['frames'] == 4
    rows = found['ways']
    whole = rows.pop('whole')
    assert [*rows] == ways
    for row in rows.values():
        assert len(row['runs_ms']) == 2 and row['ms_a_frame'] > 0
    # the network is of 5 frames, and what is extracted of one is kept
    adds = {way: row['multiply_adds_a_frame'] for way, row in rows.items()}
    assert adds['alone'] > adds['bf16'] == adds['batch=2'] == whole[
        'multiply_adds_a_frame'] > 0
    assert rows['alone']['psnr'] is None
    assert rows['alone']['largest_difference'] == 0
    assert 40 < rows['bf16']['psnr'] < rows['batch=2']['psnr']
    assert rows['24/8']['tile'] == 24
    assert 0 < rows['24/8']['largest_difference'] < 255
    assert rows['24/8']['peak_bytes'] < whole['peak_bytes']
    assert '| 24/8 ' in capsys.readouterr().out


def test_benchmark_of_graphs(monkeypatch, folder):
    """Here they are pretended; their memory is that of a first run."""
    PretendedGraphs().patch(monkeypatch)
    monkeypatch.setattr(network, 'CudaGraphs',
                        lambda device: CudaGraphs(torch.device('cuda')))
    monkeypatch.setattr(sys, 'argv', [
        'benchmark_restorer',
        str(folder / 'tiny.py'),
        str(folder / 'tiny.pth'), '--size', '24x18', '--frames', '3', '--ways',
        'alone', '--repeat', '1', '--device', 'cpu', '--threads', '1'
    ])
    args = benchmark_restorer.parse_args()
    args.ways = ['graph']
    found = benchmark_restorer.measure(args, str(folder))['ways']
    assert found['graph']['psnr'] is None  # equal bits
    assert found['graph']['multiply_adds_a_frame'] is None
    assert found['graph']['peak_bytes'] > found['whole']['peak_bytes']


def test_benchmark_reads_the_middle(tmp_path):
    frames = make_frames(2, (21, 30))
    write_folder(tmp_path / 'in', frames)
    read = list(benchmark_restorer.read_middle(str(tmp_path / 'in'), (10, 8)))
    np.testing.assert_array_equal(read, frames[:, 6:14, 10:20])
    with pytest.raises(ValueError, match='--size must.* 30x21, got 31x8'):
        next(benchmark_restorer.read_middle(str(tmp_path / 'in'), (31, 8)))


@pytest.mark.parametrize('way, message', [
    ('tiles', "--ways must be .*got 'tiles'"),
    ('batch=x', "--ways must be .*got 'batch=x'"),
    pytest.param(
        'graph',
        '--ways graph needs a GPU, got cpu',
        marks=pytest.mark.skipif(
            torch.cuda.is_available(), reason='there is a GPU')),
    ('30/16', 'tile_overlap must be from 0 to half of the tile, 30, got 16'),
])
def test_benchmark_of_ways_exceptions(way, message, monkeypatch, folder,
                                      capsys):
    monkeypatch.setattr(sys, 'argv', [
        'benchmark_restorer',
        str(folder / 'tiny.py'), '--size', '24x18', '--ways', way
    ])
    monkeypatch.setattr(benchmark_restorer, 'keep_freed_memory', lambda: True)
    with pytest.raises(SystemExit) as error:
        run_tool(benchmark_restorer.parse_args, benchmark_restorer.main)
    assert re.search(message, f'{error.value}{capsys.readouterr().err}')


def test_network_clock_counts_the_network_alone(monkeypatch):
    now = 0

    def spend(seconds):
        nonlocal now
        now += seconds

    class Network(torch.nn.Module):

        def forward(self, x):
            spend(2)
            return self.restore_features(x)

        def restore_features(self, x):
            spend(3)
            return x

    monkeypatch.setattr(benchmark_video.time, 'perf_counter', lambda: now)
    network = Network()
    clock = benchmark_video.NetworkClock(network, torch.device('cpu'))
    network(torch.zeros(1))  # the inner call is not counted twice
    spend(10)
    assert clock.seconds == 5
    network.restore_features(torch.zeros(1))
    assert clock.seconds == 8


@pytest.mark.parametrize('arguments, message', [
    (('--fps', '1/0'), 'argument --fps: invalid .* value: .1/0.'),
    (('--max-memory', 'inf'), 'argument --max-memory: invalid .* .inf.'),
    (('--max-memory', '0'), 'argument --max-memory: invalid .* .0.'),
    (('--extra', 'bf'), 'argument --extra: invalid .* .bf.'),
])
def test_arguments_exception(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['restore_video', *'abcd', *arguments])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert re.search(message, capsys.readouterr().err)
