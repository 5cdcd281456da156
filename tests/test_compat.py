"""The check of versions, and of what runs on any system."""
import ast
import glob
import os.path as osp

import pytest
from commands import ROOT

from dksan_mm import _compat


def test_this_environment_is_fine():
    assert _compat.find_faults() == []


@pytest.mark.parametrize('name, version, message', [
    ('mmcv', '2.2.0', r'mmcv must be >=2.0.0,<2.2 .*found 2.2.0: pip install'),
    ('mmcv', '1.7.1', r'mmcv must be .*found 1.7.1'),
    ('torch', '2.5.1+cu121', r'torch must be >=2.6 .*found 2.5.1\+cu121'),
    ('mmagic', None, r'mmagic must be >=1.2.0,<2.0, found none: install it'),
])
def test_faults_say_what_was_found_and_what_to_do(monkeypatch, name, version,
                                                  message):
    installed = _compat.installed_version
    monkeypatch.setattr(
        _compat, 'installed_version', lambda package: version
        if package == name else installed(package))
    with pytest.raises(ImportError, match=message):
        _compat.check_environment()


@pytest.mark.parametrize('version', ['2.6.0', '2.11.0+cu130', '2.13.0+cpu'])
def test_versions_in_range(monkeypatch, version):
    installed = _compat.installed_version
    monkeypatch.setattr(
        _compat, 'installed_version', lambda package: version
        if package == 'torch' else installed(package))
    _compat.check_environment()


def test_mmcv_without_operators(monkeypatch):

    def fail(name):
        raise ImportError(f'No module named {name}')

    monkeypatch.setattr(_compat.importlib, 'import_module', fail)
    with pytest.raises(
            ImportError, match='mmcv must have its operators.*_ext'):
        _compat.check_environment()


def test_the_package_demands_nothing_of_pip():
    """A working MMagic environment is left as it is."""
    requires = _compat.importlib.metadata.requires('dksan_mm')
    assert not requires


def test_nothing_imports_what_one_system_has():
    """Windows has none of these modules."""
    of_unix = {'fcntl', 'grp', 'pty', 'pwd', 'resource', 'termios', 'tty'}
    paths = glob.glob(osp.join(ROOT, 'dksan_mm', '**', '*.py'), recursive=True)
    assert len(paths) > 100
    for path in paths + [osp.join(ROOT, 'tools', 'restore_video.py')]:
        with open(path) as file:
            tree = ast.parse(file.read())
        for node in tree.body:
            names = [alias.name for alias in getattr(node, 'names', [])]
            names.append(getattr(node, 'module', None))
            assert of_unix.isdisjoint(names), path
