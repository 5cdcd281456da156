"""Trained networks that come with the package."""
import glob
import json
import os.path as osp
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import ROOT
from mmengine.config import Config
from raw_material import photograph, shot
from safetensors.torch import load_file, save_file
from tiny_model import write_tiny

from dksan_mm import weights
from dksan_mm.apis import DKSANVideoInferencer, load_model
from dksan_mm.datasets.reduction import reduce_frame
from dksan_mm.utils import precision

FOLDER = osp.join(ROOT, 'dksan_mm', 'weights')


def test_all_files_are_known_and_small():
    files = glob.glob(osp.join(FOLDER, '*.safetensors'))
    assert {osp.basename(path)
            for path in files
            } == {f'{name}.safetensors'
                  for name in weights.names()}
    assert sum(map(osp.getsize, files)) <= 16 * 2**20


@pytest.mark.parametrize('name', weights.names())
class TestNetwork:

    def test_is_of_its_config(self, name):
        """Loads whole, and describes the network of configs/."""
        model = load_model(name, device='cpu')
        cfg = Config.fromfile(osp.join(ROOT, 'configs', f'{name}.py'))
        assert model.cfg.model.to_dict() == json.loads(
            json.dumps(cfg.model.to_dict()))
        assert model.generator.scale == cfg.scale
        x = torch.rand(1, 7, 3, 9, 12)
        with torch.inference_mode():
            out = model.generator(x)
        assert out.shape[2:] == (9 * cfg.scale, 12 * cfg.scale)
        # what is trained is near the picture, and not bicubic's
        rough = torch.nn.functional.interpolate(
            x[:, 3], scale_factor=cfg.scale, mode='bicubic')
        difference = (out - rough).abs().mean()
        assert 0.005 < difference < 0.2

    def test_in_bfloat16(self, name):
        """As restoration has it where it pays: the same to the eye."""
        network = load_model(name, device='cpu').generator
        clip = torch.stack(
            [torch.from_numpy(shot(0, t, (36, 44)).copy()) for t in range(7)])
        x = clip.permute(0, 3, 1, 2)[None].float() / 255
        with torch.inference_mode():
            exact = network(x)
            out = precision.short_copy(network, torch.bfloat16)(x)
        error = (out - exact).square().mean()
        assert 0 < error < 1e-5  # 50 dB

    def test_says_what_it_is(self, name):
        card = weights.read_metadata(weights.path_of(name))
        assert {
            'config', 'commit', 'iterations', 'training', 'data', 'hardware',
            'licence'
        } <= card.keys()
        assert card['iterations'] > 1000
        assert all(x.dtype == torch.float16 or not x.is_floating_point()
                   for x in load_file(weights.path_of(name)).values())


@pytest.mark.parametrize('name, size, least', [('dksan-lite_x4', 160, 0.5),
                                               ('dksan-lite_x16', 320, 0.3)])
def test_neighbouring_frames_help(name, size, least):
    """The PSNR of a window is better than that of its middle frame alone, on a
    photograph that no network was trained on, moved."""
    network = load_model(name, device='cpu').generator
    hr = [
        photograph()[100 + 3 * t:100 + 3 * t + size,
                     5 * t + 80:5 * t + 80 + size] for t in range(7)
    ]
    lr = np.stack([reduce_frame(frame, network.scale) for frame in hr])
    x = torch.from_numpy(lr).permute(0, 3, 1, 2)[None] / 255
    gt = torch.from_numpy(hr[3].copy()).permute(2, 0, 1) / 255
    with torch.inference_mode():
        window, alone = (
            -10 *
            (network(frames)[0].clamp(0, 1) - gt).square().mean().log10()
            for frames in (x, x[:, [3] * 7]))
    assert window > alone + least


class TestNames:

    @pytest.fixture(scope='class')
    def published(self, tmp_path_factory):
        """A config, its checkpoint, and what is published of them."""
        folder = tmp_path_factory.mktemp('published')
        paths = write_tiny(folder)
        run_publish(*paths, folder / 'tiny.safetensors')
        return *paths, folder / 'tiny.safetensors'

    @pytest.fixture
    def shipped(self, published, tmp_path, monkeypatch):
        """A network called ``tiny``, beside its config and checkpoint."""
        config, checkpoint, path = published
        path = shutil.copy(path, tmp_path / 'tiny.safetensors')
        monkeypatch.setattr(weights, 'FOLDER', str(tmp_path))
        monkeypatch.setattr(weights, 'SHA256',
                            {'tiny': weights._hash_of.__wrapped__(str(path))})
        weights._hash_of.cache_clear()
        yield config, checkpoint, path
        weights._hash_of.cache_clear()

    def test_loaded_by_name(self, shipped):
        config, checkpoint, path = shipped
        expected = load_model(config, checkpoint, 'cpu').state_dict()
        for model in (load_model('tiny', device='cpu'),
                      load_model(config, 'tiny',
                                 'cpu'), load_model(config, str(path), 'cpu'),
                      DKSANVideoInferencer('tiny', device='cpu').model):
            for key, value in model.state_dict().items():
                torch.testing.assert_close(
                    value, expected[key], rtol=1e-3, atol=1e-5)

    def test_card(self, shipped):
        card = weights.read_metadata(weights.path_of('tiny'))
        assert card['data'] == 'noise'
        assert card['config']['model']['type'] == 'DKSAN'

    def test_damage_is_found(self, shipped):
        path = shipped[2]
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match='is damaged; install dksan_mm'):
            load_model('tiny')
        path.unlink()
        weights._hash_of.cache_clear()
        with pytest.raises(ValueError, match='found another, or none'):
            load_model('tiny')

    def test_of_another_network(self, shipped, tmp_path):
        config = tmp_path / 'wide.py'
        config.write_text(f"_base_ = '{shipped[0]}'\n"
                          'model = dict(generator=dict(mid_channels=16))')
        with pytest.raises(ValueError, match='tiny: the checkpoint must fit'):
            load_model(str(config), 'tiny')

    def test_a_file_of_the_name(self, shipped, tmp_path, monkeypatch):
        """The name is the network's; ./NAME is the file's."""
        monkeypatch.chdir(tmp_path)
        save_file({'a': torch.ones(1)}, 'tiny')
        load_model('tiny', device='cpu')
        with pytest.raises(ValueError, match='./tiny must be'):
            load_model(shipped[0], './tiny')

    def test_unknown(self, shipped):
        for load in (load_model, DKSANVideoInferencer):
            with pytest.raises(
                    FileNotFoundError, match='did you mean tiny.*are: tiny'):
                load('tinny')


def run_publish(config, checkpoint, out, check=True):
    options = [
        f'--{name}={text}' for name, text in dict(
            training='none',
            data='noise',
            hardware='none',
            licence='Apache-2.0').items()
    ]
    return subprocess.run([
        sys.executable,
        osp.join(ROOT, 'tools', 'publish_model.py'), config, checkpoint,
        str(out), *options
    ],
                          check=check,
                          capture_output=True,
                          text=True)
