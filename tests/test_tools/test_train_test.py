"""Training, resuming, testing and launching, end to end on tiny data."""
import glob
import json
import os
import os.path as osp
import sys
import time
from functools import lru_cache

import mmagic
import mmcv
import pytest
import torch
from commands import (ROOT, assert_same, logged, run, train, train_again,
                      weights)
from raw_material import write_dataset

from dksan_mm.engine import allow_mmengine_checkpoints

CONFIG = '''
_base_ = '{root}/configs/dksan_vid3oc_x16.py'
work_dir = None

model = dict(
    generator=dict(
        mid_channels=8, num_blocks=(1, ), num_extraction_blocks=1,
        num_align_layers=1, deform_groups=2, num_dksa_layers=1, reduction=2),
    pixel_loss=dict(_delete_=True, type='MSELoss'))
train_pipeline = _base_.train_pipeline
train_pipeline[4]['dictionary']['scale'] = 2
train_pipeline[5]['gt_patch_size'] = 16
train_dataloader = dict(
    num_workers=0, batch_size=4,
    dataset=dict(
        data_root='{data}', scale=2, pipeline=train_pipeline,
        data_prefix=dict(img='train/BIx2', gt='train/GT')))
val_dataloader = dict(
    num_workers=0,
    dataset=dict(
        data_root='{data}', scale=2,
        data_prefix=dict(img='val/BIx2', gt='val/GT')))
test_dataloader = _base_.test_dataloader[:1]
test_dataloader[0]['num_workers'] = 0
test_dataloader[0]['dataset'].update(
    data_root='{data}', scale=2, ann_file='meta_info_val.txt',
    data_prefix=dict(img='val/BIx2', gt='val/GT'))
test_evaluator = [[dict(type='SequenceQuality'), dict(type='SequenceTOF')]]
train_cfg = dict(max_iters=60, val_interval=60)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = _base_.param_scheduler[1:]
param_scheduler[0].update(begin=0, end=60, T_max=60)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=30))
log_processor = dict(window_size=20)
'''

KILLED_ONCE = '''
import os, signal
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KilledOnce(Hook):

    def __init__(self, marker):
        self.marker = marker

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == 1 and runner.iter == 3:
            if not os.path.exists(self.marker):
                open(self.marker, 'w').close()
                os.kill(os.getpid(), signal.SIGKILL)
'''

