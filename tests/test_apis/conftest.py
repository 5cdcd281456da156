"""A small video, and a model that restores it."""
import pytest
from commands import ROOT
from raw_material import make_frames, write_video
from tiny_model import SIZE, restore, write_tiny

from dksan_mm.apis.loading import load_model


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with configs, a checkpoint and a video."""
    folder = tmp_path_factory.mktemp('videos')
    write_tiny(folder)
    (folder / 'bicubic.py').write_text(
        f"_base_ = '{ROOT}/configs/bicubic_vid3oc_x16.py'\n"
        'model = dict(scale=2)\n')
    write_video(folder / 'in.mkv', make_frames(23, SIZE))
    return folder


@pytest.fixture(scope='module')
def model(folder):
    return load_model(str(folder / 'tiny.py'), str(folder / 'tiny.pth'), 'cpu')


@pytest.fixture
def source(folder):
    return str(folder / 'in.mkv')


@pytest.fixture(scope='module')
def undisturbed(folder, model):
    """Return the file of a run that nothing disturbed."""
    output = folder / 'undisturbed.mkv'
    restore(model, str(folder / 'in.mkv'), output)
    return output
