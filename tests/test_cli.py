"""The one way out of all tools."""
import argparse
import gc
import glob
import importlib
import os
import os.path as osp
import runpy
import subprocess
import sys
import types

import pytest
import torch
from commands import ROOT
from torch.utils.data import DataLoader, Dataset

from dksan_mm.apis import comparison
from dksan_mm.cli import (add_debug_argument, convert, describe, imports,
                          restore, run_tool)
from dksan_mm.cli.__main__ import COMMANDS
from dksan_mm.cli.__main__ import main as dksan
from dksan_mm.datasets import reduction
from dksan_mm.evaluation import lpips_weights
from dksan_mm.utils.files import OutputError
from dksan_mm.video import options as video_options
from dksan_mm.video import storage

TOOLS = sorted({
    *glob.glob(f'{ROOT}/tools/*.py'), *glob.glob(f'{ROOT}/tools/*/*.py'),
    *glob.glob(f'{ROOT}/tools/*/*/*.py')
} - {f'{ROOT}/tools/check_env.py'})


class Damaged(Dataset):
    """Raises in a data loader's process."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        if self.ours:
            raise OutputError('a.png could not be written; free disk space')
        return torch.zeros(2).view(3)


def raised(call):
    with pytest.raises(Exception) as error:
        call()
    return error.value


def test_errors_of_ours_are_shown_as_they_are():
    assert describe(OutputError('a.png: full')) == 'a.png: full'

    def refuse():
        exec("raise ValueError('x must be 1')",
             dict(__name__='dksan_mm.results.report'))

    assert describe(raised(refuse)) == 'x must be 1'


def test_errors_of_others_name_their_kind_and_where_the_traceback_is():
    error = raised(lambda: int('abc', 99))
    assert describe(error) == (
        'ValueError: int() base must be >= 2 and <= 36, or 0; run it again '
        'with --debug to see where')
    assert describe(raised(lambda: {}['a']),
                    'x.log') == ("KeyError: 'a'; its traceback is in x.log")


@pytest.mark.parametrize('ours', [True, False])
def test_errors_of_a_data_loader_are_one_sentence(ours):
    dataset = Damaged()
    dataset.ours = ours
    text = describe(raised(lambda: list(DataLoader(dataset, num_workers=1))))
    assert '\n' not in text
    assert ('shape' in text) == (not ours)
    assert (text == 'a.png could not be written; free disk space') == ours


@pytest.mark.parametrize('args, code', [([], 1), (['--debug'], 1),
                                        (['--wrong'], 2)])
def test_exit_code_and_debug(args, code, monkeypatch, capsys):

    def parse_args():
        parser = argparse.ArgumentParser()
        add_debug_argument(parser)
        return parser.parse_args()

    def main(args):
        raise OutputError('a.png: full')

    monkeypatch.setattr(sys, 'argv', ['tools/tool.py', *args])
    if args == ['--debug']:
        with pytest.raises(OutputError):
            run_tool(parse_args, main)
        return
    with pytest.raises(SystemExit) as error:
        run_tool(parse_args, main)
    expected = 'tool.py: a.png: full' if code == 1 else code
    assert error.value.code == expected


def test_ctrl_c(monkeypatch):

    def main(args):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as error:
        run_tool(lambda: argparse.Namespace(debug=False), main)
    assert error.value.code == 130


@pytest.mark.parametrize('error', [None, ImportError])
def test_imports_without_the_garbage_collector(error):
    """It never looks at what they leave, and then it is at work again."""
    before = gc.get_freeze_count()
    raised = None
    try:
        with imports():
            assert not gc.isenabled()
            left = [[number] for number in range(1000)]
            if error is not None:
                raise error('no such module')
    except ImportError as caught:
        raised = type(caught)
    assert raised is error and gc.isenabled()
    assert gc.get_freeze_count() >= before + len(left)


def test_imports_leave_a_collector_alone_that_does_not_run():
    gc.disable()
    try:
        with imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize('name, module', [
    ('train', 'dksan_mm.engine.training'),
    ('test', 'dksan_mm.engine.testing'),
    ('export', 'dksan_mm.export.command'),
])
def test_commands_import_so_and_then_work(name, module, monkeypatch):
    found = {}

    class Module(types.ModuleType):

        def __getattr__(self, attribute):
            found['imported'] = gc.isenabled()
            return lambda args: found.update(worked=gc.isenabled())

    monkeypatch.setitem(sys.modules, module, Module(module))
    importlib.import_module(f'dksan_mm.cli.{name}').main(None)
    assert found == dict(imported=False, worked=True)


@pytest.mark.parametrize('path', TOOLS, ids=osp.basename)
def test_every_tool_ends_by_it(path):
    with open(path) as file:
        source = file.read()
    own = source.rpartition("if __name__ == '__main__':")[2]
    assert 'run_tool(' in own or 'main_numbered(' in own
    # errors are shown in one place
    assert 'except (OSError, ValueError)' not in source


@pytest.mark.parametrize('path', TOOLS, ids=osp.basename)
def test_tools_start_without_the_warnings_of_others(path, tmp_path):
    """From any folder, by their path."""
    environment = {**os.environ, 'PYTHONPATH': ROOT}
    environment.pop('PYTHONWARNINGS', None)
    result = subprocess.run([sys.executable, path, '--help'],
                            cwd=tmp_path,
                            env=environment,
                            capture_output=True,
                            text=True)
    assert (result.returncode, result.stderr) == (0, '')


def test_a_tool_as_a_user_starts_it(tmp_path):
    (tmp_path / 'a.json').write_text('[1]')
    result = subprocess.run(
        [sys.executable, f'{ROOT}/tools/report.py', tmp_path / 'a.json'],
        capture_output=True,
        text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f'report.py: {tmp_path}/a.json must be')
    assert 'Traceback' not in result.stderr


def help_without_pytorch(start, folder, *words):
    """Return what the help prints; that it imports nothing heavy is
    checked."""
    code = (f'import runpy, sys\nsys.argv[1:1] = {words!r}\n'
            f'try:\n    {start}\nexcept SystemExit as end:\n'
            '    assert not end.code, end.code\n'
            "heavy = {'torch', 'mmengine', 'mmcv', 'mmagic', 'av', 'cv2'}\n"
            'assert not heavy & {*sys.modules}, heavy & {*sys.modules}')
    result = subprocess.run([sys.executable, '-c', code, '--help'],
                            cwd=folder,
                            env={
                                **os.environ, 'PYTHONPATH': ROOT
                            },
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize('name', COMMANDS)
def test_help_needs_no_pytorch(name, tmp_path):
    """So that it is quick, wherever it is called."""
    start = "runpy.run_module('dksan_mm.cli', run_name='__main__')"
    assert help_without_pytorch(start, tmp_path,
                                name).startswith(f'usage: dksan {name} ')


@pytest.mark.parametrize(
    'path', [
        path for path in TOOLS
        if osp.basename(path).startswith(('preprocess_', 'fetch_'))
    ],
    ids=osp.basename)
def test_help_of_other_tools_needs_no_pytorch(path, tmp_path):
    start = f"runpy.run_path({path!r}, run_name='__main__')"
    assert help_without_pytorch(start, tmp_path).startswith('usage: ')


def test_every_command_is_a_tool_too():
    for name in COMMANDS:
        assert any(f'from dksan_mm.cli.{name} import' in open(path).read()
                   for path in [*TOOLS, f'{ROOT}/tools/check_env.py'])


def test_command_line_of_dksan(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['dksan', 'restor'])
    with pytest.raises(SystemExit) as error:
        dksan()
    assert error.value.code == 2
    assert "there is no command 'restor'" in capsys.readouterr().err
    for arguments, text in (([], 'usage: dksan COMMAND'), (['--version'],
                                                           'dksan_mm ')):
        monkeypatch.setattr(sys, 'argv', ['dksan', *arguments])
        dksan()
        assert capsys.readouterr().out.startswith(text)


def test_choices_are_those_of_the_work():
    """They are said apart, as what works imports much."""
    assert restore.COMPARISONS == comparison.MODES
    assert restore.SOUND_CODINGS == video_options.SOUND_CODINGS
    assert restore.STREAM_KINDS == video_options.STREAM_KINDS
    assert convert.CROPS == reduction.CROPS
    assert convert.STORAGES == storage.STORAGES
    tool, = (path for path in TOOLS if 'fetch_lpips' in path)
    assert runpy.run_path(tool)['NETS'] == lpips_weights.NETS


def test_the_command_that_goes_on(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    for program, expected in (('dksan restore', 'dksan restore'),
                              ('tools/restore_video.py',
                               'python tools/restore_video.py')):
        monkeypatch.setattr(sys, 'argv', [program, 'a', 'in file', 'out'])
        assert restore.resume_command() == (
            f"{expected} a 'in file' out --resume")
        monkeypatch.setattr(sys, 'argv', [program, 'a', '--', '-in', 'out'])
        assert restore.resume_command() == f'{expected} a --resume -- -in out'


def test_any_name_can_be_printed():
    program = (
        'import argparse; from dksan_mm.cli import run_tool; '
        "run_tool(argparse.Namespace, lambda args: print('caf\\udce9'))")
    found = subprocess.run([sys.executable, '-c', program],
                           env={
                               **os.environ, 'PYTHONIOENCODING': 'utf-8'
                           },
                           capture_output=True)
    assert (found.returncode, found.stdout) == (0, b'caf\\udce9\n')
