"""The settings and metadata of a data set made by a converter."""
import json
import os.path as osp
from typing import Any, Dict, NamedTuple, Optional

from dksan_mm.video.storage import STORAGES
from .reduction import CROPS

KERNEL = ('MATLAB imresize(x, 1/{scale}, "bicubic"): antialiased, mirrored at '
          'the borders, rounded to 8 bits once')
COMPRESSION = ('HR frames by H.264 (libx264, medium, crf {crf}, 4:2:0) before '
               'they are reduced; GT without')


class Settings(NamedTuple):
    """Settings that decide a data set's pixels and their storage."""
    name: str
    scale: int = 16
    crop: str = 'bottom-right'
    storage: str = 'png'
    crf: Optional[int] = None

    def metadata(self) -> Dict[str, Any]:
        """Return the metadata that is written beside the data."""
        return dict(
            name=self.name,
            scale=self.scale,
            crop=f'{self.crop}, to a multiple of {self.scale}',
            kernel=KERNEL.format(scale=self.scale),
            storage=self.storage,
            compression=None if self.crf is None else COMPRESSION.format(
                crf=self.crf))

    def check(self) -> None:
        """Raise ValueError if a setting has a value that is not allowed."""
        for name, rule in (('crop', CROPS), ('storage', STORAGES)):
            value = getattr(self, name)
            if value not in rule:
                raise ValueError(
                    f'{name} must be one of {", ".join(rule)}, got '
                    f'{value!r}')
        if self.scale < 1:
            raise ValueError(f'scale must be at least 1, got {self.scale}')
        if self.crf is not None and not 0 <= self.crf <= 51:
            raise ValueError(f'crf must be from 0 to 51, got {self.crf}')
        if not self.name or not all(c.isalnum() or c in '-_.'
                                    for c in self.name):
            raise ValueError(
                'name (--name) must be of letters, digits, "-", "_" and ".", '
                f'got {self.name!r}')


def lr_folder(scale: int) -> str:
    """Return the name of the folder of LR frames, ``BIx16``."""
    return f'BIx{scale}'


def read_metadata(root: str) -> Optional[Dict[str, Any]]:
    """Return a data set's ``metadata.json``, None if it has none.

    Raises:
        ValueError: The file is damaged, or a value has the wrong type.
    """
    path = osp.join(root, 'metadata.json')
    if not osp.isfile(path):
        return None
    metadata = read_json(path)
    for key, kind, what in (('name', str, 'text'), ('sequences', dict,
                                                    'an object')):
        value = metadata.get(key, kind())
        if not isinstance(value, kind):
            raise ValueError(f'{key!r} in {path} must be {what}, found '
                             f'{value!r}; run the converter again, into a new '
                             'folder')
    return metadata


def read_json(path: str) -> Dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ValueError: The file is damaged, or holds no object.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:
            value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} must be JSON, found: {error}; run the '
                         'converter again, into a new folder') from error
    if not isinstance(value, dict):
        raise ValueError(f'{path} must hold a JSON object, found '
                         f'{type(value).__name__}; run the converter again, '
                         'into a new folder')
    return value


def to_json(value: Dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b'\n'
