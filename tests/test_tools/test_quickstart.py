"""The steps of the quick start, and the check of the environment."""
import json
import sys

import mmcv
from conftest import ROOT
from test_tools.test_train_test import run

ANALYSIS = 'tools/analysis_tools'
CONVERTER = 'tools/dataset_converters/videos/preprocess_videos.py'


def write_results(path, **values):
    path.write_text(json.dumps(values))
    return path


def test_table(tmp_path):
    names = dict(
        bicubic=write_results(
            tmp_path / 'a.json', **{
                'PSNR': 20.5,
                'PSNR/x': 20.,
                'PSNR/y': 21.,
                'SSIM': .5,
                'SSIM/x': .4,
                'SSIM/y': .6
            }),
        DKSAN=write_results(
            tmp_path / 'b.json', **{
                'PSNR': 21.75,
                'PSNR/x': 21.,
                'PSNR/y': 22.5,
                'SSIM': .55,
                'SSIM/x': .5,
                'SSIM/y': .6
            }))
    out = run(sys.executable, f'{ANALYSIS}/print_results.py',
              *(f'{name}={path}' for name, path in names.items())).stdout
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in out.splitlines() if line.startswith('|')]
    assert rows[0] == [
        'Sequence', 'bicubic PSNR', 'bicubic SSIM', 'DKSAN PSNR', 'DKSAN SSIM'
    ]
    assert rows[2] == ['x', '20.00', '0.4000', '21.00', '0.5000']
    assert rows[4] == ['Average', '20.50', '0.5000', '21.75', '0.5500']
    assert 'DKSAN against bicubic: +1.25 dB' in out


def test_table_of_different_data(tmp_path):
    a = write_results(tmp_path / 'a.json', **{
        'PSNR': 1.,
        'PSNR/x': 1.,
        'SSIM': 1.,
        'SSIM/x': 1.
    })
    b = write_results(tmp_path / 'b.json', **{
        'PSNR': 1.,
        'PSNR/y': 1.,
        'SSIM': 1.,
        'SSIM/y': 1.
    })
    result = run(
        sys.executable,
        f'{ANALYSIS}/print_results.py',
        f'a={a}',
        f'b={b}',
        check=False)
    assert result.returncode == 1
    assert "the same sequences, found ['y'] for b" in result.stderr


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
