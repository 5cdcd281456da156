"""HR frames cropped, and reduced to LR frames."""
import numpy as np
from mmagic.datasets.transforms import MATLABLikeResize

# the least LR side
MIN_LR_SIZE = 16
CROPS = ('bottom-right', 'centre')


def reduce_frame(hr: np.ndarray, scale: int) -> np.ndarray:
    """Return a frame as MATLAB's ``im2uint8(imresize(im2double(hr), 1 /
    scale, 'bicubic'))``, by MMagic's :class:`MATLABLikeResize`: within 1e-4
    grey levels of the definition before it is rounded.

    Args:
        hr (np.ndarray): (H, W, 3) uint8, sides multiples of ``scale``.
        scale (int): At least 1.

    Returns:
        np.ndarray: (H / scale, W / scale, 3) uint8.
    """
    lr = MATLABLikeResize(keys=['image'], scale=1 / scale)(dict(image=hr))
    # MATLAB rounds halves upwards
    return np.clip(np.floor(lr['image'] + 0.5), 0, 255).astype(np.uint8)


def crop_frame(frame: np.ndarray, scale: int, crop: str) -> np.ndarray:
    """Return a frame cropped to a multiple of ``scale``: at the bottom and
    right, or on all sides alike."""
    height, width = (side - side % scale for side in frame.shape[:2])
    top, left = ((side % scale) // 2 if crop == 'centre' else 0
                 for side in frame.shape[:2])
    return np.ascontiguousarray(frame[top:top + height, left:left + width])
