"""Training windows rendered from still photographs."""
from typing import Any, List, Optional, Sequence

import numpy as np
from mmagic.registry import DATASETS
from mmengine.dataset import BaseDataset

from .camera import CameraMotion, Scaled, render
from .photographs import MOST_STEP, PhotographCache, list_photographs
from .reduction import reduce_frame
from .seeding import SeededDraws


@DATASETS.register_module()
class PhotoWindowDataset(SeededDraws, BaseDataset):
    """Windows of LR frames with their HR middle frame, rendered on the fly
    from a folder of still photographs.

    A camera moves over a photograph: translation with acceleration, rotation,
    zoom, the shake of a hand, or nearly nothing. In a share of the windows an
    object with a soft edge, cut from another photograph (from the same one if
    there is no other), moves independently in front. HR frames are rounded to
    8 bits, then reduced as in the converters (MATLAB's bicubic).

    The pipeline gets ``img``, a list of T frames (H, W, 3) uint8 RGB, ``gt``,
    the middle one (scale * H, scale * W, 3), and ``img_path``. A sample
    depends only on the seed and its index, not on the number of workers and
    processes (:class:`SeededInfiniteSampler`).

    Photographs (PNG, JPEG, BMP, TIFF, WebP) are also found in subfolders. Grey
    ones get three equal channels. Those with a side below ``gt_size`` are left
    out, with a warning; those with 16 bits or transparent parts raise an error
    when they are read. Photographs are first reduced until they are sharp
    (:func:`.photographs.reduce_until_sharp`).

    Args:
        data_root (str): Folder of the photographs. Default: ''.
        data_prefix (dict): ``img``: folder below ``data_root``. Default:
            dict(img='').
        scale (int): HR size divided by LR size. Default: 16.
        num_input_frames (int): Frames T of a window, odd. Default: 7.
        gt_size (int): Side of the HR frames, a multiple of ``scale``.
            Default: 256.
        windows_per_photograph (int): How often each photograph counts in the
            data set's length, and so in its share beside other data sets.
            Default: 10.
        object_ratio (float): Share of windows with a moving object, 0 to 1.
            Default: 0.5.
        step (Sequence[float]): Range of the number of photograph pixels per HR
            pixel, up to 1.95. Photographs that are too small for the step
            drawn are shown whole. Default: (1, 1.8).
        motion (dict, optional): Arguments of :class:`.camera.CameraMotion`.
            Default: None, its defaults.
        cache_bytes (int): Bytes of decoded photographs kept in memory, per
            process. Others are decoded again. Default: 2**30.
        **kwargs: ``pipeline`` and other arguments of
        :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: The folder is missing.
        ValueError: There is no photograph that is large enough, a file is
            damaged, or an argument breaks a rule above.
    """

    METAINFO = dict(dataset_type='photo_windows', task_name='vsr')

    def __init__(self,
                 *,
                 data_root: str = '',
                 data_prefix: dict = dict(img=''),
                 scale: int = 16,
                 num_input_frames: int = 7,
                 gt_size: int = 256,
                 windows_per_photograph: int = 10,
                 object_ratio: float = 0.5,
                 step: Sequence[float] = (1., 1.8),
                 motion: Optional[dict] = None,
                 cache_bytes: int = 2**30,
                 **kwargs: Any) -> None:
        if num_input_frames < 1 or num_input_frames % 2 == 0:
            raise ValueError('num_input_frames must be odd, got '
                             f'{num_input_frames}')
        if scale < 1 or gt_size < scale or gt_size % scale:
            raise ValueError('gt_size must be a multiple of scale = '
                             f'{scale}, got {gt_size}')
        if windows_per_photograph < 1:
            raise ValueError('windows_per_photograph must be at least 1, got '
                             f'{windows_per_photograph}')
        if not 0 <= object_ratio <= 1:
            raise ValueError(
                f'object_ratio must be from 0 to 1, got {object_ratio}')
        if len(step) != 2 or not 0 < step[0] <= step[1]:
            raise ValueError('step must be a range (low, high) above 0, got '
                             f'{step}')
        if step[1] > MOST_STEP:
            raise ValueError(
                f'step[1] must be at most {MOST_STEP:.2f}, above which frames '
                f'alias, got {step[1]}; lower it, or reduce the photographs')
        self.scale = scale
        self.num_input_frames = num_input_frames
        self.gt_size = gt_size
        self.windows_per_photograph = windows_per_photograph
        self.object_ratio = object_ratio
        self.step = tuple(step)
        self.motion = CameraMotion(**(motion or {}))
        self.cache_bytes = cache_bytes
        super().__init__(
            data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> List[dict]:
        """List the photographs, each as often as it counts."""
        paths = list_photographs(self.data_prefix['img'], self.gt_size)
        self._photographs = PhotographCache(paths, self.gt_size,
                                            self.cache_bytes)
        self._count = len(paths)
        return [
            dict(img_path=path, photograph=number)
            for _ in range(self.windows_per_photograph)
            for number, path in enumerate(paths)
        ]

    def prepare_data(self, idx: int) -> Any:
        """Render a window, and run the pipeline on it."""
        info = self.get_data_info(idx)
        # the generator that SeededDraws seeds
        seed = np.random.randint(2**31, size=4)
        rng = np.random.default_rng([*seed, info['photograph']])
        frames = self._render(rng, info['photograph'])
        lr = [reduce_frame(frame, self.scale) for frame in frames]
        gt = frames[self.num_input_frames // 2]
        path = info['img_path']
        # the keys of MMagic's loading, so that samples of real sequences can
        # go into the same batch
        info.update(
            img=lr,
            gt=gt,
            img_path=[path] * len(lr),
            gt_path=[path],
            num_input_frames=len(lr),
            num_output_frames=1,
            ori_img_shape=[frame.shape for frame in lr],
            ori_gt_shape=[gt.shape],
            img_channel_order='rgb',
            gt_channel_order='rgb',
            img_color_type='color',
            gt_color_type='color')
        return self.pipeline(info)

    def _render(self, rng: np.random.Generator,
                photograph: int) -> List[np.ndarray]:
        """Return a window of HR frames."""
        step = np.exp(rng.uniform(*np.log(self.step)))
        behind = self._photographs[photograph].at(step, self.gt_size)
        before: Optional[Scaled] = None
        if rng.random() < self.object_ratio:
            # with one photograph alone, that one
            other = 1 + int(rng.integers(max(self._count - 1, 1)))
            other = (photograph + other) % self._count
            before = self._photographs[other].at(step, self.gt_size)
        return list(
            render(rng, behind, (self.gt_size, self.gt_size),
                   self.num_input_frames, self.motion, before))
