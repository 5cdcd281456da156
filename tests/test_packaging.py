"""What a source distribution, a wheel and an editable installation hold."""
import importlib.util
import json
import os
import os.path as osp
import shutil
import subprocess
import sys
import zipfile

import pytest
from commands import ROOT
from raw_material import write_dataset

from dksan_mm import weights

needs_mim = pytest.mark.skipif(
    importlib.util.find_spec('mim') is None,
    reason='openmim is not installed; it wants older packages than this '
    'environment has, so install it in one of its own')
TRACKED = ('setup.py', 'setup.cfg', 'pyproject.toml', 'MANIFEST.in', 'LICENSE',
           'README.md', 'model-index.yml', '.gitignore', 'configs', 'tools',
           'requirements', 'dksan_mm')


def copy_sources(folder):
    """Copy what is built from, without what builds have left."""
    ignore = shutil.ignore_patterns('__pycache__', '*.so', '.mim')
    for name in TRACKED:
        path = osp.join(ROOT, name)
        if osp.isdir(path):
            shutil.copytree(path, folder / name, ignore=ignore)
        else:
            shutil.copy(path, folder / name)


def build(source, kind, out):
    """Build by PEP 517's interface, as pip and build do, without kernels;
    return the file."""
    nowhere = str(source / 'no-compiler')
    code = ('import sys; from setuptools import build_meta; '
            f'build_meta.build_{kind}(sys.argv[1])')
    done = subprocess.run(
        [sys.executable, '-c', code, str(out)],
        cwd=source,
        env=dict(os.environ, CC=nowhere, CXX=nowhere),
        capture_output=True,
        text=True)
    assert done.returncode == 0, done.stderr
    path, = out.iterdir()
    return path


def files_in(folder):
    """Return the files of a folder, and of its folders, by relative path."""
    return {
        osp.relpath(osp.join(parent, name), folder)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names if osp.basename(parent) != '__pycache__'
    }


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Return a folder with the files of a wheel, built from an sdist."""
    folder = tmp_path_factory.mktemp('packaging')
    for name in ('source', 'sdist', 'wheel'):
        (folder / name).mkdir()
    copy_sources(folder / 'source')
    sdist = build(folder / 'source', 'sdist', folder / 'sdist')
    shutil.unpack_archive(str(sdist), str(folder / 'unpacked'))
    unpacked, = (folder / 'unpacked').iterdir()
    # as an earlier build may have left it
    stale = unpacked / 'build' / 'lib' / 'dksan_mm' / '.mim' / 'stale.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    wheel = build(unpacked, 'wheel', folder / 'wheel')
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / 'installed')
    return folder / 'installed'


def test_networks_in_a_wheel(installed):
    """Every file is in it; loading needs neither the clone nor MMagic."""
    code = ('from dksan_mm import weights; import sys; '
            'print([(name, len(weights.read_state_dict(weights.path_of(name)))'
            ') for name in weights.names()]); '
            "assert 'mmagic' not in sys.modules; print(weights.FOLDER)")
    found = subprocess.run([sys.executable, '-c', code],
                           cwd=installed,
                           env=dict(PATH='', PYTHONPATH=''),
                           check=True,
                           capture_output=True,
                           text=True).stdout
    assert str(installed) in found
    for name in weights.names():
        assert f"('{name}', " in found


def test_a_wheel_holds_what_mim_reads(installed):
    """Configs, tools and the index, all of them, and nothing else."""
    mim = installed / 'dksan_mm' / '.mim'
    assert {path.name
            for path in mim.iterdir()
            } == {'configs', 'tools', 'requirements', 'model-index.yml'}
    for name in ('configs', 'tools', 'requirements'):
        assert files_in(mim / name) == files_in(osp.join(ROOT, name))
    assert (mim / 'model-index.yml').read_bytes() == open(
        osp.join(ROOT, 'model-index.yml'), 'rb').read()


def test_an_editable_installation(tmp_path):
    """mim finds the files that are edited, and git sees nothing new."""
    (tmp_path / 'source').mkdir()
    (tmp_path / 'wheel').mkdir()
    source = tmp_path / 'source'
    copy_sources(source)
    git = ('git', '-C', str(source), '-c', 'user.name=a', '-c', 'user.email=a')
    subprocess.run([*git, 'init', '-q'], check=True)
    subprocess.run([*git, 'add', '-A'], check=True)
    subprocess.run([*git, 'commit', '-q', '-m', 'all'], check=True)
    # as an earlier installation leaves it
    (source / 'dksan_mm' / '.mim').mkdir()
    os.symlink('../../tools', source / 'dksan_mm' / '.mim' / 'tools')
    build(source, 'editable', tmp_path / 'wheel')
    for name in ('configs', 'tools', 'requirements', 'model-index.yml'):
        assert osp.samefile(source / name, source / 'dksan_mm' / '.mim' / name)
    status = subprocess.run([*git, 'status', '--porcelain'],
                            check=True,
                            capture_output=True,
                            text=True).stdout
    assert status == ''


@needs_mim
class TestMim:

    @pytest.fixture
    def mim(self, installed, tmp_path):
        """Return what runs mim with the wheel, in an empty folder."""

        def run(*arguments):
            done = subprocess.run([
                sys.executable, '-c', 'from mim.__main__ import cli; cli()',
                *arguments
            ],
                                  cwd=tmp_path,
                                  env=dict(
                                      os.environ,
                                      PYTHONPATH=str(installed),
                                      HOME=str(tmp_path)),
                                  capture_output=True,
                                  text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return run

    def test_search(self, mim, tmp_path):
        mim('search', 'dksan_mm', '--json', 'found.json')
        found = json.loads((tmp_path / 'found.json').read_text())
        parameters, model = found['parameters'], found['model']
        assert {*weights.names(), 'dksan_reds_x4'} <= {*parameters}
        assert parameters['dksan-lite_x4'] == 892_718
        assert model['dksan-lite_x4'] == model['dksan_reds_x4'] == 'dksan'

    def test_train_and_test(self, mim, installed, tmp_path):
        """By the names of configs, from the wheel."""
        write_dataset(
            tmp_path / 'data' / 'quickstart',
            dict(train={'000': 7}, val={'001': 7}, test={'001': 7}),
            scale=16,
            size=(16, 16))
        options = [
            '--cfg-options', 'train_cfg.max_iters=1',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'train_dataloader.batch_size=1', 'log_level=ERROR'
        ]
        config = 'dksan-small_quickstart_x16.py'
        said = mim('train', 'dksan_mm', config, '--gpus', '0', *options)
        where = installed / 'dksan_mm' / '.mim' / 'configs' / config
        assert f'will use {where} instead' in said
        work_dir = tmp_path / 'work_dirs' / 'dksan-small_quickstart_x16'
        said = mim('test', 'dksan_mm', config, '--checkpoint',
                   str(work_dir / 'iter_1.pth'), '--gpus', '0', '--out',
                   'metrics.json')
        assert 'PSNR' in (tmp_path / 'metrics.json').read_text()

    def test_download(self, mim, installed, tmp_path):
        """The weights are in the wheel: where they are in place, mim fetches
        nothing, and writes the whole config beside them."""
        source = installed / 'dksan_mm' / 'weights'
        shutil.copy(source / 'dksan-lite_x4.safetensors', tmp_path)
        mim('download', 'dksan_mm', '--config', 'dksan-lite_x4', '--dest', '.')
        text = (tmp_path / 'dksan-lite_x4.py').read_text()
        assert "experiment_name = 'dksan-lite_x4'" in text
        assert '_base_' not in text
