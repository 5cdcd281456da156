"""Files of results: written, read, compared."""
import json
import math
import os
from dataclasses import replace

import pytest

from dksan_mm.results.averages import average_frames
from dksan_mm.results.files import (DataFacts, Result, check_same_data,
                                    read_result, read_results, write_result)
from dksan_mm.utils.files import OutputError


def make_result(name='vid3oc'):
    """Return a result of two sequences, of two frames and one."""
    frames = {
        '050': [
            dict(frame='00000000', PSNR=20.5, tOF=None),
            dict(frame='00000001', PSNR=float('inf'), tOF=0.125)
        ],
        '051': [dict(frame='00000007', PSNR=30.1, tOF=None)]
    }
    overall, sequences = average_frames(frames)
    return Result(
        system='DKSAN',
        named=False,
        config='configs/dksan_vid3oc_x16.py',
        checkpoint=None,
        checkpoint_sha256=None,
        iterations=None,
        dataset=DataFacts(name, 'gt', 'lr', 'ann.txt', None, '0123abcd'),
        scale=16,
        parameters=7,
        seconds_per_frame=0.5,
        hardware='a CPU',
        software=dict(torch='2.11.0'),
        self_ensemble=None,
        metrics=overall,
        sequences=sequences,
        frames=frames)


def test_averages():
    frames = make_result().frames
    frames['050'][1]['PSNR'] = 21.5
    overall, sequences = average_frames(frames)
    assert sequences == {
        '050': dict(PSNR=21, tOF=0.125),
        '051': dict(PSNR=30.1, tOF=None)
    }
    assert overall == dict(PSNR=(21 + 30.1) / 2, tOF=0.125)


def test_average_does_not_depend_on_order():
    values = [1e16, 1.0, -1e16, 0.1] * 3
    frames = [dict(frame=str(i), x=value) for i, value in enumerate(values)]
    forward, _ = average_frames(dict(a=frames))
    backward, _ = average_frames(dict(a=frames[::-1]))
    assert forward == backward == dict(x=pytest.approx(3.3 / 12, rel=1e-15))


def test_what_is_written_is_read(tmp_path):
    result = make_result()
    write_result(str(tmp_path / 'new' / 'folder'), result)
    path = tmp_path / 'new' / 'folder' / 'vid3oc.json'
    assert read_result(str(path)) == replace(result, file=str(path))
    assert math.isinf(result.metrics['PSNR'])

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')

    text = path.read_text()
    assert json.loads(text, parse_constant=refuse)['metrics']['PSNR'] == 'inf'
    assert {p.name
            for p in path.parent.iterdir()} == {'vid3oc.json', 'vid3oc.csv'}


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """As version 0.1.0 wrote it, before some of today's keys; those that are
    not known are left out."""
    path = tmp_path / 'a.json'
    path.write_text('''{
 "schema": 1, "system": "EDVR", "config": "configs/edvr_vid3oc_x16.py",
 "checkpoint": "iter_5.pth", "checkpoint_sha256": "00ff", "iterations": 5,
 "dataset": {"name": "a", "gt_folder": "gt", "lr_folder": "lr",
  "annotation": "ann.txt", "metadata": {"scale": 16}, "gt_crc": "0123abcd"},
 "scale": 16, "parameters": 7, "seconds_per_frame": null,
 "hardware": "a CPU", "software": {"torch": "2.6.0"}, "folder": "elsewhere",
 "metrics": {"PSNR": "inf"}, "sequences": {"050": {"PSNR": "inf"}},
 "frames": {"050": [{"frame": "inf", "PSNR": "inf"}]}}''')
    values = dict(PSNR=math.inf)
    assert read_result(str(path)) == Result(
        system='EDVR',
        named=False,
        config='configs/edvr_vid3oc_x16.py',
        checkpoint='iter_5.pth',
        checkpoint_sha256='00ff',
        iterations=5,
        dataset=DataFacts('a', 'gt', 'lr', 'ann.txt', dict(scale=16),
                          '0123abcd'),
        scale=16,
        parameters=7,
        seconds_per_frame=None,
        hardware='a CPU',
        software=dict(torch='2.6.0'),
        self_ensemble=None,
        metrics=values,
        sequences={'050': values},
        frames={'050': [dict(frame='inf', **values)]},
        file=str(path))


def test_csv(tmp_path):
    write_result(str(tmp_path), make_result())
    assert (tmp_path / 'vid3oc.csv').read_text() == ('''\
sequence,frame,PSNR,tOF
050,00000000,20.5,
050,00000001,inf,0.125
051,00000007,30.1,
050,mean,inf,0.125
051,mean,30.1,
average,mean,inf,0.125
''')


def test_what_is_not_a_number_is_written(tmp_path):
    result = make_result()
    result.frames['051'][0]['PSNR'] = math.nan
    overall, sequences = average_frames(result.frames)
    result.metrics, result.sequences = overall, sequences
    write_result(str(tmp_path), result)
    assert json.loads(
        (tmp_path / 'vid3oc.json').read_text())['metrics']['PSNR'] == 'nan'
    found = read_result(str(tmp_path / 'vid3oc.json'))
    assert math.isnan(found.frames['051'][0]['PSNR'])
    assert found.frames['050'][0]['PSNR'] == 20.5
    assert 'average,mean,nan,' in (tmp_path / 'vid3oc.csv').read_text()


