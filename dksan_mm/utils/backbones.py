"""Finds the ImageNet weights of networks whose features measure likeness."""
import os
import os.path as osp
from typing import Optional

import torch
import torchvision

# those that fetch_lpips_weights.py gets, by the names that it gives them
_FETCHED = {'alexnet': 'alex', 'vgg16': 'vgg'}
_COMMAND = 'python tools/analysis_tools/fetch_lpips_weights.py'


def cached_weights(net: str) -> str:
    """Return the path of the weights that ``fetch_lpips_weights.py`` gets,
    whether they exist or not: ``lpips/<net>.pth`` in ``$DKSAN_MM_CACHE``, by
    default ``dksan_mm`` in the user's cache folder.

    Args:
        net (str): 'alex' or 'vgg'.
    """
    root = os.environ.get('DKSAN_MM_CACHE')
    if not root:
        caches = os.environ.get('XDG_CACHE_HOME') or osp.join(
            osp.expanduser('~'), '.cache')
        root = osp.join(caches, 'dksan_mm')
    return osp.join(root, 'lpips', f'{net}.pth')


def find_weights(network: str,
                 user: str,
                 option: str,
                 weights: Optional[str] = None) -> str:
    """Return the file with a network's ImageNet weights.

    Args:
        network (str): torchvision's name of it, such as 'vgg16'.
        user (str): What needs the weights, for the message.
        option (str): How the user names a file of them, for the message.
        weights (str, optional): The file. Default: None, the one in
            torchvision's cache (``$TORCH_HOME/hub/checkpoints``), or else
            :func:`cached_weights`. Nothing is downloaded.

    Raises:
        FileNotFoundError: The file is not there; the message says where to
            get it.
    """
    address = torchvision.models.get_model_weights(network).IMAGENET1K_V1.url
    name = osp.basename(address)
    net = _FETCHED.get(network)
    places = [osp.join(torch.hub.get_dir(), 'checkpoints', name)]
    if net:
        places.append(cached_weights(net))
    if weights:
        places = [weights]
    for path in places:
        if osp.isfile(path):
            return path
    raise FileNotFoundError(
        f'{user} needs the ImageNet weights of {network}, found no file '
        f'{" nor ".join(places)}; ' +
        (f'run {_COMMAND} {net}, or ' if net else '') +
        f'fetch {address} and name it: {option}path/to/{name}')