# all that the lite configs have beyond the paper's
RECIPE = '''
_base_ = 'tiny.py'
model = dict(
    generator=dict(mid_channels=(8, ), reduction=(2, )), level_loss_weight=0.5)
max_iters = 4
train_cfg = dict(max_iters=max_iters, val_interval=100, val_begin=100)
optim_wrapper = dict(clip_grad=dict(max_norm=0.5))
param_scheduler = [
    dict(
        type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=2),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=2, end=max_iters,
        T_max=max_iters - 2, eta_min=1e-6)
]
custom_hooks = [
    dict(
        type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=1e-3,
        gamma=10, strict_load=False)
]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=100, save_best=None))
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with data and configs."""
    folder = tmp_path_factory.mktemp('runs')
    # LR frames are darkened: what there is to learn, and bicubic cannot know
    write_dataset(
        folder / 'data',
        dict(train={
            '000': 9,
            '001': 8
        }, val={
            '050': 7,
            '051': 8
        }),
        gain=0.6)
    config = CONFIG.format(root=ROOT, data=folder / 'data')
    (folder / 'tiny.py').write_text(config)
    (folder / 'sgd.py').write_text(
        "_base_ = 'tiny.py'\n"
        'optim_wrapper = dict(optimizer=dict('
        "_delete_=True, type='SGD', lr=0.5))\n"
        'train_cfg = dict(max_iters=6)\n'
        'default_hooks = dict(\n'
        '    logger=dict(interval=1), checkpoint=dict(interval=6))\n')
    (folder / 'recipe.py').write_text(RECIPE)
    (folder / 'bicubic.py').write_text(
        f"_base_ = '{ROOT}/configs/bicubic_vid3oc_x16.py'\n"
        'model = dict(scale=2)\n'
        'test_dataloader = _base_.test_dataloader[:1]\n'
        "test_dataloader[0]['num_workers'] = 0\n"
        "test_dataloader[0]['dataset'].update(\n"
        f"    data_root='{folder / 'data'}', scale=2,\n"
        "    ann_file='meta_info_val.txt',\n"
        "    data_prefix=dict(img='val/BIx2', gt='val/GT'))\n"
        "test_evaluator = [[dict(type='SequenceQuality'), "
        "dict(type='SequenceTOF')]]\n")
    return folder


@pytest.fixture(scope='module')
def trained(folder):
    """Return the work folder of a training."""
    train(folder / 'tiny.py', folder / 'trained')
    return folder / 'trained'


@pytest.fixture(scope='module')
def results(folder, trained):
    """Return the metrics of the trained network and of bicubic."""
    for config, checkpoint, out in (('tiny.py', trained / 'iter_60.pth',
                                     'dksan.json'), ('bicubic.py', 'none',
                                                     'bicubic.json')):
        run(sys.executable, 'tools/test.py', folder / config, checkpoint,
            '--work-dir', folder / 'tested', '--out', folder / out)
    return [
        json.loads((folder / out).read_text())
        for out in ('dksan.json', 'bicubic.json')
    ]


def test_loss_falls(trained):
    losses = logged(trained, 'loss')  # means over 20 iterations
    assert losses[-1] < 0.4 * losses[0]


def test_learns_what_it_never_saw(results):
    """On sequences held out the darkening is undone, which leaves what
    super-resolution leaves."""
    dksan, bicubic = results
    assert set(dksan) == {
        f'{metric}{sequence}'
        for sequence in ('', '/050', '/051')
        # of 32x48 pixels a border of 16 leaves none
        for metric in ('PSNR', 'SSIM', 'PSNR_Y', 'SSIM_Y', 'tOF')
    }
    for sequence in ('PSNR/050', 'PSNR/051'):
        assert dksan[sequence] > bicubic[sequence] + 5
    assert dksan['PSNR'] == pytest.approx(
        (dksan['PSNR/050'] + dksan['PSNR/051']) / 2)


def test_validates_and_keeps_the_best(trained, results):
    assert glob.glob(str(trained / 'best_PSNR_iter_60.pth'))
    assert logged(trained,
                  'PSNR') == [pytest.approx(results[0]['PSNR'], abs=1e-4)]


def test_resumed_training_ends_where_the_undisturbed_one_does(folder, trained):
    resumed = folder / 'resumed'
    train_again(folder / 'tiny.py', trained, resumed, 30)
    assert_same(
        weights(resumed / 'iter_60.pth'),
        weights(trained / 'iter_60.pth'),
        rtol=1e-4,
        atol=1e-6)


class TestRecipe:
    """Averaged weights, clipping, warm-up and stops, together."""

    @pytest.fixture(scope='class')
    def whole(self, folder):
        train(folder / 'recipe.py', folder / 'whole')
        return folder / 'whole'

    def test_stopped_and_resumed_has_the_bits_of_an_undisturbed_one(
            self, folder, whole):
        """Where every other part recomputes its activations."""
        parts = folder / 'parts'
        stops = 0
        for options in ([], *[['--resume']] * 5):
            train(folder / 'recipe.py', parts, '--max-time', '0.001s',
                  '--cfg-options', f'model.generator.with_cp={stops % 2 == 1}',
                  *options)
            last = (parts / 'last_checkpoint').read_text()
            if last.endswith('iter_4.pth'):
                break
            stops += 1
        assert stops == 3  # after every iteration
        allow_mmengine_checkpoints()
        first, second = (
            torch.load(path / 'iter_4.pth') for path in (whole, parts))
        for key in ('state_dict', 'ema_state_dict'):
            assert_same(first[key], second[key], rtol=0, atol=0)
        assert str(first['optimizer']) == str(second['optimizer'])

    def test_checkpoints_hold_the_averaged_weights(self, whole):
        allow_mmengine_checkpoints()
        loaded = torch.load(whole / 'iter_4.pth')
        averaged, trained = loaded['state_dict'], loaded['ema_state_dict']
        name = 'generator.upscale.0.conv_last.weight'
        ratio = averaged[name].norm() / trained[f'module.{name}'].norm()
        # it begins at zero, which the average still remembers
        assert 0 < ratio < 0.95

    def test_warm_up(self, whole):
        rates = logged(whole, 'lr')
        assert rates[0] == pytest.approx(3e-5)
        assert rates[1] == max(rates) == pytest.approx(3e-3)
        assert rates[2:] == sorted(rates[2:], reverse=True)


@pytest.fixture(scope='module')
def one(folder):
    """Return the work folder of a training by one process, by whether it is
    in mixed precision."""

    @lru_cache(maxsize=None)
    def get(amp):
        train(folder / 'sgd.py', folder / f'one{amp}', *['--amp'] * amp)
        return folder / f'one{amp}'

    return get


@pytest.fixture(scope='module')
def two(folder):
    """The same by two processes, with the same windows an iteration."""

    @lru_cache(maxsize=None)
    def get(amp, with_cp):
        work_dir = folder / f'two{amp}{with_cp}'
        run('bash', 'tools/dist_train.sh', folder / 'sgd.py', 2, '--work-dir',
            work_dir, *['--amp', 'bf16'] * amp, '--cfg-options',
            'train_dataloader.batch_size=2',
            f'model.generator.with_cp={with_cp}')
        return work_dir

    return get


@pytest.mark.parametrize('amp, with_cp', [(False, False), (True, False),
                                          (False, True)])
def test_two_processes_equal_one(one, two, amp, with_cp):
    """tools/dist_train.sh CONFIG 2, here without a GPU; with activation
    checkpointing in both processes as well, which changes nothing."""
    one, two = one(amp), two(amp, with_cp)
    first, second = (weights(path / 'iter_6.pth') for path in (one, two))
    # bfloat16 rounds each sample's activations, not sums over the batch
    assert_same(
        first, second, rtol=1e-2 if amp else 1e-4, atol=1e-3 if amp else 1e-6)
    start = weights(one / 'iter_6.pth')['generator.upscale.0.conv_last.weight']
    assert start.abs().max() > 1e-4  # it has moved from zero


def test_training_goes_on_by_itself_where_a_process_dies(folder, two):
    """One of two processes is killed once, in the fourth iteration; both are
    started again and end with the bits of an undisturbed run."""
    hook = folder / 'killed_once.py'
    hook.write_text(KILLED_ONCE)
    marker = folder / 'killed.marker'
    (folder / 'killed.py').write_text(
        "_base_ = 'sgd.py'\n"
        "custom_imports = dict(imports=[*_base_.custom_imports['imports'],"
        " 'killed_once'], allow_failed_imports=False)\n"
        f"custom_hooks = [dict(type='KilledOnce', marker='{marker}')]\n"
        'train_dataloader = dict(batch_size=2)\n'
        'default_hooks = dict(checkpoint=dict(interval=2))\n')
    result = run(
        'bash',
        'tools/dist_train.sh',
        folder / 'killed.py',
        2,
        '--resume',
        '--work-dir',
        folder / 'killed',
        MAX_RESTARTS='1',
        PYTHONPATH=str(folder))
    assert marker.exists()
    assert 'resumed epoch: 0, iter: 2' in result.stdout + result.stderr
    assert_same(
        weights(folder / 'killed' / 'iter_6.pth'),
        weights(two(False, False) / 'iter_6.pth'),
        rtol=0,
        atol=0)


def test_a_training_can_be_watched(folder):
    """In TensorBoard: what is logged, and pictures, one a frame."""
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator')
    (folder / 'watched.py').write_text(
        "_base_ = 'tiny.py'\n"
        'visualizer = _base_.pictures\n'
        'train_dataloader = dict(batch_size=1)\n'
        'optim_wrapper = dict(clip_grad=dict(max_norm=1))\n'
        'train_cfg = dict(max_iters=100, val_interval=100)\n'
        'default_hooks = dict(pictures=dict(\n'
        '    on_val=True, interval=dict(val=4)))\n')
    train(folder / 'watched.py', folder / 'watched')
    data, = glob.glob(str(folder / 'watched' / '*' / 'vis_data'))
    found = event_accumulator.EventAccumulator(data)
    found.Reload()
    assert {
        'loss', 'lr', 'grad_norm', 'alignment_offset', 'alignment_mask', 'PSNR'
    } <= set(found.Tags()['scalars'])
    losses = [event.value for event in found.Scalars('loss')]
    assert losses == pytest.approx(
        logged(folder / 'watched', 'loss'), rel=1e-4)
    # of 8 frames and then 7, every fourth; each by its own name
    names = ['050_00000003', '051_00000003', '051_00000007']
    assert sorted(found.Tags()['images']) == names
    files = sorted(os.listdir(osp.join(data, 'vis_image')))
    assert files == [f'{name}_100.png' for name in names]
    picture = mmcv.imread(osp.join(data, 'vis_image', files[0]), backend='cv2')
    assert picture.shape == (32, 2 * 48, 3)
    hr = mmcv.imread(
        str(folder / 'data/val/GT/050/00000003.png'), backend='cv2')
    assert (picture[:, 48:] == hr).all()
    assert (picture[:, :48] != hr).any()


def test_two_processes_test_as_one(folder, results):
    """Here what has no weights; a network in test_test_tool.py."""
    run('bash', 'tools/dist_test.sh', folder / 'bicubic.py', 'none', 2,
        '--work-dir', folder / 'dist_test', '--out', folder / 'dist.json')
    assert json.loads((folder / 'dist.json').read_text()) == results[1]


def test_auto_scale_lr(folder, one):
    train(folder / 'sgd.py', folder / 'scaled', '--auto-scale-lr')
    # 4 windows in all instead of 16
    ratio = logged(folder / 'scaled', 'lr')[0] / logged(one(False), 'lr')[0]
    assert ratio == pytest.approx(1 / 4)


def test_mmagics_own_tools_run_the_configs(folder):
    tools = osp.join(osp.dirname(mmagic.__file__), '.mim', 'tools')
    work_dir = folder / 'mmagic'
    for options in ([], ['--resume']):
        run(sys.executable, osp.join(tools, 'train.py'), folder / 'sgd.py',
            '--work-dir', work_dir, *options, '--cfg-options',
            f'train_cfg.max_iters={3 if not options else 6}',
            'default_hooks.checkpoint.interval=3')
    result = run(sys.executable, osp.join(tools, 'test.py'), folder / 'sgd.py',
                 work_dir / 'iter_6.pth', '--work-dir', work_dir)
    assert 'PSNR/050' in result.stdout + result.stderr


@pytest.mark.parametrize('args, message', [
    ([
        'train.py', 'tiny.py', '--cfg-options',
        'train_dataloader.dataset.data_root=nowhere'
    ], 'nowhere/train/BIx2, does not exist'),
    ([
        'train.py', 'tiny.py', '--cfg-options',
        'model.generator.with_dksa=False', 'load_from={trained}'
    ], 'iter_60.pth: the checkpoint must fit'),
    (['train.py', 'bicubic.py'], 'must have a train_dataloader'),
    (['test.py', 'tiny.py'], 'test.py: checkpoint must be given'),
    ([
        'train.py', 'tiny.py', '--resume', '--cfg-options',
        'load_from=dksan-lite_x4'
    ], 'dksan-lite_x4 must hold the state of a training'),
    (['test.py', 'bicubic.py', '{trained}'], "checkpoint must be 'none'"),
    (['train.py', 'tiny.py', '--cfg-options', 'train_cfg.max_iters=abc'
      ], 'train_cfg.max_iters of'),
    (['train.py', 'tiny.py', '--cfg-options', 'model.generator.mid_chanels=8'],
     "DKSANNet has no setting 'mid_chanels' (did you mean 'mid_channels'?)"),
    ([
        'train.py', 'tiny.py', '--cfg-options',
        'train_pipeline.5.gt_patch_size=640',
        'train_dataloader.dataset.pipeline.5.gt_patch_size=640',
        'train_dataloader.num_workers=1'
    ], 'smaller than patch size'),
])
def test_faults_are_said_before_training(folder, trained, args, message):
    args = [
        arg.format(trained=trained / 'iter_60.pth') if '{' in arg else arg
        for arg in args
    ]
    result = run(
        sys.executable,
        f'tools/{args[0]}',
        folder / args[1],
        *args[2:],
        '--work-dir',
        folder / 'faults',
        check=False)
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]
    assert 'Traceback' not in result.stderr
    assert 'Iter(train)' not in result.stdout + result.stderr


@pytest.mark.parametrize(
    'script',
    ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_launchers_say_how_they_are_called(script):
    result = run('bash', f'tools/{script}', check=False)
    assert result.returncode == 2
    assert f'bash tools/{script}' in result.stderr


def test_restarts_know_when_the_training_began(tmp_path):
    """For --max-time; torchrun is only played here."""
    torchrun = tmp_path / 'torchrun'
    torchrun.write_text('#!/bin/sh\necho "$DKSAN_MM_START"\n')
    torchrun.chmod(0o755)
    before = int(time.time())
    out = run(
        'bash',
        'tools/dist_train.sh',
        'c.py',
        2,
        PATH=f'{tmp_path}:{os.environ["PATH"]}').stdout
    assert before <= int(out) <= time.time()


def test_slurm_commands(tmp_path):
    """srun gets the job and the program; there is no Slurm here."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    out = run(
        'bash',
        'tools/slurm_train.sh',
        'part',
        'job',
        'c.py',
        'work',
        '--amp',
        PATH=path,
        GPUS='2',
        GPUS_PER_NODE='1').stdout
    assert '-p part --job-name=job --gres=gpu:1 --ntasks=2' in out
    assert out.strip().endswith(
        'tools/train.py c.py --work-dir work --launcher slurm --amp')
    out = run(
        'bash',
        'tools/slurm_test.sh',
        'part',
        'job',
        'c.py',
        'p.pth',
        PATH=path).stdout
    assert out.strip().endswith('tools/test.py c.py p.pth --launcher slurm')
