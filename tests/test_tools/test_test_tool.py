"""tools/test.py's results: right, complete, and the same every time."""
import json
import os
import os.path as osp
import shutil
import sys

import cv2
import mmagic
import numpy as np
import pytest
import torch
from commands import ROOT, run
from mmagic.registry import MODELS
from mmengine.config import Config
from raw_material import write_dataset

from dksan_mm.cli import test as test_command
from dksan_mm.models import BicubicUpsampler
from dksan_mm.results.files import (DataFacts, check_same_data, read_result,
                                    read_results)

# two data sets, the second of which calls itself "clips"
SETS = '''
_base_ = '{root}/configs/{base}.py'
work_dir = None
_dataset = dict(
    type='VideoSRDataset', scale=2, num_input_frames=5,
    data_prefix=dict(img='val/BIx2', gt='val/GT'),
    ann_file='meta_info_val.txt', test_mode=True,
    pipeline=_base_.val_pipeline)
test_dataloader = [
    dict(
        num_workers=0, batch_size=1, persistent_workers=False,
        sampler=dict(type='SequenceSampler'),
        dataset=dict(
            data_root='{data}/' + name,
            metainfo=dict(dataset_type=name, task_name='vsr'), **_dataset))
    for name in ('first', 'second')]
test_evaluator = [
    [dict(type='SequenceQuality', prefix=name),
     dict(type='SequenceTOF', prefix=name)] for name in ('first', 'clips')]
'''
MODEL = '''
model = dict(
    generator=dict(
        mid_channels=8, num_frames=5, num_blocks=(1, ),
        num_extraction_blocks=1, num_align_layers=1, deform_groups=2,
        num_dksa_layers=1, reduction=2))
'''
METADATA = dict(
    name='clips', scale=2, crop='centre', kernel='mean', splits=dict(a=['b']))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with data, configs and a checkpoint."""
    folder = tmp_path_factory.mktemp('test_tool')
    sequences = dict(first={'050': 5, '051': 7, '052': 6}, second={'a': 5})
    for seed, (name, lengths) in enumerate(sequences.items()):
        write_dataset(
            folder / name, dict(val=lengths), size=(23, 30), seed=seed)
    (folder / 'second' / 'metadata.json').write_text(json.dumps(METADATA))
    sets = dict(root=ROOT, data=folder)
    bicubic = SETS.format(base='bicubic_vid3oc_x16', **sets)
    (folder / 'bicubic.py').write_text(f'{bicubic}model = dict(scale=2)\n')
    (folder / 'tiny.py'
     ).write_text(SETS.format(base='dksan_vid3oc_x16', **sets) + MODEL)
    # one data set, and metrics that are not by sequence
    (folder / 'plain.py').write_text(
        "_base_ = 'bicubic.py'\n"
        'test_dataloader = _base_.test_dataloader[:1]\n'
        "test_evaluator = [dict(type='PSNR')]\n")
    model = MODELS.build(Config.fromfile(folder / 'tiny.py').model)
    torch.manual_seed(0)
    for parameter in model.parameters():
        # nothing is zero, so that nothing is symmetric
        torch.nn.init.normal_(parameter, 0, 0.05)
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(iter=115)),
        folder / 'iter_115.pth')
    return folder


def test(folder, config, checkpoint, *args, **kwargs):
    return run(sys.executable, 'tools/test.py', folder / config, checkpoint,
               '--work-dir', folder / 'work', *args, **kwargs)


test.__test__ = False


@pytest.fixture(scope='module')
def bicubic(folder):
    """Return what the tool printed, testing bicubic."""
    return test(folder, 'bicubic.py', 'none', '--result-dir', folder / 'a',
                '--save-frames', 2, '--out', folder / 'new' / 'a.json').stdout


def read_rgb(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return np.ascontiguousarray(image[..., ::-1])


def luma(image):
    """Return MATLAB's luma of an RGB image."""
    return image @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first - second)**2))


