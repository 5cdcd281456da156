"""Loads frames, with errors that name the file."""
from typing import List, Union

import numpy as np
from mmagic.datasets.transforms import LoadImageFromFile, PackInputs
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from dksan_mm.video.storage import frame_file, read_mapped


@TRANSFORMS.register_module()
class LoadFrames(LoadImageFromFile):
    """:class:`mmagic.datasets.transforms.LoadImageFromFile` that also reads
    memory maps, and folders with other image names (see
    :func:`dksan_mm.video.storage.frame_file`), and whose errors name the file.

    If the frame ``000/00000019.png`` is stored in the memory map ``000.npy``,
    its pixels are read only when they are used: crop the frame, then read the
    crop by :class:`CopyFrames`. Arguments and keys are the same.

    Raises:
        ValueError: A file is not an image that can be decoded.
    """

    def _load_image(self, filename: str) -> np.ndarray:
        mapped = read_mapped(filename)
        if mapped is not None:
            return mapped[..., ::-1] if self.channel_order == 'bgr' else mapped
        filename = frame_file(filename)
        try:
            image = super()._load_image(filename)
            fault = 'its content is not a decodable image'
        except (OSError, AttributeError, ValueError) as error:
            image, fault = None, str(error)
        except Exception as error:  # OpenCV has its own exception class
            if type(error).__module__ != 'cv2':
                raise
            image, fault = None, str(error)
        if image is None:
            raise ValueError(
                f'{filename} must be a readable image, found: {fault}; '
                'restore or convert the file again')
        return image


@TRANSFORMS.register_module()
class PackClip(PackInputs):
    """:class:`mmagic.datasets.transforms.PackInputs` for MMagic's
    VideoRestorationInferencer: ``inputs`` gets a leading axis, (1, T, 3, H,
    W), so that the restorer gets the whole clip and makes the windows that its
    network needs. Leave the inferencer's ``window_size`` at 0."""

    def transform(self, results: dict) -> dict:
        """Pack the frames of a clip."""
        results = super().transform(results)
        frames = results['inputs']
        if frames.dim() == 3:  # a single frame comes without its axis
            frames = frames[None]
        results['inputs'] = frames[None]
        return results


@TRANSFORMS.register_module()
class CopyFrames(BaseTransform):
    """Give frames memory of their own: this reads them from memory maps, and
    frees whole frames of which only a crop is used.

    Args:
        keys (list[str]): Keys of a frame, (H, W, C), or a list of frames.
    """

    def __init__(self, keys: List[str]) -> None:
        self.keys = keys

    def transform(self, results: dict) -> dict:
        """Copy the frames under the keys."""
        for key in self.keys:
            results[key] = self._copy(results[key])
        return results

    def _copy(
        self, frames: Union[np.ndarray, List[np.ndarray]]
    ) -> Union[np.ndarray, List[np.ndarray]]:
        if isinstance(frames, list):
            return [self._copy(frame) for frame in frames]
        return np.array(frames)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys})'
