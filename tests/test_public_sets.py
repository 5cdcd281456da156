"""Public test sets and the configs on them, on tiny copies."""

import os
import os.path as osp
import shutil
import sys

import mmcv
import numpy as np
import pytest
import torch
from commands import ROOT, run
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from public_sets import (write_all, write_listed, write_reds, write_sequence,
                         write_vimeo90k)

from dksan_mm.engine.cli import use_data_root
from dksan_mm.results.files import read_result, read_results
from dksan_mm.results.public import PUBLIC_SETS
from dksan_mm.results.report import write_report
from dksan_mm.results.report_frames import read_truth

TINY = dict(
    dksan=dict(
        mid_channels=8,
        num_blocks=(1, 1),
        num_extraction_blocks=1,
        num_align_layers=1,
        deform_groups=2,
        num_dksa_layers=1,
        reduction=2),
    edvr=dict(
        mid_channels=8,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=1),
    basicvsr=dict(mid_channels=16, num_blocks=1))
NAMES = [
    'dksan_reds_x4', 'dksan_vimeo90k-bi_x4', 'dksan_vimeo90k-bd_x4',
    'edvr_reds_x4', 'basicvsr-pp_reds_x4', 'bicubic_reds_x4'
]


def tiny(name, **changes):
    """Return a config with a tiny network and REDS of 7 frames."""
    cfg = Config.fromfile(osp.join(ROOT, 'configs', f'{name}.py'))
    kind = name.split('_')[0].split('-')[0]
    if kind in TINY:
        cfg.model.generator.update(TINY[kind])
    if kind == 'edvr':  # MMagic's has 64 channels, whatever it is called
        cfg.model.generator.update(hr_channels=64)
    for loader in [
            cfg.train_dataloader, cfg.val_dataloader, *cfg.test_dataloader
    ]:
        if loader is None:
            continue
        loader.num_workers = 0
        if loader.dataset.get('fixed_seq_len'):
            loader.dataset.fixed_seq_len = 7
    cfg.merge_from_dict(changes)
    return cfg


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with all sets, and a tiny config of each name."""
    folder = tmp_path_factory.mktemp('public')
    write_all(folder)
    for name in NAMES:
        tiny(name).dump(str(folder / f'{name}.py'))
    return folder


@pytest.fixture
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def datasets(cfg):
    return {
        loader.dataset.metainfo.dataset_type: DATASETS.build(loader.dataset)
        for loader in cfg.test_dataloader
    }


def test_all_sets_are_read_as_they_are(in_folder):
    built = datasets(tiny('dksan_reds_x4'))
    assert set(built) == set(PUBLIC_SETS)
    assert {
        name: len(dataset)
        for name, dataset in built.items()
    } == {
        'reds4': 14,
        'vimeo90k-t-bi': 3,
        'vimeo90k-t-bd': 3,
        'vid4-bi': 17,
        'vid4-bd': 17,
        'udm10-bd': 70,
        'spmcs-bi': 7,
        'spmcs-bd': 7
    }
    for name, dataset in built.items():
        sample = dataset[0]
        assert sample['inputs'].shape == (7, 3, 16, 20), name
        assert sample['data_samples'].gt_img.shape == (3, 64, 80), name


def test_frames_are_known_by_their_place(in_folder):
    """Vid4 here begins at 1: the second frame's window is its frames 0 (by
    reflection) to 4 and its HR frame the file 00000002.png."""
    dataset = datasets(tiny('dksan_reds_x4'))['vid4-bi']
    sample = dataset[1]
    assert sample['data_samples'].key == 'calendar/00000001'

    def read(kind, number):
        image = mmcv.imread(
            str(in_folder / f'data/Vid4/{kind}/calendar/{number:08d}.png'),
            channel_order='rgb')
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))

    assert torch.equal(sample['data_samples'].gt_img, read('GT', 2).float())
    for t, number in enumerate((3, 2, 1, 2, 3, 4, 5)):
        assert torch.equal(sample['inputs'][t], read('BIx4', number)), t


def test_the_middle_frame_of_a_clip(in_folder):
    sample = datasets(tiny('dksan_reds_x4'))['vimeo90k-t-bd'][2]
    assert sample['data_samples'].key == '00002/0266/im4'
    image = mmcv.imread(
        str(in_folder / 'data/vimeo90k/GT/00002/0266/im4.png'),
        channel_order='rgb').transpose(2, 0, 1)
    assert np.array_equal(sample['data_samples'].gt_img.numpy(), image)


@pytest.mark.parametrize('name', NAMES[:4])
def test_configs_train_and_validate(in_folder, tmp_path, name):
    """Two iterations, then the validation set, then a checkpoint."""
    cfg = tiny(
        name, **{
            'work_dir': str(tmp_path),
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 2,
            'train_dataloader.batch_size': 1,
            'default_hooks.checkpoint.interval': 2
        })
    cfg.train_dataloader.dataset.pipeline = [
        dict(step, gt_patch_size=32)
        if step.type == 'PairedRandomCrop' else step
        for step in cfg.train_dataloader.dataset.pipeline
    ]
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    psnr = runner.message_hub.get_scalar('val/PSNR').current()
    assert 10 < psnr < 60
    assert osp.exists(tmp_path / 'iter_2.pth')


def test_reds_x16_is_made_by_the_converter(tmp_path):
    hr = tmp_path / 'train_sharp'
    for seed, name in enumerate(('000', '001', '011', '015', '020')):
        write_sequence(
            tmp_path,
            name,
            7,
            gt='train_sharp',
            lr=(),
            seed=seed,
            size=(64, 68))
    run(sys.executable, 'tools/dataset_converters/videos/preprocess_videos.py',
        tmp_path / 'reds_x16', '--name', 'reds4-x16', '--videos', hr,
        '--val-file', 'configs/splits/reds4_val.txt', '--workers', 1)
    cfg = Config.fromfile(osp.join(ROOT, 'configs/dksan_reds_x16.py'))
    for loader, count in ((cfg.train_dataloader, 7), (cfg.val_dataloader, 28),
                          (cfg.test_dataloader[0], 28)):
        loader.dataset.data_root = str(tmp_path / 'reds_x16')
        dataset = DATASETS.build(loader.dataset)
        assert len(dataset) == count
        assert dataset.metainfo['dataset_type'] == 'reds4-x16'


@pytest.fixture(scope='module')
def bicubic(folder):
    """Return the results of bicubic on all sets, by name."""
    run(
        'bash', '-c', f'cd {folder} && {sys.executable} {ROOT}/tools/test.py '
        'bicubic_reds_x4.py --result-dir bicubic --save-frames')
    return {
        name: read_result(str(folder / f'bicubic/{name}.json'))
        for name in PUBLIC_SETS
    }


def test_results_of_all_sets(bicubic):
    assert list(bicubic['vimeo90k-t-bi'].frames) == [
        '00001/0266', '00001/0268', '00002/0266'
    ]
    assert [f['frame'] for f in bicubic['vid4-bd'].frames['calendar']
            ] == [f'{t:08d}' for t in range(8)]
    for name, result in bicubic.items():
        metrics = result.metrics
        assert 10 < metrics[f'PSNR{PUBLIC_SETS[name].suffix}'] < 60
        assert ('tOF' in metrics) == ('vimeo' not in name)


def test_report_shows_the_frames_that_were_measured(folder, bicubic,
                                                    monkeypatch):
    """Of clips, and of sequences that begin at 1."""
    monkeypatch.chdir(folder)
    results = read_results(['bicubic'])
    write_report(results, 'report', {}, 1, 'Public')
    figures = os.listdir('report/figures')
    assert 'vimeo90k-t-bi_00001_0268_im4.png' in figures
    truth = read_truth('data/Vid4/GT', 'city', '00000008')
    image = mmcv.imread('data/Vid4/GT/city/00000009.png', channel_order='rgb')
    assert np.array_equal(truth, image)
    assert read_truth('data/Vid4/GT', 'city', '00000009') is None


def test_data_root_of_a_public_set(folder):
    """All parts at that root, and nothing else, or the sets that are named."""
    cfg = Config.fromfile(osp.join(ROOT, 'configs/dksan_vimeo90k-bi_x4.py'))
    root = str(folder / 'data/vimeo90k')
    use_data_root(cfg, root)
    assert cfg.train_dataloader.dataset.data_root == root
    assert cfg.val_dataloader.dataset.data_root == 'data/Vid4'
    assert {
        loader.dataset.metainfo.dataset_type: loader.dataset.data_root
        for loader in cfg.test_dataloader
    } == {
        'vimeo90k-t-bi': root,
        'vimeo90k-t-bd': root
    }
    cfg = Config.fromfile(osp.join(ROOT, 'configs/dksan_reds_x4.py'))
    use_data_root(cfg, root, ['vimeo90k-t-bd'])
    assert len(cfg.test_dataloader) == len(cfg.test_evaluator) == 1
    assert cfg.test_dataloader[0].dataset.data_root == root
    assert cfg.train_dataloader.dataset.data_root == 'data/REDS'
    with pytest.raises(ValueError, match="at .'data/UDM10', 'data/Vid4'"):
        use_data_root(
            Config.fromfile(osp.join(ROOT, 'configs/dksan_reds_x4.py')), root,
            ['vid4-bi', 'udm10-bd'])
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        use_data_root(
            Config.fromfile(osp.join(ROOT, 'configs/dksan_reds_x4.py')),
            'nowhere')


def break_reds(folder, what):
    write_reds(folder, 7)
    lr = folder / 'train_sharp_bicubic/X4'
    if what == 'missing':
        os.remove(lr / '000/00000003.png')
    elif what == 'short':
        for kind in (lr, folder / 'train_sharp'):
            os.remove(kind / '000/00000006.png')
    elif what == 'from 1':
        for kind in (lr, folder / 'train_sharp'):
            for t in reversed(range(7)):
                os.rename(kind / f'000/{t:08d}.png',
                          kind / f'000/{t + 1:08d}.png')
    elif what == 'size':
        image = np.zeros((12, 20, 3), np.uint8)
        mmcv.imwrite(image, str(lr / '000/00000002.png'))
    elif what == 'annotation':
        os.remove(folder / 'meta_info_reds4_val.txt')


@pytest.mark.parametrize('what, error, message', [
    ('missing', ValueError, 'missing or too much is 00000003.png'),
    ('short', ValueError, '000 must hold frames 00000000.png to 00000006.png'),
    ('from 1', ValueError, 'missing or too much is 00000000.png'),
    ('size', ValueError, r'00000002.png must be \(20, 16\).*found \(20, 12\)'),
    ('annotation', FileNotFoundError, 'meta_info_reds4_val.txt does not'),
])
def test_faults_of_reds(tmp_path, what, error, message):
    break_reds(tmp_path, what)
    loader = tiny('dksan_reds_x4').test_dataloader[0]
    loader.dataset.data_root = str(tmp_path)
    with pytest.raises(error, match=message):
        DATASETS.build(loader.dataset)


def break_vimeo90k(folder, what):
    write_vimeo90k(folder)
    if what == 'frame':
        os.remove(folder / 'BIx4/00001/0266/im7.png')
    elif what == 'truth':
        os.remove(folder / 'GT/00001/0268/im4.png')
    elif what == 'clip':
        shutil.rmtree(folder / 'GT/00002/0266')
    elif what == 'size':
        mmcv.imwrite(
            np.zeros((64, 64, 3), np.uint8),
            str(folder / 'GT/00001/0268/im4.png'))


@pytest.mark.parametrize('what, error, message', [
    ('frame', FileNotFoundError, '0266 must hold im1.png, .*no im7.png'),
    ('truth', FileNotFoundError, '0268 must hold im4.png, found no im4.png'),
    ('clip', FileNotFoundError, 'names clip 00002/0266, but .*GT/00002/0266'),
    ('size', ValueError, '0268: HR frames must be 4 times as large'),
])
def test_faults_of_vimeo90k(tmp_path, what, error, message):
    break_vimeo90k(tmp_path, what)
    loader = tiny('dksan_reds_x4').test_dataloader[1]
    loader.dataset.data_root = str(tmp_path)
    with pytest.raises(error, match=message):
        DATASETS.build(loader.dataset)


def fail_vid4(folder, change):
    loader = tiny('dksan_reds_x4').test_dataloader[3]
    loader.dataset.data_root = str(folder)
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        DATASETS.build(loader.dataset)
    return str(error.value)


def test_faults_of_vid4(folder, tmp_path):
    shutil.copytree(folder / 'data/Vid4', tmp_path / 'a')
    lr = tmp_path / 'a/BIx4/city'
    assert 'found 00000005.png after 00000003.png' in fail_vid4(
        tmp_path / 'a', lambda path: os.remove(lr / '00000004.png'))
    shutil.copy(lr / '00000003.png', lr / '00000004.png')
    message = fail_vid4(tmp_path / 'a',
                        lambda path: os.remove(lr / '00000001.png'))
    assert f'{lr} must hold 9 frames' in message and 'found 8' in message


def test_a_set_under_anothers_name(folder):
    """Vid4 has no annotation called UDM10's, and not its ten sequences."""
    message = fail_vid4(folder / 'data/UDM10', lambda path: None)
    assert 'meta_info_Vid4_GT.txt does not exist' in message
    loader = tiny('dksan_reds_x4').test_dataloader[5]
    loader.dataset.data_root = str(folder / 'data/Vid4')
    with pytest.raises(
            ValueError, match='10 sequences, found 2.*is this udm10-bd'):
        DATASETS.build(loader.dataset)


