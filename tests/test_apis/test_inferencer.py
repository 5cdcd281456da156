"""The inferencer in the place of MMagic's, and what MMagic lets in."""
import numpy as np
import pytest
from mmagic.apis import MMagicInferencer
from mmagic.apis.inferencers.video_restoration_inferencer import \
    VideoRestorationInferencer
from raw_material import make_frames, write_folder, write_video
from tiny_model import LOSSLESS, decode, write_tiny

from dksan_mm.apis.inferencer import DKSANVideoInferencer
from dksan_mm.apis.loading import load_model
from dksan_mm.apis.restore_video import restore_video

QUIET = dict(LOSSLESS, progress=False, scene_threshold=None)
# what MMagic's own inferencer reads the frames by
DEMO = '''
demo_pipeline = [
    dict(type='GenerateSegmentIndices', interval_list=[1]),
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='PackInputs')
]
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with a model and a video."""
    folder = tmp_path_factory.mktemp('inferencer')
    config, _ = write_tiny(folder)
    with open(config, 'a') as file:
        file.write(DEMO)
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


def test_mmagics_own_inferencer_takes_the_config(folder, tmp_path):
    """By another model's name; all frames but those at the ends, where
    MMagic pads in another way, are ours."""
    frames = decode(folder / 'in.mp4')
    source = write_folder(tmp_path / 'in', frames, template='{:08d}.png')
    inferencer = MMagicInferencer(
        model_name='edvr',
        model_config=str(folder / 'tiny.py'),
        model_ckpt=str(folder / 'tiny.pth'),
        device='cpu',
        extra_parameters=dict(window_size=5))
    inferencer.infer(video=source, result_out_dir=str(tmp_path / 'mmagic'))
    restore_video(
        load_model(*files(folder), 'cpu'), source, str(tmp_path / 'ours'),
        **QUIET)
    theirs, ours = decode(tmp_path / 'mmagic'), decode(tmp_path / 'ours')
    assert len(theirs) == len(ours) == 9
    np.testing.assert_array_equal(theirs[2:-2], ours[2:-2])


def test_mmagic_knows_no_other_names(folder):
    with pytest.raises(ValueError, match='dksan is not supported'):
        MMagicInferencer(
            model_name='dksan', model_config=str(folder / 'tiny.py'))
