"""Training that stops when its time is over: its times."""
import argparse

import pytest

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
