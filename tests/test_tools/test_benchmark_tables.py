"""tools/benchmark_tables.py from result files to a table's file."""
import os.path as osp
import sys

import pytest
from commands import ROOT
from result_files import make_result, write

from dksan_mm import cli

sys.path.insert(0, osp.join(ROOT, 'tools'))
import benchmark_tables  # noqa: E402


def run_tool(monkeypatch, *arguments):
    """Run the tool's main in this process."""
    monkeypatch.setattr(sys, 'argv',
                        ['benchmark_tables.py', *map(str, arguments)])
    cli.run_tool(benchmark_tables.parse_args, benchmark_tables.main)


@pytest.fixture
def folders(tmp_path):
    """Return folders with a result each, of two systems on the same data."""
    for name, value in (('bicubic', 20.), ('mine', 21.)):
        result = make_result({'a': {
            'PSNR': [value, value]
        }},
                             system=name,
                             config=f'{name}_clips_x16.py')
        write(tmp_path / name, result)
    return tmp_path / 'bicubic', tmp_path / 'mine'


def test_prints_markdown(folders, monkeypatch, capsys):
    """A folder and a file both serve; --system names a column."""
    run_tool(monkeypatch, folders[0], folders[1] / 'clips.json', '--system',
             'mine=DKSAN')
    lines = capsys.readouterr().out.splitlines()
    assert '| Video | Scale | Bicubic, ours | DKSAN, ours |' in lines
    assert '| a | x16 | 20.00 | **21.00** |' in lines


def test_writes_by_ending(folders, monkeypatch, tmp_path, capsys):
    """FILE.tex is LaTeX, others Markdown, --format wins; nothing else is
    left beside them."""
    out = tmp_path / 'tables'
    run_tool(monkeypatch, *folders, '-o', out / 'a.tex')
    run_tool(monkeypatch, *folders, '-o', out / 'a.md')
    run_tool(monkeypatch, *folders, '-o', out / 'b.md', '--format', 'latex')
    assert '1 table' in capsys.readouterr().out
    texts = {path.name: path.read_text() for path in out.iterdir()}
    assert set(texts) == {'a.tex', 'a.md', 'b.md'}
    assert texts['a.tex'] == texts['b.md'] and r'\toprule' in texts['a.tex']
    assert '| --- |' in texts['a.md']


def test_a_public_set(monkeypatch, tmp_path, capsys):
    """Beside published numbers, or one line that says why not."""
    frames = {
        name: {
            'PSNR_Y': [27.] * count
        }
        for name, count in zip(('calendar', 'city', 'foliage',
                                'walk'), (41, 34, 49, 47))
    }
    write(tmp_path, make_result(frames, name='vid4-bi', scale=4))
    run_tool(monkeypatch, tmp_path, '--paper', 'vid4-bi')
    text = capsys.readouterr().out
    assert '| Average | x4 | 26.49 | 27.28 | 27.42 | **27.79** | 27.00 |' in (
        text)
    with pytest.raises(SystemExit, match='colour space or border'):
        run_tool(monkeypatch, tmp_path, '--paper', 'vid4-bi', '--metric',
                 'PSNR')
    with pytest.raises(SystemExit, match='must be of reds4, found those of'):
        run_tool(monkeypatch, tmp_path, '--paper', 'reds4')


def test_paired(folders, monkeypatch, capsys):
    run_tool(monkeypatch, *folders, '--paired')
    text = capsys.readouterr().out
    assert '**clips: mine against bicubic (PSNR in dB)**' in text
    assert '| Average | 2 | 20.00 | 21.00 | +1.000 |' in text
    assert '1 sequence is too few for a verdict' in text


@pytest.mark.parametrize('options, message', [
    (['bicubic'], '--paired must have two RESULTs, found 3'),
    (['--paper', 'reds4'], 'without --paper; leave'),
    (['--system', 'mine=DKSAN'], 'without --system; leave'),
    (['-o', 'x.tex'], 'pass --format markdown'),
    (['--format', 'latex'], 'pass --format markdown'),
])
def test_what_paired_refuses(options, message, folders, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, '--paired', *folders, *options)
    assert message in capsys.readouterr().err


def test_paired_is_markdown_in_any_file(folders, monkeypatch, tmp_path):
    out = tmp_path / 'x.tex'
    run_tool(monkeypatch, *folders, '--paired', '-o', out, '--format',
             'markdown')
    assert '| Average | 2 |' in out.read_text()


def test_errors_are_one_line(folders, monkeypatch, tmp_path):
    other = make_result({'a': {'PSNR': [20.]}}, system='other')
    write(tmp_path / 'other', other)
    with pytest.raises(SystemExit, match='same data.*frames of a'):
        run_tool(monkeypatch, *folders, tmp_path / 'other')
    with pytest.raises(SystemExit, match='nowhere does not exist'):
        run_tool(monkeypatch, tmp_path / 'nowhere')
    with pytest.raises(SystemExit, match="NAME=COLUMN.*found 'mine'"):
        run_tool(monkeypatch, *folders, '--system', 'mine')
    known = 'bicubic, bicubic_clips_x16, mine, mine_clips_x16'
    with pytest.raises(
            SystemExit, match=rf"--system must .*\({known}\), found 'mime'"):
        run_tool(monkeypatch, *folders, '--system', 'mime=DKSAN')
