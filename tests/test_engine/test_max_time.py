"""Training that stops when its time is over: its times."""
import argparse
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from dksan_mm.cli.train import parse_time
from dksan_mm.engine import MaxTimeHook


@pytest.mark.parametrize('text, seconds', [('90s', 90), ('150m', 9000),
                                           ('2.5h', 9000), (' .5m', 30)])
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize('text', ['10', '0m', 'an hour', '-5m', '1d', ''])
def test_exception(text):
    with pytest.raises(
            argparse.ArgumentTypeError,
            match='such as 90s, 150m or 2.5h, got '):
        parse_time(text)
    with pytest.raises(ValueError, match='seconds must be above 0'):
        MaxTimeHook(0)


def make_wrapper(counts=1):
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1)
    return OptimWrapper(optimizer, accumulative_counts=counts)


def stops(hook, wrapper, iters=7):
    """Return the numbers of iterations after which the hook would stop."""
    found = []
    for done in range(1, iters):
        runner = SimpleNamespace(
            iter=done - 1,
            max_iters=100,
            hooks=[],
            logger=MagicMock(),
            optim_wrapper=wrapper,
            train_loop=SimpleNamespace(stop_training=False))
        hook.after_train_iter(runner)
        if runner.train_loop.stop_training:
            found.append(done)
    return found


def test_restarts_share_the_time(monkeypatch):
    """They get its start from tools/dist_train.sh."""
    monkeypatch.setenv('DKSAN_MM_START', str(int(time.time()) - 1000))
    assert stops(MaxTimeHook(900), make_wrapper()) == [1, 2, 3, 4, 5, 6]
    assert stops(MaxTimeHook(9000), make_wrapper()) == []
    monkeypatch.delenv('DKSAN_MM_START')
    assert stops(MaxTimeHook(900), make_wrapper()) == []


@pytest.mark.parametrize('wrapper, expected', [
    (make_wrapper(3), [3, 6]),
    (OptimWrapperDict(a=make_wrapper(2), b=make_wrapper(3)), [6]),
])
def test_an_accumulation_is_finished(monkeypatch, wrapper, expected):
    monkeypatch.setenv('DKSAN_MM_START', '0')
    assert stops(MaxTimeHook(1), wrapper) == expected
