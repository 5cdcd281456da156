"""LPIPS. Real weights are not at hand: random ones stand in for them."""
import lpips
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from dksan_mm.evaluation import SequenceLPIPS
from dksan_mm.utils.backbones import find_weights

MODELS = dict(
    alex=torchvision.models.alexnet, squeeze=torchvision.models.squeezenet1_1)


@pytest.fixture(scope='module')
def backbones():
    torch.manual_seed(0)
    return {net: model(weights=None) for net, model in MODELS.items()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return the folder where torchvision keeps weights, empty; our own
    cache is empty, too."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setenv('DKSAN_MM_CACHE', str(tmp_path / 'cache'))
    folder = tmp_path / 'checkpoints'
    folder.mkdir()
    return folder


def make_sample(seed=0):
    rng = np.random.default_rng(seed)
    gt, pred = (
        torch.from_numpy(rng.random((3, 70, 81), np.float32) * 255)
        for _ in range(2))
    return dict(key='a/0', gt_img=gt, output=dict(pred_img=pred))


@pytest.mark.parametrize('net', MODELS)
def test_is_that_of_the_authors_package(net, backbones, tmp_path):
    """With the same backbone, on RGB in [-1, 1]; MMagic's images are BGR."""
    torch.save(backbones[net].state_dict(), tmp_path / 'weights.pth')
    metric = SequenceLPIPS(net, str(tmp_path / 'weights.pth'))
    sample = make_sample()
    metric.process(None, [sample])

    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for (key, value), (_, expected) in zip(
            theirs.net.state_dict().items(),
            backbones[net].features.state_dict().items()):
        assert value.shape == expected.shape, key
        value.copy_(expected)
    rgb = [
        image.flip(0)[None] / 127.5 - 1
        for image in (sample['gt_img'], sample['output']['pred_img'])
    ]
    with torch.no_grad():
        expected = float(theirs(*rgb))
    assert expected > 0.01
    assert metric.results[0]['LPIPS'] == pytest.approx(expected, rel=1e-5)

    sample['output']['pred_img'] = sample['gt_img']
    metric.process(None, [sample])
    assert metric.results[1]['LPIPS'] == 0


def test_weights_in_torchvisions_cache_are_found(hub, backbones):
    path = hub / 'alexnet-owt-7be5be79.pth'
    torch.save(backbones['alex'].state_dict(), path)
    assert find_weights('alexnet', '', '') == str(path)
    module = nn.Module()
    module.data_preprocessor = nn.Module()
    module.data_preprocessor.device = torch.device('cpu')
    metric = SequenceLPIPS(prefix='set')
    metric.prepare(module, torch.utils.data.DataLoader([0]))
    metric.process(None, [make_sample()])
    assert set(metric.evaluate()) == {'set/LPIPS', 'set/LPIPS/a'}


def test_missing_weights_are_said_at_once(hub):
    with pytest.raises(FileNotFoundError) as error:
        SequenceLPIPS()
    assert str(hub / 'alexnet-owt-7be5be79.pth') in str(error.value)
    assert '--lpips' in str(error.value) and 'fetch' in str(error.value)
    assert 'fetch_lpips_weights.py alex, or' in str(error.value)
    with pytest.raises(FileNotFoundError, match='vgg16-397923af.pth'):
        SequenceLPIPS('vgg')
    with pytest.raises(FileNotFoundError) as error:  # the package has none
        SequenceLPIPS('squeeze')
    assert 'fetch_lpips_weights.py' not in str(error.value)


def test_other_weights_are_refused(backbones, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(backbones['squeeze'].state_dict(), path)
    with pytest.raises(ValueError, match='weights.pth must hold'):
        SequenceLPIPS('alex', str(path))
    path.write_bytes(b'no weights')
    with pytest.raises(ValueError, match='weights.pth must hold'):
        SequenceLPIPS('alex', str(path))
    with pytest.raises(ValueError, match="got 'resnet'"):
        SequenceLPIPS('resnet')
