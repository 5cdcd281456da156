"""Models with their checkpoints, refused unless they fit."""
import os.path as osp

import pytest
import torch
from commands import ROOT
from tiny_model import data, write_tiny

from dksan_mm.apis.loading import load_model
from dksan_mm.utils.faults import CheckpointMismatchError


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
    text = tmp_path / 'text.pth'
    text.write_text('This is no checkpoint, but a text.\n')
    empty = tmp_path / 'no_model.py'
    empty.write_text('max_iters = 3\n')
    (tmp_path / 'damaged.pth').write_bytes(data(folder / 'tiny.pth')[:999])
    for kind, message, arguments in (
        (ValueError, 'checkpoint must be given', (config, )),
        (ValueError, 'checkpoint must be given', (config, 'none')),
        (FileNotFoundError, 'no.pth does not exist', (config, 'no.pth')),
        (ValueError, 'must be a whole file', (config,
                                              str(tmp_path / 'damaged.pth'))),
        (ValueError, 'text.pth must be', (config, text)),
        (FileNotFoundError, 'config no.py does not exist', ('no.py', )),
        (ValueError, 'no_model.py must describe a model', (empty, )),
        (ValueError, "--device must be cpu, cuda or cuda:N, got 'foo'",
         (config, str(folder / 'tiny.pth'), 'foo')),
        (CheckpointMismatchError, 'tiny.pth: the checkpoint must fit',
         (str(other), str(folder / 'tiny.pth'))),
    ):
        with pytest.raises(kind, match=message):
            load_model(*arguments)


def test_mismatches_are_told_shortly(folder):
    """Also of models whose loader names every tensor."""
    bicubic = osp.join(ROOT, 'configs/bicubic_vid3oc_x16.py')
    small = osp.join(ROOT, 'configs/dksan-small_quickstart_x16.py')
    for config in (bicubic, small):
        with pytest.raises(CheckpointMismatchError) as caught:
            load_model(config, folder / 'tiny.pth', 'cpu')
        assert len(str(caught.value)) < 1000
        assert 'strict_checkpoint' not in str(caught.value)
