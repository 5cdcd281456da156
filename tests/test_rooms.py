"""What a room must not load: the rooms of CONTRIBUTING.md."""
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from commands import ROOT

from dksan_mm.video import check_av

HEAVY = ('torch', 'mmengine', 'mmcv', 'mmagic')
LIGHT = ('results.report', 'results.tables_public', 'results.tables_formats',
         'results.paired', 'utils.files', 'utils.locking', 'utils.quality',
         'video.clips', 'video.encoding', 'video.images', 'video.joining',
         'video.reader', 'video.storage')


def load(modules, without):
    """Import modules of the package where others cannot be."""
    code = ('import importlib, sys\n'
            f'sys.modules.update(dict.fromkeys({without!r}))\n'
            f'for name in {modules!r}:\n'
            "    importlib.import_module('dksan_mm.' + name)\n")
    return subprocess.run([sys.executable, '-c', code],
                          cwd=ROOT,
                          capture_output=True,
                          text=True)


def test_results_and_videos_need_no_pytorch():
    result = load(LIGHT, HEAVY)
    assert result.returncode == 0, result.stderr
    # the same says no of one that does
    assert 'torch' in load(('utils.precision', ), HEAVY).stderr


@pytest.mark.parametrize('version, fits', [('19.0.2', False),
                                           ('17.0.1', False), ('9.2', False),
                                           ('17.1.0', True), ('18.1.0', True)])
def test_versions_of_pyav(version, fits, monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: version)
    if fits:
        return check_av()
    with pytest.raises(
            ImportError, match=f"found {version}: .* 'av>=17.1,<19'"):
        check_av()


@pytest.mark.parametrize('room', ['clips', 'compression', 'options', 'source'])
def test_another_pyav_is_refused_where_it_is_used(room):
    """And nowhere else: training does without it."""
    code = ('from importlib import metadata\n'
            "metadata.version = lambda name: '16.1.0'\n"
            'import dksan_mm.video.storage\n'
            f'import dksan_mm.video.{room}\n')
    result = subprocess.run([sys.executable, '-c', code],
                            cwd=ROOT,
                            capture_output=True,
                            text=True)
    assert 'line 4' in result.stderr
    assert 'ImportError: PyAV must be at least 17.1' in result.stderr


@pytest.mark.parametrize('tool', ['report.py', 'benchmark_tables.py'])
def test_report_and_tables_need_no_pytorch(tool):
    code = ('import runpy, sys\n'
            f"sys.modules.update(dict.fromkeys({('av', *HEAVY)!r}))\n"
            f"sys.argv = ['tools/{tool}', 'none.json']\n"
            f"runpy.run_path('tools/{tool}', run_name='__main__')\n")
    result = subprocess.run([sys.executable, '-c', code],
                            cwd=ROOT,
                            capture_output=True,
                            text=True)
    assert result.returncode == 1
    assert 'none.json does not exist' in result.stderr


def test_tables_need_no_pyav():
    modules = [name for name in LIGHT if name.startswith(('results', 'utils'))]
    result = load(modules, ('av', *HEAVY))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('without,modules', [
    (('av', ), ('models', 'datasets', 'evaluation', 'engine',
                'engine.training', 'engine.testing')),
    (('dksan_mm.engine', ), ('models', )),
])
def test_training_needs_no_pyav_and_models_no_engine(without, modules):
    result = load(modules, without)
    assert result.returncode == 0, result.stderr


def test_rooms_import_no_later_room():
    """In the order of CONTRIBUTING.md; nor when they run."""
    order = (('utils', ), ('ops', 'weights'), ('video', ), ('results', ),
             ('models', 'datasets'), ('evaluation', 'engine'), ('export', ),
             ('apis', ), ('cli', ))
    places = {room: i for i, rooms in enumerate(order) for room in rooms}
    package = Path(ROOT, 'dksan_mm')
    assert places.keys() == {
        path.parent.name
        for path in package.glob('*/__init__.py')
    }
    imported = re.compile(r'(?:import|from) dksan_mm(?:\.| import )(\w+)')
    seen = 0
    for path in package.glob('*/**/*.py'):
        room = path.relative_to(package).parts[0]
        for other in imported.findall(path.read_text()):
            seen += other in places
            if other in places and other != room:
                assert places[other] < places[room] or {other, room} == {
                    'evaluation', 'engine'
                }, (path, other)
    assert seen > 100
