"""What a config tests on, in all the forms that MMagic's loops take."""
import json
from types import SimpleNamespace

import pytest
from mmagic.engine.runner.loop_utils import is_evaluator
from mmengine.config import Config

from dksan_mm.evaluation.sets import (add_metric, choose_test_sets,
                                      drop_metric, name_of, read_test_sets,
                                      sets_of_loop, write_test_sets)


def loader(name):
    return dict(
        num_workers=0,
        dataset=dict(
            data_root=f'data/{name}', metainfo=dict(dataset_type=name)))


QUALITY, TOF = dict(type='SequenceQuality'), dict(type='SequenceTOF')


@pytest.mark.parametrize('loaders, evaluators', [
    (loader('a'), [QUALITY, TOF]),
    ([loader('a')], [QUALITY, TOF]),
    (loader('a'), dict(type='Evaluator', metrics=[QUALITY, TOF])),
    ([loader('a'), loader('b')], [[QUALITY, TOF], [QUALITY]]),
    ([loader('a'), loader('b')
      ], [dict(metrics=[QUALITY, TOF]),
          dict(metrics=QUALITY)]),
])
def test_forms(loaders, evaluators):
    cfg = Config(dict(test_dataloader=loaders, test_evaluator=evaluators))
    sets = read_test_sets(cfg)
    names = ['a', 'b'] if len(sets) == 2 else ['a']
    assert [test_set.name for test_set in sets] == names
    assert sets[0].metrics == [QUALITY, TOF]
    write_test_sets(cfg, sets)
    assert [loader.dataset.data_root for loader in cfg.test_dataloader
            ] == [f'data/{name}' for name in names]
    assert all(map(is_evaluator, cfg.test_evaluator))
    assert read_test_sets(cfg) == sets


@pytest.mark.parametrize('loaders, evaluators', [
    (loader('a'), [[QUALITY], [QUALITY]]),
    ([loader('a'), loader('b')], [QUALITY]),
    (None, None),
])
def test_unequal_numbers_are_refused(loaders, evaluators):
    cfg = Config(dict(test_dataloader=loaders, test_evaluator=evaluators))
    with pytest.raises(ValueError, match='must replace the other'):
        read_test_sets(cfg)


def test_choosing_and_changing():
    cfg = Config(
        dict(
            test_dataloader=[loader('a'), loader('b')],
            test_evaluator=[[dict(QUALITY, prefix='a'), TOF],
                            [dict(QUALITY, prefix='b')]]))
    sets = choose_test_sets(read_test_sets(cfg), ['b'])
    add_metric(sets, dict(type='SequenceLPIPS'))
    assert [test_set.metrics[1:]
            for test_set in sets] == [[dict(type='SequenceLPIPS', prefix='b')]]
    sets = drop_metric(read_test_sets(cfg), 'SequenceTOF')
    assert [len(test_set.metrics) for test_set in sets] == [1, 1]
    with pytest.raises(ValueError, match=r"those of .*\['a', 'b'\], got 'c'"):
        choose_test_sets(sets, ['c'])


def test_name_is_what_the_data_say(tmp_path):
    metainfo = dict(dataset_type='vid3oc')
    assert name_of(None, None) == 'video_sr'
    assert name_of(str(tmp_path), metainfo) == 'vid3oc'
    (tmp_path / 'metadata.json').write_text('{"scale": 2}')
    assert name_of(str(tmp_path), metainfo) == 'vid3oc'
    (tmp_path / 'metadata.json').write_text('{"name": "clips-1.x"}')
    assert name_of(str(tmp_path), metainfo) == 'clips-1.x'
    for name in ('../clips', '.clips', 'a b'):
        (tmp_path / 'metadata.json').write_text(json.dumps(dict(name=name)))
        with pytest.raises(ValueError, match='must be letters'):
            name_of(str(tmp_path), metainfo)


def test_sets_of_loops():
    """MMagic's loop with several, mmengine's with one."""
    first, second, unnamed = (
        SimpleNamespace(
            dataset=SimpleNamespace(metainfo=dict(dataset_type=name)))
        for name in ('a', 'b', 'a'))
    loop = SimpleNamespace(evaluators=[1, 2], dataloaders=[first, second])
    assert sets_of_loop(loop) == dict(
        a=(1, first.dataset), b=(2, second.dataset))
    loop = SimpleNamespace(evaluator=3, dataloader=second)
    assert sets_of_loop(loop) == dict(b=(3, second.dataset))
    loop = SimpleNamespace(evaluators=[1, 2], dataloaders=[first, unnamed])
    with pytest.raises(ValueError, match="two called 'a'"):
        sets_of_loop(loop)
