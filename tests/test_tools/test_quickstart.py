"""The steps of the quick start, and the check of the environment."""
import re
import sys

import mmcv
import pytest
from commands import ROOT, run

from dksan_mm.cli import check
from dksan_mm.utils import precision
from dksan_mm.utils.precision import SelfTest

CONVERTER = 'tools/dataset_converters/videos/preprocess_videos.py'


def test_demo_clips_become_a_data_set(tmp_path):
    run(sys.executable, 'tools/dataset_converters/render_demo_clips.py',
        tmp_path / 'clips')
    clips = {
        split: sorted((tmp_path / 'clips' / split).iterdir())
        for split in ('train', 'val')
    }
    assert len(clips['train']) == 6 and len(clips['val']) == 2
    run(sys.executable, CONVERTER, tmp_path / 'data', '--train',
        *clips['train'], '--val', *clips['val'])
    first, last = (
        mmcv.imread(str(
            tmp_path / f'data/val/BIx16/coffee/{index:08d}.png')).astype(float)
        for index in (0, 23))
    assert first.shape == (18, 24, 3)
    assert abs(first - last).mean() > 5  # the camera moved


def test_check_env():
    result = run(sys.executable, 'tools/check_env.py')
    assert 'DKSAN can run here.' in result.stdout
    assert 'mmcv operators        CPU' in result.stdout
    assert re.search(r'restoration, c\w+ +--dtype (bf16|fp32): convolutions',
                     result.stdout)


@pytest.mark.parametrize('found, message', [
    (SelfTest(1., 2.1, .003), 'many times slower'),
    (SelfTest(2., 1., .5), 'in bfloat16 wrongly'),
    (SelfTest(2., 1., .003), None),
])
def test_check_env_warns_of_bfloat16(found, message, monkeypatch, capsys):
    monkeypatch.setattr(precision, 'self_test', lambda device: found)
    check.show_speed('cpu')
    text = capsys.readouterr().out
    assert str(found) in text
    assert (message in text) if message else 'warning' not in text


def test_check_env_where_mmcv_is_too_new(tmp_path):
    """A broken environment: exit code 1, what was found, and the cure."""
    fake = tmp_path / 'mmcv-9.9.dist-info'
    fake.mkdir()
    (fake / 'METADATA'
     ).write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 9.9\n')
    result = run(
        sys.executable,
        f'{ROOT}/tools/check_env.py',
        check=False,
        PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert 'mmcv must be >=2.0.0,<2.2' in result.stdout
    assert "found 9.9: pip install 'mmcv>=2.0.0,<2.2'" in result.stdout