def test_numbers_are_those_of_the_files(folder, bicubic):
    """Computed here from LR and HR PNGs, in RGB and luma; restored frames
    are clipped, not rounded."""
    result = read_result(str(folder / 'a' / 'first.json'))
    data = folder / 'first' / 'val'
    for sequence, frames in result.frames.items():
        assert len(frames) == dict(zip(('050', '051', '052'),
                                       (5, 7, 6)))[sequence]
        for values in frames:
            name = f'{sequence}/{values["frame"]}.png'
            lr = torch.from_numpy(read_rgb(data / 'BIx2' / name))
            image = BicubicUpsampler(2)(lr.permute(
                2, 0, 1)[None].float())[0].permute(1, 2, 0)
            image = image.clamp(0, 255).numpy().astype(np.float64)
            truth = read_rgb(data / 'GT' / name).astype(np.float64)
            expected = dict(
                PSNR=psnr(image, truth),
                PSNR_Y=psnr(luma(image), luma(truth)),
                PSNR_crop16=psnr(image[16:-16, 16:-16], truth[16:-16, 16:-16]))
            for key, value in expected.items():
                assert values[key] == pytest.approx(value, abs=1e-4), name
            saved = folder / 'a' / 'frames' / 'first' / name
            assert saved.exists() == (int(values['frame']) % 2 == 0)
            if saved.exists():
                assert np.abs(read_rgb(saved) - image).max() <= 0.51


def test_frames_of_an_earlier_test_are_removed(folder, bicubic, tmp_path):
    """Of the same data set alone."""
    results = tmp_path / 'results'
    shutil.copytree(folder / 'a', results)
    (results / 'first.json').write_text('old')
    test(folder, 'bicubic.py', 'none', '--result-dir', results, '--dataset',
         'first', '--no-temporal')
    assert os.listdir(results / 'frames') == ['clips']
    assert read_result(str(results / 'first.json')).frames
    assert (results / 'clips.json').exists()


def test_result_says_what_it_is_of(folder, bicubic):
    first, clips = (
        read_result(str(folder / 'a' / f'{name}.json'))
        for name in ('first', 'clips'))
    assert first.system == 'bicubic_vid3oc_x16' and not first.named
    assert first.config == str(folder / 'bicubic.py')
    assert first.checkpoint is first.self_ensemble is None
    assert (first.scale, first.parameters) == (2, 0)
    assert 0 < first.seconds_per_frame < 1
    assert first.hardware.endswith(', 1 thread')
    assert clips.dataset.gt_crc != first.dataset.gt_crc
    assert first.dataset.metadata is None
    root = folder / 'second'
    assert clips.dataset == DataFacts(
        name='clips',
        gt_folder=str(root / 'val/GT'),
        lr_folder=str(root / 'val/BIx2'),
        annotation=str(root / 'meta_info_val.txt'),
        metadata=METADATA,
        gt_crc=clips.dataset.gt_crc)


def test_averages_are_the_metrics_of_the_log(folder, bicubic):
    with open(folder / 'new' / 'a.json') as file:
        logged = json.load(file)
    for result in read_results([str(folder / 'a')]):
        name = result.dataset.name
        for metric, value in result.metrics.items():
            assert logged[f'{name}/{metric}'] == value
            for sequence, means in result.sequences.items():
                assert logged[f'{name}/{metric}/{sequence}'] == means[metric]
    # no frame before the first
    assert result.frames['050'][0]['tOF'] is None
    assert result.frames['050'][1]['tOF'] > 0


def test_tables_are_printed(folder, bicubic):
    lines = bicubic.splitlines()
    result = read_result(str(folder / 'a' / 'first.json'))
    row = next(line for line in lines if line.startswith('| 051 '))
    assert [cell.strip() for cell in row.strip('|').split('|')][:4] == [
        '051', '7', f'{result.sequences["051"]["PSNR"]:.2f}',
        f'{result.sequences["051"]["SSIM"]:.4f}'
    ]
    assert any(line.startswith('| Average ') for line in lines)
    assert 'data: no metadata.json' in bicubic
    assert 'data: name: clips; scale: 2; crop: centre; kernel: mean\n' in (
        bicubic)
    assert bicubic.count(' s a frame (median, forward pass alone) on ') == 2


@pytest.fixture(scope='module')
def ensembles(folder):
    """Return folders of a network's results with self-ensemble: a test, and
    one by two processes."""
    checkpoint = folder / 'iter_115.pth'
    test(folder, 'tiny.py', checkpoint, '--temporal-ensemble', '--result-dir',
         folder / 'one', '--system', 'DKSAN+')
    run('bash', 'tools/dist_test.sh', folder / 'tiny.py', checkpoint, 2,
        '--work-dir', folder / 'work', '--temporal-ensemble', '--result-dir',
        folder / 'two', '--system', 'DKSAN+')
    return [folder / name for name in ('one', 'two')]


