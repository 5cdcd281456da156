"""dksan-lite-real_x4, trained as a user does on a few frames."""
import numpy as np
import torch
from commands import ROOT, assert_same, logged, train, train_again, weights
from PIL import Image
from raw_material import photograph, write_dataset

from dksan_mm.engine.checkpoint import load_checkpoint_file

CONFIG = '''
_base_ = '{root}/configs/dksan-lite-real_x4.py'
model = dict(perceptual_loss=dict(pretrained=None))
train_dataloader = _base_.train_dataloader
train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
train_dataloader['dataset']['datasets'][0]['data_root'] = '{folder}/photos'
train_dataloader['dataset']['datasets'][1]['data_root'] = '{folder}'
val_dataloader = dict(num_workers=0, dataset=dict(data_root='{folder}'))
test_dataloader = [val_dataloader]
train_cfg = dict(max_iters=3, val_interval=100, val_begin=100)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
'''


def test_trains_from_dksan_lite_and_goes_on_from_its_own(tmp_path):
    """Resumed, it starts from its newest checkpoint, not from dksan-lite_x4
    anew, and ends with the bits of an undisturbed training."""
    (tmp_path / 'photos').mkdir()
    Image.fromarray(photograph()[:200, :300]).save(tmp_path / 'photos/a.png')
    write_dataset(
        tmp_path, dict(train={'a': 7}, val={'b': 7}), scale=4, size=(52, 56))
    config = tmp_path / 'real.py'
    config.write_text(CONFIG.format(root=ROOT, folder=tmp_path))
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    result = train(config, whole, '--resume')
    assert 'found no checkpoint' in result.stdout + result.stderr
    losses = logged(whole, 'loss')
    assert len(losses) == 3 and np.isfinite(losses).all()
    start = load_checkpoint_file('dksan-lite_x4')['state_dict']
    first = load_checkpoint_file(str(whole / 'iter_2.pth'))['state_dict']
    for name, value in start.items():
        # two iterations of the warm-up, and averaged weights
        torch.testing.assert_close(
            first[name], value.float(), rtol=0, atol=1e-3)
    train_again(config, whole, parts, 2)
    assert_same(
        weights(parts / 'iter_3.pth'),
        weights(whole / 'iter_3.pth'),
        rtol=0,
        atol=0)
