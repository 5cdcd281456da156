"""The loss on VGG's features. Random weights stand in for the real ones."""
import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from dksan_mm.models import VGGPerceptualLoss

LAYERS = {'2': 0.5, '7': 1.}


@pytest.fixture
def vgg():
    torch.manual_seed(0)
    return make_layers(cfgs['D'][:5], False)[:8]  # the first of vgg16


def save(vgg, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({f'features.{k}': v for k, v in vgg.state_dict().items()}, path)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Make the caches empty; return where VGG16 is in them."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setenv('DKSAN_MM_CACHE', str(tmp_path / 'ours'))
    return (tmp_path / 'checkpoints/vgg16-397923af.pth',
            tmp_path / 'ours/lpips/vgg.pth')


def test_takes_torchvisions_weights(vgg, tmp_path):
    """It is the weighted distance of features, of images normalised."""
    save(vgg, tmp_path / 'vgg.pth')
    loss = VGGPerceptualLoss(LAYERS, pretrained=str(tmp_path / 'vgg.pth'))
    loss.init_weights()
    images = torch.rand(2, 1, 3, 24, 20)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    normal = [(image - mean) / std for image in images]
    expected = sum(weight * (vgg[:int(name) + 1](normal[0]) -
                             vgg[:int(name) + 1](normal[1])).abs().mean()
                   for name, weight in LAYERS.items())
    found, style = loss(*images)
    assert style is None
    torch.testing.assert_close(found, expected)
    assert not loss.state_dict()
    assert not any(p.requires_grad for p in loss.parameters())


@pytest.mark.parametrize('place', [0, 1])
def test_weights_in_a_cache_are_found(vgg, caches, place):
    """Torchvision's and our own."""
    save(vgg, caches[place])
    loss = VGGPerceptualLoss(LAYERS)
    loss.init_weights()
    for name, value in loss.vgg.vgg_layers.state_dict().items():
        assert torch.equal(value, vgg.state_dict()[name])


def test_missing_weights(caches):
    with pytest.raises(FileNotFoundError) as error:
        VGGPerceptualLoss(LAYERS).init_weights()
    message = str(error.value)
    assert f'found no file {caches[0]} nor {caches[1]}; run ' in message
    assert 'fetch_lpips_weights.py vgg, or fetch https://' in message
    assert 'perceptual_loss.pretrained=path/to/vgg16-397923af.pth' in message
    caches[1].parent.mkdir(parents=True)
    caches[1].touch()  # VGG16 stands in for no other network
    with pytest.raises(FileNotFoundError, match='of vgg19.*no file.*; fetch'):
        VGGPerceptualLoss(LAYERS, 'vgg19').init_weights()


def test_exception(tmp_path):
    with pytest.raises(ValueError, match="criterion must be 'l1'"):
        VGGPerceptualLoss(LAYERS, criterion='l3')
    path = tmp_path / 'vgg.pth'
    torch.save({'features.0.weight': torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(
            ValueError, match='vgg.pth must hold.*no features.0.bias'):
        VGGPerceptualLoss(LAYERS, pretrained=str(path)).init_weights()