def test_same_bits_from_two_processes(ensembles):
    """The second process has nothing to do for "clips"."""
    for name in ('first', 'clips'):
        contents = []
        for path in ensembles:
            text = (path / f'{name}.json').read_text()
            result = json.loads(text)
            assert result.pop('seconds_per_frame') > 0
            contents.append(
                (json.dumps(result), (path / f'{name}.csv').read_bytes()))
        assert contents[0] == contents[1]
    assert len(contents[0][1].splitlines()) == 1 + 5 + 1 + 1


def test_self_ensemble_is_what_is_tested(folder, ensembles, bicubic):
    result = read_result(str(ensembles[1] / 'first.json'))
    assert result.self_ensemble == dict(spatial=8, temporal=True)
    assert result.named
    assert (result.system, result.checkpoint,
            result.iterations) == ('DKSAN+', 'iter_115.pth', 115)
    assert len(result.checkpoint_sha256) == 64
    test(folder, 'tiny.py', folder / 'iter_115.pth', '--dataset', 'first',
         '--no-temporal', '--result-dir', folder / 'single')
    assert sorted(os.listdir(folder / 'single')) == ['first.csv', 'first.json']
    single = read_result(str(folder / 'single' / 'first.json'))
    assert single.self_ensemble is None
    assert single.parameters == result.parameters > 0
    assert 'tOF' not in single.metrics
    assert single.metrics['PSNR'] != result.metrics['PSNR']
    # other systems, one data set
    check_same_data(
        read_results([str(folder / name) for name in ('a', 'two', 'single')]))


def test_mmagics_own_tool_tests_on_several_sets(folder):
    tools = osp.join(osp.dirname(mmagic.__file__), '.mim', 'tools')
    result = run(sys.executable, osp.join(tools,
                                          'test.py'), folder / 'tiny.py',
                 folder / 'iter_115.pth', '--work-dir', folder / 'mmagic')
    log = result.stdout + result.stderr
    assert 'first/PSNR_Y_crop16/052' in log and 'clips/tOF/a' in log


@pytest.mark.parametrize('args, message', [
    (['--save-frames'], '--save-frames needs --result-dir'),
    (['--save-frames', '0', '--result-dir', 'b'
      ], "--save-frames: must be a whole number of at least 1, got '0'"),
    (['--out', 'a.txt'], '--out must end in .json'),
])
def test_arguments_that_do_not_fit(monkeypatch, capsys, args, message):
    monkeypatch.setattr(sys, 'argv', ['test.py', 'config.py', *args])
    with pytest.raises(SystemExit):
        test_command.parse_args()
    assert message in capsys.readouterr().err


def test_unknown_data_set(folder, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [
        'test.py',
        str(folder / 'bicubic.py'), '--dataset', 'third', '--work-dir',
        str(folder / 'work')
    ])
    with pytest.raises(ValueError, match=r"\['first', 'clips'\], got 'third'"):
        test_command.main(test_command.parse_args())


@pytest.mark.parametrize('config, args, message', [
    ('bicubic.py', ['--lpips', '--dataset', 'clips'
                    ], 'LPIPS needs the ImageNet weights'),
    ('bicubic.py', ['--result-dir', '{folder}/bicubic.py'], 'bicubic.py'),
    ('plain.py', ['--result-dir', '{folder}/b'], 'a metric by sequence'),
])
def test_faults_are_said_before_testing(folder, config, args, message):
    args = [arg.format(folder=folder) for arg in args]
    result = test(
        folder,
        config,
        'none',
        *args,
        check=False,
        TORCH_HOME=str(folder),
        DKSAN_MM_CACHE=str(folder / 'cache'))
    assert result.returncode != 0
    assert message in result.stderr.splitlines()[-1]
    assert 'Iter(test)' not in result.stdout + result.stderr


def test_plain_metrics_work_as_before(folder):
    """MMagic's, not by sequence: no table, and no failure."""
    result = test(folder, 'plain.py', 'none', '--out', folder / 'plain.json')
    with open(folder / 'plain.json') as file:
        assert json.load(file)['PSNR'] > 10
    assert 'Average' not in result.stdout
