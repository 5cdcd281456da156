"""Installing where the C++ kernels cannot be built."""
import os
import os.path as osp
import shutil
import subprocess
import sys

from commands import ROOT


def run(folder, *command, **environment):
    done = subprocess.run([sys.executable, *command],
                          cwd=folder,
                          env={
                              **os.environ, 'PYTHONPATH': str(folder),
                              **environment
                          },
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_without_a_compiler(tmp_path):
    """The build succeeds and says what is missing; a kernel of an earlier
    build goes; the portable backend serves, and says so once."""
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'README.md',
                 'LICENSE'):
        shutil.copy(osp.join(ROOT, name), tmp_path)
    shutil.copytree(
        osp.join(ROOT, 'dksan_mm'),
        tmp_path / 'dksan_mm',
        ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    old = tmp_path / 'dksan_mm' / 'ops' / '_C.of-an-earlier-build.so'
    old.write_bytes(b'')
    nowhere = str(tmp_path / 'no-compiler')
    built = run(
        tmp_path,
        'setup.py',
        'build_ext',
        '--inplace',
        CC=nowhere,
        CXX=nowhere)
    assert 'its C++ kernels are not built: ' in built.stderr
    assert not old.exists()

    call = ('x = deform_kernel_conv2d(torch.ones(1, 1, 2, 2), '
            'torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 2, 2), kernel_size=1)')
    # an editable installation would find its own kernels for this package
    alone = ('import sys; sys.meta_path = [finder for finder in sys.meta_path '
             "if 'editable' not in str(finder)]")
    code = (f'{alone}\nimport torch\nfrom dksan_mm.ops import *\n{call}\n'
            f'{call}\nprint(backends(), x.tolist())')
    used = run(tmp_path, '-c', code)
    assert "['portable'" in used.stdout and "'cpp'" not in used.stdout
    assert '[[[[1.0, 1.0], [1.0, 1.0]]]]' in used.stdout
    assert used.stderr.count('runs on its portable backend') == 1
    assert 'pip install --no-build-isolation' in used.stderr