def test_tool(folder, *args, **kwargs):
    return run(sys.executable, osp.join(ROOT, 'tools/test.py'), *args,
               '--work-dir', folder / 'work', **kwargs)


test_tool.__test__ = False


def save(cfg, path, seed=0):
    """Save a checkpoint as MMagic's restorer with MMagic's network would,
    its counter included; return the restorer."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    state = dict(model.state_dict(), step_counter=torch.zeros(1))
    torch.save(dict(state_dict=state, meta=dict(iter=600)), path)
    return model.eval()


def test_mmagics_edvr(folder, tmp_path):
    """A checkpoint of MMagic's EDVRNet through the tool: the frames are those
    of MMagic's own module, and the numbers theirs."""
    cfg = tiny('edvr_reds_x4')
    generator = dict(cfg.model.generator, type='EDVRNet')
    del generator['scale'], generator['hr_channels']
    model = save(
        dict(
            type='EDVR',
            generator=generator,
            pixel_loss=cfg.model.pixel_loss,
            data_preprocessor=cfg.model.data_preprocessor),
        tmp_path / 'edvr.pth')
    test_tool(folder, folder / 'edvr_reds_x4.py', tmp_path / 'edvr.pth',
              '--dataset', 'reds4', '--data-root', folder / 'data/REDS',
              '--result-dir', tmp_path / 'edvr', '--save-frames')
    result = read_result(str(tmp_path / 'edvr/reds4.json'))
    assert (result.scale, result.iterations) == (4, 600)
    # MMagic's padding at the start: frames 4, 3, 0, 1, 2
    lr = np.stack([
        mmcv.imread(
            str(folder / f'data/REDS/train_sharp_bicubic/X4/011/{t:08d}.png'),
            channel_order='rgb') for t in (4, 3, 0, 1, 2)
    ])
    x = torch.from_numpy(lr).permute(0, 3, 1, 2)[None] / 255.
    with torch.no_grad():
        restored = model.generator(x)[0].clamp(0, 1) * 255
    saved = mmcv.imread(
        str(tmp_path / 'edvr/frames/reds4/011/00000000.png'),
        channel_order='rgb').transpose(2, 0, 1)
    assert np.abs(saved - restored.numpy()).max() <= 0.51
    truth = mmcv.imread(
        str(folder / 'data/REDS/train_sharp/011/00000000.png'),
        channel_order='rgb').transpose(2, 0, 1).astype(np.float64)
    mse = np.mean((restored.numpy() - truth)**2)
    assert result.frames['011'][0]['PSNR'] == pytest.approx(
        10 * np.log10(255**2 / mse), abs=1e-3)


