"""tools/report.py: what it writes, and what it leaves alone."""
import math
import os
import os.path as osp
import shutil
import sys
from dataclasses import replace

import pytest
from commands import ROOT
from result_files import (EVIL, SIZES, make_folders, make_result, payload,
                          save_frame, smooth_frame, write)

from dksan_mm.cli import run_tool
from dksan_mm.results.files import read_results
from dksan_mm.results.report import MARK, write_report

sys.path.insert(0, osp.join(ROOT, 'tools'))
import report as report_tool  # noqa: E402


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp('results'))


@pytest.fixture(scope='module')
def report(folders):
    """Return a report's folder."""
    out = osp.join(osp.dirname(folders[0]), 'report')
    assert write_report(read_results(folders), out, max_frames=2) == []
    return out


def test_page_holds_all(report):
    """Every sequence has its curves, frames, crops and pictures."""
    group, = payload(report)['groups']
    assert group['systems'] == ['Bicubic', 'DKSAN', EVIL]
    assert [s['name'] for s in group['sequences']] == list(SIZES)
    for sequence, kind in zip(group['sequences'], ('png', 'webp')):
        assert sequence['series'][1][:2] == [24., 'inf']
        assert [v['frame'] for v in sequence['views']] == [
            '00000001', '00000003'
        ]  # yapf: disable
        for view in sequence['views']:
            assert view['labels'] == [*group['systems'], 'Ground truth']
            assert view['right'] == 1  # the best
            assert len(view['places']) == 3
            assert all(
                uri.startswith(f'data:image/{kind};') for uri in view['uris'])
            for place in view['places']:
                assert place['best'] == [False, False, True, False]
                assert place['psnr'][-1] == '-'


def test_of_a_network_that_diverged(tmp_path):
    folder, *_ = make_folders(tmp_path)
    result, = read_results([folder])
    for rows in result.frames.values():
        rows[2]['PSNR'] = math.nan
    result.metrics['PSNR'] = math.nan
    write_report([result], str(tmp_path / 'report'))
    group, = payload(str(tmp_path / 'report'))['groups']
    assert [s['series'][0][2] for s in group['sequences']] == ['nan', 'nan']


def test_figures(report, folders):
    """One for each shown frame; the same run gives the same bytes."""
    names = {f'{s}_{t:08d}.png' for s in SIZES for t in (1, 3)}
    figures = osp.join(report, 'figures')
    assert set(os.listdir(figures)) == names
    again = osp.join(osp.dirname(report), 'again')
    write_report(read_results(folders), again, max_frames=2)
    for name in ('index.html', *(f'figures/{name}' for name in names)):
        with open(osp.join(report, name),
                  'rb') as one, open(osp.join(again, name), 'rb') as other:
            assert one.read() == other.read()


def test_without_pictures(tmp_path, monkeypatch, capsys):
    """The page has tables and curves, and says what is missing and how to
    get it; so does the tool."""
    folders = make_folders(tmp_path, pictures=False)
    out = tmp_path / 'report'
    monkeypatch.setattr(sys, 'argv', ['x', *folders, '-o', str(out)])
    run_tool(report_tool.parse_args, report_tool.main)
    group, = payload(out)['groups']
    assert len(group['notes']) == 6
    assert 'r0/frames/clips/small' in group['notes'][0]
    assert '--save-frames' in capsys.readouterr().out
    assert not any(s['views'] for s in group['sequences'])


def test_without_truth(folders, tmp_path, monkeypatch, capsys):
    """Systems are compared with one another; --gt brings it back."""
    (tmp_path / 'empty').mkdir()
    for gt, labels in ((str(tmp_path / 'empty'), 3),
                       (f'clips={osp.dirname(folders[0])}', 4)):
        out = tmp_path / 'report'
        monkeypatch.setattr(
            sys, 'argv',
            ['x', *folders, '-o', str(out), '--gt', gt])
        run_tool(report_tool.parse_args, report_tool.main)
        view = payload(out)['groups'][0]['sequences'][0]['views'][0]
        assert len(view['labels']) == labels
        assert ('--gt' in capsys.readouterr().out) == (labels == 3)
    monkeypatch.setattr(sys, 'argv', ['x', *folders, '--gt', 'nowhere'])
    with pytest.raises(SystemExit, match="exists, found 'nowhere'"):
        run_tool(report_tool.parse_args, report_tool.main)


