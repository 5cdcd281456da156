"""Degradations of real video that MMagic lacks."""
from typing import List

import numpy as np
from mmagic.datasets.transforms import RandomVideoCompression
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform


@TRANSFORMS.register_module()
class RandomH264Compression(RandomVideoCompression):
    """:class:`mmagic.datasets.transforms.RandomVideoCompression` with H.264 at
    a random quality (crf) instead of a random bitrate. Most videos are made at
    constant quality; a bitrate means a different quality for each size and
    scene.

    The frames of a window are compressed as one video by libx264, at one crf.
    The result depends only on the frames and on NumPy's generator: it has the
    same bits on any number of cores.

    Args:
        params (dict): ``crf``: range of x264's constant rate factor, integers
            from 0 to 51, both ends included; ``preset``: x264's presets to
            choose from, default ``['medium']``; ``prob``: share of the windows
            that are compressed, default 1.
        keys (list[str]): Keys of frames, lists of (H, W, 3) uint8 RGB with
            even sides. They are replaced by frames of the same shape and
            type.

    Raises:
        ValueError: A parameter, or a frame to be compressed, breaks a rule
            above.
    """

    def __init__(self, params: dict, keys: List[str]) -> None:
        super().__init__(params, keys)
        crf = params.get('crf', ())
        if len(crf) != 2 or not 0 <= crf[0] <= crf[1] <= 51:
            raise ValueError('params must hold crf, a range (low, high) from '
                             f'0 to 51, got {params}')
        self.presets = list(params.get('preset', ['medium']))

    def _apply_random_compression(self,
                                  imgs: List[np.ndarray]) -> List[np.ndarray]:
        low, high = self.params['crf']
        crf = np.random.randint(low, high + 1)
        preset = self.presets[np.random.randint(len(self.presets))]
        from dksan_mm.video.compression import compress  # needs PyAV
        return list(compress(imgs, crf, preset))


@TRANSFORMS.register_module()
class RoundFrames(BaseTransform):
    """Round frames to 8 bits, as in files: noise and resizing produce
    fractions, and values below 0 and above 255.

    Args:
        keys (list[str]): Keys of lists of frames, (H, W, C) in 0 to 255, which
            become uint8.
    """

    def __init__(self, keys: List[str]) -> None:
        self.keys = keys

    def transform(self, results: dict) -> dict:
        """Round the frames under the keys."""
        for key in self.keys:
            results[key] = [
                frame if frame.dtype == np.uint8 else np.clip(
                    np.rint(frame), 0, 255).astype(np.uint8)
                for frame in results[key]
            ]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys})'
