"""Finds checkpoints: files, and addresses that are downloaded to files."""
import hashlib
import os
import os.path as osp
import re
from typing import Optional

import torch
from mmengine.runner.checkpoint import (_get_mmengine_home,
                                        get_deprecated_model_names,
                                        get_external_models, get_mmcls_models,
                                        get_torchvision_models)

from dksan_mm import weights
from dksan_mm.utils.files import file_sha256

_CURE = 'download it by other means, and give the path of the file'


def local_checkpoint(path: str) -> str:
    """Return the file that a path or an address stands for, downloaded if
    need be.

    Downloads are kept in torch's cache. If an address carries a hash, as in
    ``name-0123abcd.pth``, the file must match it.

    Args:
        path (str): A path, an address on the web, a model's name as mmengine
            writes it (``open-mmlab://...``, ``torchvision://...``, ...), or
            the name of a network that comes with the package.

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
    raise ValueError(
        f'checkpoint {path} must be a file, or an address that begins with '
        f'https, http, {", ".join(names)}, found {scheme}://; {_CURE}')


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
    if osp.isfile(path) and (prefix is None
                             or file_sha256(path).startswith(prefix)):
        return path
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        torch.hub.download_url_to_file(address, path, prefix, progress=False)
    except Exception as error:  # from the network, the server or the hash
        raise ValueError(
            f'checkpoint {address} must be one that can be '
            f'downloaded whole, found: {error}; {_CURE}') from error
    return path