def test_mmagics_basicvsr_pp(folder, tmp_path):
    """Whole sequences, and a clip with its mirror image: results frame by
    frame, as for networks of windows; the average is over sequences."""
    cfg = tiny('basicvsr-pp_reds_x4')
    model = save(cfg.model, tmp_path / 'pp.pth')
    data, lengths = tmp_path / 'Vid4', dict(calendar=2, city=3)
    write_listed(
        data,
        'meta_info_Vid4_GT.txt',
        lengths,
        first=1,
        lr=['BIx4'],
        size=(64, 68))  # the least that the network takes is 64
    test_tool(folder, folder / 'basicvsr-pp_reds_x4.py', tmp_path / 'pp.pth',
              '--dataset', 'vid4-bi', '--data-root', data, '--result-dir',
              tmp_path / 'pp', '--save-frames')
    result = read_result(str(tmp_path / 'pp/vid4-bi.json'))
    assert {s: len(f) for s, f in result.frames.items()} == lengths
    lr = np.stack([
        mmcv.imread(str(data / f'BIx4/city/{t:08d}.png'), channel_order='rgb')
        for t in (1, 2, 3)
    ])
    x = torch.from_numpy(lr).permute(0, 3, 1, 2)[None] / 255.
    with torch.no_grad():
        restored = model.generator(x)[0].clamp(0, 1) * 255
    for t in range(3):
        saved = mmcv.imread(
            str(tmp_path / f'pp/frames/vid4-bi/city/{t:08d}.png'),
            channel_order='rgb').transpose(2, 0, 1)
        assert np.abs(saved - restored[t].numpy()).max() <= 0.51
    assert result.frames['city'][0]['tOF'] is None
    assert result.frames['city'][1]['tOF'] > 0
    means = [values['PSNR_Y'] for values in result.sequences.values()]
    assert result.metrics['PSNR_Y'] == pytest.approx(np.mean(means))


def test_a_checkpoint_of_another_network_is_refused(folder, tmp_path):
    save(tiny('edvr_reds_x4').model, tmp_path / 'edvr.pth')
    found = test_tool(
        folder,
        folder / 'basicvsr-pp_reds_x4.py',
        tmp_path / 'edvr.pth',
        '--dataset',
        'vid4-bi',
        '--data-root',
        folder / 'data/Vid4',
        check=False)
    assert found.returncode != 0
    assert 'checkpoint must fit the model' in found.stderr
