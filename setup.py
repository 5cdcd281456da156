"""Builds the operator's C++ kernels, and puts configs and tools where mim
looks for them; everything else is in setup.cfg.

The kernels are optional: where PyTorch or a C++ compiler is missing, the
package is installed without them, and the operator runs on its portable
backend.
"""
import glob
import os
import os.path as osp
import shutil
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDER = osp.join('dksan_mm', 'ops', 'csrc')
FLAGS = [
    '-O3', '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast',
    '-Wno-psabi', '-fvisibility=hidden', '-g0'
]

# what OpenMMLab's mim reads in a package, in its folder .mim
MIM = ('configs', 'tools', 'requirements', 'model-index.yml')


class BuildWithMim(build_py):
    """Adds ``dksan_mm/.mim``: copies in a wheel; links in an editable
    installation, so that mim sees what is edited."""

    def run(self) -> None:
        super().run()
        editable = getattr(self, 'editable_mode', False)
        folder = osp.join('' if editable else self.build_lib, 'dksan_mm',
                          '.mim')
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        os.makedirs(folder)
        for name in MIM:
            target = osp.join(folder, name)
            if editable:
                link(osp.join('..', '..', name), target)
            elif osp.isdir(name):
                shutil.copytree(
                    name, target, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(name, target)


def link(source: str, target: str) -> None:
    """Make a link; say so where the system does not allow any."""
    try:
        os.symlink(source, target)
    except OSError as error:
        sys.stderr.write(f'dksan_mm: mim will not find {source}, as {target} '
                         f'cannot be made a link to it: {error}. To use mim, '
                         'install without -e\n')


def remove_old_kernels() -> None:
    """Remove kernels of an earlier build: if this one fails, they would be
    loaded with another PyTorch or other sources than they were made for."""
    for path in glob.glob(osp.join('dksan_mm', 'ops', '_C.*.so')):
        os.remove(path)


def extension_options() -> dict:
    """Return setup's arguments for the kernels, none without PyTorch."""
    if sys.platform == 'win32':
        return {}  # the kernels use GCC's and Clang's vector types
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        sys.stderr.write(
            f'dksan_mm: its C++ kernels are not built: {error}. To have them, '
            'install PyTorch, then dksan_mm with --no-build-isolation\n')
        return {}

    class OptionalBuild(BuildExtension):
        """Goes on without the kernels when they cannot be built."""

        def run(self) -> None:
            remove_old_kernels()
            try:
                super().run()
            except Exception as error:  # whatever a compiler's absence raises
                sys.stderr.write('dksan_mm: its C++ kernels are not built: '
                                 f'{type(error).__name__}: {error}\n')
                self.extensions = []

    flags = list(FLAGS)
    if sys.platform != 'darwin':
        flags.append('-fopenmp')  # PyTorch's own threads
    kernels = CppExtension(
        'dksan_mm.ops._C',
        sorted(glob.glob(osp.join(FOLDER, '*.cpp'))),
        depends=glob.glob(osp.join(FOLDER, '*.h')),
        extra_compile_args=flags,
        optional=True)
    return dict(ext_modules=[kernels], cmdclass=dict(build_ext=OptionalBuild))


options = extension_options()
options.setdefault('cmdclass', {})['build_py'] = BuildWithMim
setup(**options)
