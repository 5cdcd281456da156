"""Trained networks that come with the package, known by name.

Each is a safetensors file beside this one: half-precision weights and, in its
metadata, the config that describes the network and how it was trained. Needs
only PyTorch and safetensors.
"""
import difflib
import json
import os.path as osp
from functools import lru_cache
from typing import Any, Dict, List, Optional

from dksan_mm.utils.files import file_sha256

FOLDER = osp.dirname(osp.abspath(__file__))
# hashes of the released files, as tools/publish_model.py prints them
SHA256: Dict[str, str] = {
    'dksan-lite-real_x4':
    'e7488c97b71f3424f7b2e2fc25dcb57ac6006c844a519d02d7112ab4f1a7fe2b',
    'dksan-lite_x16':
    'f655584d0889daa9e83f95732fb756b6a9ac149961ad5b64e913758267d98d62',
    'dksan-lite_x4':
    'a86a774c73674b53992cfe4d503dab3943e2bbe3da650d0e44c27999ce790fd2',
    'edvr-lite_x16':
    '4c10088b37366d82371d65f808de3fc8c0b636ad26a2d7af982ecb6cc5c8b11a',
    'edvr-lite_x4':
    'd1aaa0ca5a8c5ba25d556d13507974ae7c5d9cf719da895551837950daf9ef3e',
}


def names() -> List[str]:
    """Return the names of the networks, in alphabetical order."""
    return sorted(SHA256)


def is_name(text: str) -> bool:
    """Whether a text is the name of a network, even if a file has the same
    name; ``./NAME`` then means the file."""
    return text in SHA256


def path_of(name: str) -> str:
    """Return the path of a network's file, after checking its hash.

    Args:
        name (str): One of :func:`names`.

    Raises:
        ValueError: There is no such network, or its file is damaged.
    """
    if name not in SHA256:
        raise ValueError(unknown(name))
    path = osp.join(FOLDER, f'{name}.safetensors')
    if _hash_of(path) != SHA256[name]:
        raise ValueError(
            f'{path} must be the file that dksan_mm was released with '
            f'(SHA-256 {SHA256[name][:12]}...), found another, or none: it is '
            'damaged; install dksan_mm again')
    return path


def unknown(name: str) -> str:
    """Return a sentence on an unknown name, with the known ones."""
    known = ', '.join(names()) or 'none'
    like = difflib.get_close_matches(name, SHA256, n=1)
    hint = f' (did you mean {like[0]}?)' if like else ''
    return f'there is no network called {name!r}{hint}; there are: {known}'


def config_of(name: str) -> Dict[str, Any]:
    """Return the config that describes a network, as plain values.

    Args:
        name (str): One of :func:`names`.

    Raises:
        ValueError: There is no such network, or its file is damaged.
    """
    return read_metadata(path_of(name))['config']


@lru_cache(maxsize=None)
def _hash_of(path: str) -> Optional[str]:
    """Return a file's SHA-256, None if it does not exist; read once per
    process."""
    return file_sha256(path) if osp.isfile(path) else None


def read_metadata(path: str) -> Dict[str, Any]:
    """Return the metadata of a safetensors file, with JSON values decoded.

    Raises:
        ValueError: The file is damaged.
    """
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, 'pt') as file:
            found = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(_damaged(path, error)) from error
    return {key: _from_json(value) for key, value in found.items()}


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_state_dict(path: str, device: Any = None) -> Dict[str, Any]:
    """Return the tensors of a safetensors file.

    Args:
        path (str): The file.
        device (str or torch.device, optional): Where to load them. Default:
            the CPU.

    Raises:
        ValueError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    try:
        return load_file(path, str(device or 'cpu'))
    except SafetensorError as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: str, error: Exception) -> str:
    return (f'{path} must be a whole safetensors file, found: {error}; copy '
            'it again')
