"""The inferencer in the place of MMagic's, and what MMagic lets in."""
import os.path as osp

import numpy as np
import pytest
import torch
from commands import ROOT
from mmagic.apis import MMagicInferencer
from mmagic.apis.inferencers.video_restoration_inferencer import \
    VideoRestorationInferencer
from mmagic.registry import MODELS
from mmengine.config import Config
from raw_material import make_frames, write_folder, write_video
from tiny_model import LOSSLESS, decode, write_tiny

from dksan_mm import weights
from dksan_mm.apis import inferencer
from dksan_mm.apis.inferencer import DKSANVideoInferencer, register_with_mmagic
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


@pytest.mark.parametrize('name', [
    'dksan-small_quickstart_x16', 'edvr-small_quickstart_x16',
    'bicubic_vid3oc_x16'
])
def test_mmagics_own_inferencer_takes_the_configs(name, folder, tmp_path):
    """All frames are ours."""
    config = osp.join(ROOT, 'configs', f'{name}.py')
    checkpoint = str(tmp_path / 'checkpoint.pth')
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    frames = decode(folder / 'in.mp4')
    source = write_folder(tmp_path / 'in', frames, template='{:08d}.png')
    mmagics = MMagicInferencer(
        'dksan', model_config=config, model_ckpt=checkpoint, device='cpu')
    mmagics.infer(video=source, result_out_dir=str(tmp_path / 'mmagic'))
    assert_ours(
        load_model(config, checkpoint if model.state_dict() else None, 'cpu'),
        source, tmp_path / 'mmagic', tmp_path)


def assert_ours(model, source, restored, tmp_path):
    """Compare what MMagic wrote with what restore_video writes."""
    restore_video(
        model,
        str(source),
        str(tmp_path / 'ours'),
        dtype='fp32',
        progress=False,
        scene_threshold=None)
    np.testing.assert_array_equal(decode(restored), decode(tmp_path / 'ours'))


class TestNames:
    """The trained networks in MMagic's own interface."""

    def test_video(self, folder, tmp_path):
        """As in MMagic's documentation: a name, a video in, a video out."""
        MMagicInferencer(
            'dksan-lite_x4', device='cpu').infer(
                video=str(folder / 'in.mp4'),
                result_out_dir=str(tmp_path / 'out.mp4'))
        assert decode(tmp_path / 'out.mp4').shape == (9, 64, 88, 3)

    @pytest.mark.parametrize('count', [1, 7])
    @pytest.mark.parametrize('name', weights.names())
    def test_network(self, name, count, folder, tmp_path):
        """With its weights and windows; a clip as long as a window is one,
        too."""
        source = write_folder(
            tmp_path / 'in',
            decode(folder / 'in.mp4')[:count],
            template='{:08d}.png')
        MMagicInferencer(
            name, device='cpu').infer(
                video=source, result_out_dir=str(tmp_path / 'mmagic'))
        assert_ours(
            load_model(name, device='cpu'), source, tmp_path / 'mmagic',
            tmp_path)

    def test_settings(self):
        settings = MMagicInferencer.inference_supported_models_cfg['dksan']
        assert [s['Name'] for s in settings['settings']
                ] == ['dksan-lite_x4', 'dksan-lite_x16', 'dksan-lite-real_x4']
        mmagics = MMagicInferencer('dksan', 1, device='cpu').inferencer
        assert mmagics.inferencer.model.generator.scale == 16

    def test_mmagics_own_names_stay(self):
        names = MMagicInferencer.get_task_supported_models(
            'Video Super-Resolution')
        assert {'edvr', 'basicvsr', 'dksan', *weights.names()} <= {*names}
        before = len(MMagicInferencer.inference_supported_models)
        register_with_mmagic()
        assert len(MMagicInferencer.inference_supported_models) == before

    def test_without_configs(self, monkeypatch, tmp_path):
        said = []
        monkeypatch.setattr(inferencer, 'print_log',
                            lambda text, **_: said.append(text))
        monkeypatch.setattr(inferencer, '_config_folder',
                            lambda: str(tmp_path))
        register_with_mmagic()
        assert 'metafile.yml' in said[0]
        assert 'install dksan_mm again' in said[0]
