"""Loading of frames, with errors that name the file."""
import numpy as np
from mmagic.datasets.transforms import LoadImageFromFile
from mmagic.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadFrames(LoadImageFromFile):
    """:class:`mmagic.datasets.transforms.LoadImageFromFile` that says which
    file cannot be read. Arguments and keys are the same.

    Raises:
        ValueError: A file is not an image that can be decoded.
    """

    def _load_image(self, filename: str) -> np.ndarray:
        try:
            image = super()._load_image(filename)
            fault = 'its content is not a decodable image'
        except (OSError, AttributeError, ValueError) as error:
            image, fault = None, str(error)
        except Exception as error:  # OpenCV has an exception of its own
            if type(error).__module__ != 'cv2':
                raise
            image, fault = None, str(error)
        if image is None:
            raise ValueError(
                f'{filename} must be a readable image, found: {fault}; '
                'restore or convert the file again')
        return image
