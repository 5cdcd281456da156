"""Finds checkpoints: files, and addresses that are downloaded to files."""
import hashlib
import os
import os.path as osp
import re
from typing import Callable, Optional

import torch
from mmengine.fileio import get_file_backend
from mmengine.runner.checkpoint import (_get_mmengine_home,
                                        get_deprecated_model_names,
                                        get_external_models, get_mmcls_models,
                                        get_torchvision_models)

from dksan_mm import weights
from dksan_mm.utils.files import file_sha256, remove, write_whole

_CURE = 'download it by other means, and give the path of the file'


def local_checkpoint(path: str) -> str:
    """Return the file that a path or an address stands for, downloaded if
    need be.

    Downloads are kept in torch's cache. If an address carries a hash, as in
    ``name-0123abcd.pth``, the file must match it.

    Args:
        path (str): A path, an address of a scheme that mmengine knows, or the
            name of a network that comes with the package.

    Raises:
        FileNotFoundError: There is no such file or name.
        ValueError: The file cannot be downloaded, or has another hash.
    """
    if weights.is_name(path):
        return weights.path_of(path)
    scheme, separator, name = path.partition('://')
    if not separator:
        return _existing(path)
    if scheme in ('http', 'https'):
        return _download(path)
    names = {
        'modelzoo': get_torchvision_models,
        'torchvision': get_torchvision_models,
        'open-mmlab': _openmmlab_models,
        'openmmlab': _openmmlab_models,
        'mmcls': get_mmcls_models
    }
    if scheme in names:
        known = names[scheme]()
        if name not in known:
            raise FileNotFoundError(
                f'checkpoint {path} must name a model that mmengine knows, '
                f'found none called {name!r}; give its https:// address or '
                'a file')
        found = known[name]
        if '://' in found:
            return _download(found)
        return _existing(osp.join(_get_mmengine_home(), found))
    if scheme.split(':')[-1] in ('s3', 'petrel'):
        return _fetch_object(path)
    if scheme == 'pavi':
        return _fetch_from_pavi(path)
    raise ValueError(f'checkpoint {path} must be a file or an address of a '
                     f'scheme that mmengine knows, found {scheme}://; {_CURE}')


def _existing(path: str) -> str:
    path = osp.expanduser(path)
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'checkpoint {path} does not exist; give the path of a file that '
            'tools/train.py wrote, or the name of a trained network: '
            f'{weights.unknown(path)}')
    return path


def _openmmlab_models() -> dict:
    models = dict(get_external_models())
    for old, new in get_deprecated_model_names().items():
        models[old] = models.get(new, new)
    return models


def _hash_of_name(name: str) -> Optional[str]:
    """Return the first digits of the SHA-256 that a file's name carries,
    unless they look like a date."""
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    if found is None or re.fullmatch(r'(19|20)\d{6}(\d{6})?', found[1]):
        return None
    return found[1]


def _cached(address: str) -> str:
    """Return where a download is kept; addresses may share a file name."""
    name = osp.basename(address.partition('?')[0]) or 'checkpoint'
    if not _hash_of_name(name):
        digest = hashlib.sha256(address.encode()).hexdigest()
        name = f'{digest[:8]}_{name}'
    return osp.join(torch.hub.get_dir(), 'checkpoints', name)


def _download(address: str) -> str:
    path = _cached(address)
    prefix = _hash_of_name(path)
    if osp.isfile(path) and (prefix is None or _has_hash(path, prefix)):
        return path
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        torch.hub.download_url_to_file(address, path, prefix, progress=False)
    except Exception as error:  # from the network, the server or the hash
        raise ValueError(
            f'checkpoint {address} must be one that can be '
            f'downloaded whole, found: {error}; {_CURE}') from error
    return path


def _has_hash(path: str, prefix: str) -> bool:
    return file_sha256(path).startswith(prefix)


def _fetch_object(address: str) -> str:
    """Read from an object store, with mmengine's client for it."""

    def download(path: str) -> None:
        backend = get_file_backend(
            address, backend_args=dict(backend='petrel'))
        write_whole(path, bytes(backend.get(address)))

    return _fetch(address, download)


def _fetch_from_pavi(address: str) -> str:

    def download(path: str) -> None:
        from pavi import modelcloud
        modelcloud.get(address.partition('://')[2]).download(path)

    return _fetch(address, download)


def _fetch(address: str, download: Callable[[str], None]) -> str:
    """Keep what a function writes to the path that it is given."""
    path = _cached(address)
    # all processes of a training come here at once
    partial = f'{path}.{os.getpid()}.partial'
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        download(partial)
        os.replace(partial, path)
    except Exception as error:
        remove(partial)
        raise ValueError(f'checkpoint {address} must be one that can be read, '
                         f'found: {error}; {_CURE}') from error
    return path
