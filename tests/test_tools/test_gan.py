"""dksan-lite-gan_x4, trained, resumed and tested as a user does."""
import sys

import numpy as np
import pytest
import torch
from commands import (ROOT, assert_same, logged, run, train, train_again,
                      weights)
from mmagic.registry import MODELS
from mmengine.config import Config
from PIL import Image
from raw_material import photograph, write_dataset

from dksan_mm.engine.checkpoint import load_checkpoint_file
from dksan_mm.utils.faults import CheckpointMismatchError

CONFIG = '''
_base_ = '{root}/configs/dksan-lite-gan_x4.py'
model = dict(
    discriminator=dict(mid_channels=4), perceptual_loss=dict(pretrained=None))
train_dataloader = _base_.train_dataloader
train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
train_dataloader['dataset']['datasets'][0]['data_root'] = '{folder}/photos'
train_dataloader['dataset']['datasets'][1]['data_root'] = '{folder}'
val_dataloader = dict(num_workers=0, dataset=dict(data_root='{folder}'))
test_dataloader = _base_.test_dataloader
test_dataloader[0].update(num_workers=0)
test_dataloader[0]['dataset']['data_root'] = '{folder}'
train_cfg = dict(max_iters=3, val_interval=100, val_begin=100)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('gan')
    (folder / 'photos').mkdir()
    Image.fromarray(photograph()[:200, :300]).save(folder / 'photos/a.png')
    write_dataset(
        folder, dict(train={'a': 7}, val={'b': 7}), scale=4, size=(52, 56))
    (folder / 'gan.py').write_text(CONFIG.format(root=ROOT, folder=folder))
    # the runner draws VGG's random weights from the config's seed
    train(folder / 'gan.py', folder / 'whole', '--amp')
    return folder


def test_both_parts_learn(folder):
    start = load_checkpoint_file('dksan-lite_x4')['state_dict']
    second, third = (
        load_checkpoint_file(str(folder / f'whole/iter_{count}.pth'))
        for count in (2, 3))
    # without averaging: what the hook keeps beside
    changed = {
        name: not torch.equal(value, third['ema_state_dict'][f'module.{name}'])
        for name, value in second['ema_state_dict'].items()
        for name in [name.replace('module.', '', 1)]
        if f'module.{name}' in third['ema_state_dict']
    }
    for part in ('generator', 'discriminator'):
        assert np.mean([new for name, new in changed.items()
                        if part in name]) > 0.9
    assert not any('perceptual' in name for name in third['state_dict'])
    for name, value in start.items():
        torch.testing.assert_close(
            third['state_dict'][name], value.float(), rtol=0, atol=2e-3)
    for name in ('loss_pix', 'loss_perceptual', 'loss_gan', 'loss_d_real',
                 'loss_d_fake'):
        losses = logged(folder / 'whole', name)
        assert len(losses) == 3 and np.isfinite(losses).all() and losses[0] > 0


def test_resumed_has_the_bits_of_an_undisturbed_one(folder):
    parts = folder / 'parts'
    result = train_again(folder / 'gan.py', folder / 'whole', parts, 2,
                         '--amp')
    assert 'missing keys' not in result.stdout + result.stderr
    assert_same(
        weights(parts / 'iter_3.pth'),
        weights(folder / 'whole/iter_3.pth'),
        rtol=0,
        atol=0)


def test_two_processes(folder):
    """They start from dksan-lite_x4, average the weights, and read and write
    the checkpoints of one process."""
    pair = folder / 'pair'
    command = ('bash', 'tools/dist_train.sh', folder / 'gan.py', 2,
               '--work-dir', pair, '--resume', '--cfg-options')
    run(*command, 'train_cfg.max_iters=2')
    run(*command, 'train_cfg.max_iters=3')
    for count in (2, 3):
        one, two = (
            load_checkpoint_file(str(folder / name / f'iter_{count}.pth'))
            for name in ('whole', 'pair'))
        for name in ('state_dict', 'ema_state_dict'):
            assert one[name].keys() == two[name].keys()


def test_is_tested_without_vgg(folder):
    """Also by a checkpoint of the generator alone."""
    for checkpoint in (folder / 'whole/iter_3.pth', 'dksan-lite_x4'):
        result = run(sys.executable, 'tools/test.py', folder / 'gan.py',
                     checkpoint, '--work-dir', folder / 'tested',
                     '--no-temporal', '--cfg-options',
                     'model.perceptual_loss.pretrained=nowhere.pth')
        assert 'PSNR' in result.stdout + result.stderr


def test_without_vgg_it_is_not_trained(folder):
    result = train(
        folder / 'gan.py',
        folder / 'none',
        '--cfg-options',
        'model.perceptual_loss.pretrained=nowhere.pth',
        check=False)
    assert result.returncode == 1
    assert ('perceptual_loss needs the ImageNet weights of vgg16, found no '
            'file nowhere.pth; run python tools/analysis_tools/'
            'fetch_lpips_weights.py vgg') in result.stderr


def test_checkpoints_of_another_variant_are_refused():
    cfg = Config.fromfile(f'{ROOT}/configs/dksan-lite-gan_x4.py').model
    cfg.discriminator.mid_channels = 4
    model = MODELS.build(cfg)
    state = load_checkpoint_file('dksan-lite_x4')['state_dict']
    model.load_state_dict(state, strict=False)
    with pytest.raises(CheckpointMismatchError, match='it lacks'):
        model.load_state_dict(dict(list(state.items())[:-1]), strict=False)
    whole = model.state_dict()
    model.load_state_dict(whole)  # all that there is
    name = next(name for name in whole if 'discriminator' in name)
    del whole[name]
    with pytest.raises(CheckpointMismatchError, match='discriminator'):
        model.load_state_dict(whole, strict=False)
