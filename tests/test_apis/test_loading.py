"""Models with their checkpoints, refused unless they fit."""
import pytest
import torch
from tiny_model import data, write_tiny

from dksan_mm.apis.loading import load_model
from dksan_mm.engine.checkpoint import CheckpointMismatchError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with a config and a checkpoint."""
    folder = tmp_path_factory.mktemp('model')
    write_tiny(folder)
    return folder


def test_load_model(folder):
    model = load_model(
        str(folder / 'tiny.py'), str(folder / 'tiny.pth'), 'cpu')
    assert not model.training
    saved = torch.load(folder / 'tiny.pth')['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved[key])
    assert model.cfg.model.generator.mid_channels == 8


def test_load_model_refuses(folder, tmp_path):
    config = str(folder / 'tiny.py')
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = '{config}'\n"
                     'model = dict(generator=dict(with_dksa=False))\n')
    (tmp_path / 'damaged.pth').write_bytes(data(folder / 'tiny.pth')[:999])
    for kind, message, arguments in (
        (ValueError, 'checkpoint must be given', (config, )),
        (ValueError, 'checkpoint must be given', (config, 'none')),
        (FileNotFoundError, 'no.pth does not exist', (config, 'no.pth')),
        (ValueError, 'must be a whole file', (config,
                                              str(tmp_path / 'damaged.pth'))),
        (CheckpointMismatchError, 'tiny.pth: the checkpoint must fit',
         (str(other), str(folder / 'tiny.pth'))),
    ):
        with pytest.raises(kind, match=message):
            load_model(*arguments, device='cpu')