@pytest.mark.parametrize('call', range(1, 7))
def test_files_of_two_tests_never_stand_together(tmp_path, monkeypatch, call):
    """Stopped at any change to the folder, a JSON is beside its own CSV."""
    write_result(str(tmp_path), make_result())
    calls = []

    def stopped(name):
        original = getattr(os, name)

        def wrapper(*args, **kwargs):
            calls.append(name)
            if len(calls) == call:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, wrapper)

    for name in ('remove', 'replace', 'makedirs'):
        stopped(name)
    result = make_result()
    result.frames['051'][0]['PSNR'] = 99.
    overall, sequences = average_frames(result.frames)
    result.metrics, result.sequences = overall, sequences
    try:
        write_result(str(tmp_path), result)
    except KeyboardInterrupt:
        pass
    else:
        assert call == 6  # there are five
    if (tmp_path / 'vid3oc.json').exists():
        found = read_result(str(tmp_path / 'vid3oc.json'))
        value = found.frames['051'][0]['PSNR']
        assert f'051,00000007,{value},' in (tmp_path /
                                            'vid3oc.csv').read_text()


def test_folders_and_files_are_read(tmp_path):
    for folder, name in (('a', 'vid3oc'), ('a', 'intvid'), ('b', 'vid3oc')):
        write_result(str(tmp_path / folder), make_result(name))
    found = read_results(
        [str(tmp_path / 'a'),
         str(tmp_path / 'b' / 'vid3oc.json')])
    assert [(r.dataset.name, r.folder)
            for r in found] == [('intvid', str(tmp_path / 'a')),
                                ('vid3oc', str(tmp_path / 'a')),
                                ('vid3oc', str(tmp_path / 'b'))]
    check_same_data(found)


def test_sources_that_have_no_results(tmp_path):
    with pytest.raises(ValueError, match='found none.*--result-dir'):
        read_results([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match='a.json does not exist'):
        read_results([str(tmp_path / 'a.json')])


@pytest.mark.parametrize('change, message', [
    (dict(schema=2), 'found schema 2'),
    (dict(schema=None), 'found schema None'),
    (dict(metrics=3), "found 3 as 'metrics'"),
    (dict(frames={}), 'other sequences'),
    (dict(sequences={}), 'other sequences'),
    (dict(frames={
        '050': [],
        '051': []
    }), "frames of '050'"),
    (dict(frames={
        '050': [3],
        '051': []
    }), "frames of '050'"),
    (dict(sequences={
        '050': {},
        '051': {}
    }), "a mean of '050'"),
    (dict(dataset=dict(name='vid3oc')), "found None as 'gt_folder'"),
    (dict(dataset=3), 'found 3 as .dataset'),
    (dict(iterations='many'), "found 'many' as 'iterations'"),
    (dict(metrics=dict(PSNR=True, tOF=1)), 'found True as PSNR of .the aver'),
    (dict(metrics=dict(PSNR='20', tOF=1)), "found '20' as PSNR"),
    (dict(parameters=True), "found True as 'parameters'"),
    (dict(sequences={
        '050': 3,
        '051': 4
    }), "a mean of '050'"),
    (dict(sequences={
        '050': dict(PSNR=[], tOF=1),
        '051': dict(PSNR=1, tOF=1)
    }), "found .. as PSNR of '050'"),
])
def test_files_of_another_kind_are_refused(tmp_path, change, message):
    path = tmp_path / 'a.json'
    write_result(str(tmp_path), make_result('a'))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message) as error:
        read_result(str(path))
    assert str(path) in str(error.value) and 'tools/test.py' in str(
        error.value)


@pytest.mark.parametrize(
    'text', ['', '[1', '{"metrics": 1}', '[]', '\xff', '{"schema": NaN}'])
def test_damaged_files_are_refused(tmp_path, text):
    (tmp_path / 'a.json').write_bytes(text.encode('latin1'))
    with pytest.raises(ValueError, match='a.json must be'):
        read_result(str(tmp_path / 'a.json'))


def other_crc(result):
    result.dataset.gt_crc = 'ffffffff'


def other_scale(result):
    result.scale = 8


def other_frames(result):
    del result.frames['050'][0]


def other_sequences(result):
    result.frames['052'] = result.frames.pop('051')


@pytest.mark.parametrize('change, message', [
    (other_crc, 'gt_crc 0123abcd and ffffffff'),
    (other_scale, 'scales 16 and 8'),
    (other_frames, '2 and 1 frames of 050'),
    (other_sequences, 'such as 051 in one of them only'),
])
def test_results_of_different_data_are_refused(change, message):
    first = replace(make_result(), file='a/vid3oc.json')
    second = replace(make_result(), file='b/vid3oc.json')
    change(second)
    with pytest.raises(ValueError, match=message) as error:
        check_same_data([first, make_result('intvid'), second])
    for file in ('a/vid3oc.json', 'b/vid3oc.json'):
        assert file in str(error.value)
    second.dataset.name = 'other'  # then they may differ
    check_same_data([first, second])


def test_nothing_half_written_is_left(tmp_path):
    """A target that cannot be written: here a folder has the file's name."""
    (tmp_path / 'vid3oc.csv').mkdir()
    with pytest.raises(OutputError, match='vid3oc.csv'):
        write_result(str(tmp_path), make_result())
    assert [p.name for p in tmp_path.iterdir()] == ['vid3oc.csv']
