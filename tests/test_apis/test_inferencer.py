"""The inferencer in the place of MMagic's, and what MMagic lets in."""
import os.path as osp

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmagic.apis import MMagicInferencer
from mmagic.apis.inferencers.video_restoration_inferencer import \
    VideoRestorationInferencer
from mmagic.registry import MODELS
from mmengine.config import Config
from raw_material import make_frames, write_folder, write_video
from tiny_model import LOSSLESS, decode, write_tiny

from dksan_mm.apis.inferencer import DKSANVideoInferencer
from dksan_mm.apis.loading import load_model
from dksan_mm.apis.restore_video import restore_video

QUIET = dict(LOSSLESS, dtype='fp32', progress=False, scene_threshold=None)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with a model and a video."""
    folder = tmp_path_factory.mktemp('inferencer')
    write_tiny(folder)
    write_video(folder / 'in.mp4', make_frames(9, (16, 22)))
    return folder


def files(folder):
    return str(folder / 'tiny.py'), str(folder / 'tiny.pth')


def test_equals_the_function(folder, tmp_path):
    inferencer = DKSANVideoInferencer(
        *files(folder), device='cpu', extra_parameters=QUIET)
    assert isinstance(inferencer, VideoRestorationInferencer)
    found = inferencer.infer(
        video=str(folder / 'in.mp4'), result_out_dir=str(tmp_path / 'a.mkv'))
    assert found['frames'] == 9 and found['output'] == str(tmp_path / 'a.mkv')
    restore_video(
        load_model(*files(folder), 'cpu'), str(folder / 'in.mp4'),
        str(tmp_path / 'b.mkv'), **QUIET)
    np.testing.assert_array_equal(
        decode(tmp_path / 'a.mkv'), decode(tmp_path / 'b.mkv'))


def test_called_as_mmagics(folder, tmp_path):
    """With extra parameters at the call; they are this instance's alone."""
    inferencer = DKSANVideoInferencer(*files(folder), 'cpu', QUIET)
    other = DKSANVideoInferencer(*files(folder), 'cpu')
    inferencer(
        video=str(folder / 'in.mp4'),
        result_out_dir=str(tmp_path / 'out'),
        extra_parameters=dict(segment=4))
    assert len(list((tmp_path / 'out').iterdir())) == 9
    assert inferencer.get_extra_parameters() == [*QUIET, 'segment']
    assert other.get_extra_parameters() == []
    with pytest.raises(TypeError, match="got 'window_size'"):
        inferencer(
            video=str(folder / 'in.mp4'),
            result_out_dir=str(tmp_path / 'b.mkv'),
            extra_parameters=dict(window_size=5))


def test_a_checkpoint_must_fit(folder, tmp_path):
    (tmp_path / 'other.py').write_text(
        f"_base_ = '{folder / 'tiny.py'}'\n"
        'model = dict(generator=dict(with_dksa=False))\n')
    with pytest.raises(ValueError, match='the checkpoint must fit'):
        DKSANVideoInferencer(
            str(tmp_path / 'other.py'), str(folder / 'tiny.pth'), 'cpu')
    with pytest.raises(ValueError, match='checkpoint must be given'):
        DKSANVideoInferencer(str(folder / 'tiny.py'), device='cpu')


@pytest.mark.parametrize('name, window', [
    ('dksan-small_quickstart_x16', 7),
    ('edvr-small_quickstart_x16', 7),
    ('bicubic_vid3oc_x16', 1),
])
def test_mmagics_own_inferencer_takes_the_configs(name, window, folder,
                                                  tmp_path):
    """By another model's name; all frames but those at the ends, where
    MMagic pads in another way, are ours."""
    config = osp.join(ROOT, 'configs', f'{name}.py')
    checkpoint = str(tmp_path / 'checkpoint.pth')
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    frames = decode(folder / 'in.mp4')
    source = write_folder(tmp_path / 'in', frames, template='{:08d}.png')
    inferencer = MMagicInferencer(
        model_name='edvr',
        model_config=config,
        model_ckpt=checkpoint,
        device='cpu',
        extra_parameters=dict(window_size=window))
    inferencer.infer(video=source, result_out_dir=str(tmp_path / 'mmagic'))
    restore_video(
        load_model(config, checkpoint if model.state_dict() else None, 'cpu'),
        source,
        str(tmp_path / 'ours'),
        dtype='fp32',
        progress=False,
        scene_threshold=None)
    theirs, ours = decode(tmp_path / 'mmagic'), decode(tmp_path / 'ours')
    ends = window // 2
    assert len(theirs) == len(ours) == 9
    np.testing.assert_array_equal(theirs[ends:9 - ends], ours[ends:9 - ends])


def test_mmagic_knows_no_other_names(folder):
    with pytest.raises(ValueError, match='dksan is not supported'):
        MMagicInferencer(
            model_name='dksan', model_config=str(folder / 'tiny.py'))
