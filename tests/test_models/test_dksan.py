"""The restorer, in MMagic's terms."""
import copy
from types import SimpleNamespace

import pytest
import torch
from commands import ROOT
from mmagic.datasets.transforms import MATLABLikeResize
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from tiny_networks import DKSAN as TINY

from dksan_mm.models import DKSAN
from dksan_mm.models.dksan import restore_clip
from dksan_mm.utils.faults import CheckpointMismatchError


def make_model(strict_checkpoint=True,
               level_loss_weight=0.,
               perceptual_loss=None,
               **generator):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='DKSAN',
            strict_checkpoint=strict_checkpoint,
            level_loss_weight=level_loss_weight,
            perceptual_loss=perceptual_loss,
            generator=dict(type='DKSANNet', **{
                **TINY,
                **generator
            }),
            pixel_loss=dict(type='CharbonnierLoss', eps=1e-6),
            data_preprocessor=dict(
                type='DataPreprocessor', mean=[0.] * 3, std=[255.] * 3)))


def make_batch():
    """Return a batch as a data loader has it: BGR values in [0, 255]."""
    sample = DataSample(gt_img=torch.randint(0, 256, (3, 16, 24)).float())
    return dict(
        inputs=[torch.randint(0, 256, (3, 3, 4, 6)).float()],
        data_samples=[sample])


def test_loss_is_eq_13():
    model = make_model()
    batch = make_batch()
    data = model.data_preprocessor(batch, training=True)
    loss = model(**data, mode='loss')['loss']
    out = model.generator(data['inputs'])
    difference = out - data['data_samples'].gt_img
    torch.testing.assert_close(loss, (difference**2 + 1e-3**2).sqrt().mean())


def test_loss_of_the_levels():
    """The same loss on each image, against the HR frame reduced as MATLAB
    does."""
    model = make_model(level_loss_weight=0.25, num_blocks=(1, 1, 1))
    frame = torch.randint(0, 256, (3, 32, 48)).float()
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 3, 4, 6)).float()],
        data_samples=[DataSample(gt_img=frame)])
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    hr = data['data_samples'].gt_img
    images = model.generator(data['inputs'], return_levels=True)
    expected = []
    for image, scale in zip(images, (4, 2, 1)):
        array = hr[0].permute(1, 2, 0).numpy()
        target = MATLABLikeResize(
            keys=['x'], scale=1 / scale)(dict(x=array))['x']
        target = torch.from_numpy(target).permute(2, 0, 1).float()
        expected.append(((image - target)**2 + 1e-6).sqrt().mean())
    torch.testing.assert_close(losses['loss_pixel'], expected[2])
    torch.testing.assert_close(
        losses['loss_levels'],
        0.25 * (expected[0] + expected[1]) / 2,
        rtol=1e-3,
        atol=1e-4)
    # both beside a perceptual loss, which only training needs
    perceptual = dict(
        type='VGGPerceptualLoss', layer_weights={'2': 1.}, pretrained=None)
    model = make_model(
        level_loss_weight=0.25,
        num_blocks=(1, 1, 1),
        perceptual_loss=perceptual)
    model.perceptual_loss.init_weights()
    losses = model(**data, mode='loss')
    assert losses.keys() == {'loss_pixel', 'loss_levels', 'loss_perceptual'}
    restored = model.generator(data['inputs'])
    torch.testing.assert_close(losses['loss_perceptual'],
                               model.perceptual_loss(restored, hr)[0])
    assert not any('perceptual' in name for name in model.state_dict())
    with pytest.raises(ValueError, match='level_loss_weight must be at least'):
        make_model(level_loss_weight=-1)


def test_predicts_in_the_values_of_images():
    model = make_model().eval()
    batch = make_batch()
    inputs = batch['inputs'][0].clone()
    with torch.no_grad():
        result = model.test_step(batch)[0]
        expected = model.generator(inputs[None] / 255)[0] * 255
    assert result.output.pred_img.shape == (3, 16, 24)
    torch.testing.assert_close(
        result.output.pred_img, expected.clamp(0, 255), rtol=0, atol=1e-3)


def test_loads_its_own_checkpoint():
    model, other = make_model(), make_model()
    torch.nn.init.normal_(model.generator.fuse.weight)
    _load_checkpoint_to_model(other, dict(state_dict=model.state_dict()))
    assert torch.equal(model.generator.fuse.weight,
                       other.generator.fuse.weight)


@pytest.mark.parametrize('variant, message', [
    (dict(with_alignment=False), r'it lacks .*align \(\d+ tensors\)'),
    (dict(with_dksa=False), r'it lacks .*dksa \(\d+ tensors\)'),
    (dict(mid_channels=8), r'tensors differ in shape, such as generator\.'),
    (dict(num_frames=5), r'1 tensors differ in shape.*fuse\.weight'),
    (dict(num_blocks=(1, 1, 1)), 'it has, and the model lacks'),
])
def test_refuses_a_checkpoint_of_another_variant(variant, message):
    checkpoint = dict(state_dict=make_model(**variant).state_dict())
    with pytest.raises(ValueError, match=message) as error:
        _load_checkpoint_to_model(make_model(), checkpoint)
    assert 'strict_checkpoint=False' in str(error.value)


def test_starts_from_what_fits_if_told():
    source = make_model(with_dksa=False)
    torch.nn.init.normal_(source.generator.fuse.weight)
    model = make_model(strict_checkpoint=False)
    _load_checkpoint_to_model(model, dict(state_dict=source.state_dict()))
    assert torch.equal(model.generator.fuse.weight,
                       source.generator.fuse.weight)


@pytest.mark.parametrize('resume', [False, True])
def test_the_averaged_copy_is_as_strict(resume):
    """The lite schedule's EMAHook leaves it to the model what is refused."""
    schedule = Config.fromfile(f'{ROOT}/configs/_base_/schedules/adam_lite.py')
    other = make_model(with_dksa=False)
    torch.nn.init.normal_(other.generator.fuse.weight)
    state = other.state_dict()
    checkpoint = dict(state_dict=state)
    if resume:
        checkpoint['ema_state_dict'] = {
            f'module.{key}': value
            for key, value in state.items()
        }

    def load(strict_checkpoint):
        hook = HOOKS.build(schedule.custom_hooks[0])
        runner = SimpleNamespace(
            model=make_model(strict_checkpoint), _resume=resume)
        hook.before_run(runner)
        hook.after_load_checkpoint(runner, copy.deepcopy(checkpoint))
        return hook.ema_model.module

    with pytest.raises(CheckpointMismatchError, match='it lacks .*dksa'):
        load(True)
    assert torch.equal(
        load(False).generator.fuse.weight, other.generator.fuse.weight)


def test_registered_by_name():
    assert MODELS.get('DKSAN') is DKSAN


def test_clips_come_one_by_one():
    network = torch.nn.Identity()
    with pytest.raises(ValueError, match='one by one'):
        restore_clip(network, torch.zeros(2, 1, 4, 3, 8, 8))