def test_damaged_frame(tmp_path):
    """An error names it; an earlier report stays as it was."""
    results = read_results(make_folders(tmp_path))
    out = tmp_path / 'report'
    write_report(results, str(out))
    before = (out / 'index.html').read_bytes()
    bad = tmp_path / 'r1/frames/clips/small/00000002.png'
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(ValueError, match='r1/frames/clips/small/00000002'):
        write_report(results, str(out))
    assert (out / 'index.html').read_bytes() == before
    assert not (tmp_path / 'report.partial').exists()


def test_replaces_only_its_own(folders, tmp_path):
    """What is no report is left alone, also under the names used on the
    way; a report is replaced whole."""
    results = read_results(folders)
    out = tmp_path / 'out'
    for name in ('out', 'out.partial', 'out.old'):
        own = tmp_path / name / 'precious.txt'
        own.parent.mkdir()
        own.write_text('x')
        with pytest.raises(FileExistsError, match=f'{name} must .*{MARK}'):
            write_report(results, str(out), max_frames=0)
        assert own.read_text() == 'x'
        shutil.rmtree(own.parent)
        if name == 'out.partial':  # what a killed run leaves
            (tmp_path / name).mkdir()
            (tmp_path / name / MARK).write_text('')
    write_report(results, str(out), max_frames=0)
    (out / 'figures' / 'stale.png').write_text('x')
    write_report(results, str(out), max_frames=0)
    assert not (out / 'figures' / 'stale.png').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_names_that_figures_cannot_write(tmp_path):
    """Figures number them; a note says so. Newlines do no harm."""
    results = read_results(make_folders(tmp_path))
    results[1] = replace(results[1], system='\u7db2\n1')
    out = tmp_path / 'report'
    note = ('System 2 of the figures is \u7db2\n1: their font lacks letters '
            'of the name.')
    assert write_report(results, str(out)) == [note]
    group, = payload(out)['groups']
    assert group['notes'] == [note] and '\u7db2\n1' in group['systems']
    assert len(list((out / 'figures').iterdir())) == len(SIZES)


def test_bad_input(folders, tmp_path):
    results = read_results(folders)
    with pytest.raises(ValueError, match='max_frames.*found -1'):
        write_report(results, str(tmp_path / 'x'), max_frames=-1)
    other = replace(
        results[0], dataset=replace(results[0].dataset, gt_crc='1'))
    with pytest.raises(ValueError, match='gt_crc'):
        write_report([results[1], other], str(tmp_path / 'x'))
    other = replace(results[0], metrics={'SSIM': 1.})
    with pytest.raises(ValueError, match='must hold PSNR'):
        write_report([other], str(tmp_path / 'x'))
    assert not list(tmp_path.iterdir())


def test_two_data_sets(tmp_path):
    """Figures of sequences with one name do not meet; names of files keep
    figures in their folder."""
    for name in ('one', 'two'):
        for sequence in ('..', 'a'):
            save_frame(tmp_path / f'r/frames/{name}/{sequence}/00000000.png',
                       smooth_frame((20, 30), 0))
            save_frame(tmp_path / f'GT/{sequence}/00000000.png',
                       smooth_frame((20, 30), 1))
        write(
            tmp_path / 'r',
            make_result({s: {
                'PSNR': [20.]
            }
                         for s in ('..', 'a')},
                        name=name,
                        dataset={'gt_folder': str(tmp_path / 'GT')}))
    out = tmp_path / 'report'
    write_report(read_results([str(tmp_path / 'r')]), str(out))
    assert {path.name for path in (out / 'figures').iterdir()} == {
        f'{name}_{s}_00000000.png' for name in ('one', 'two')
        for s in ('..', 'a')
    }  # yapf: disable
