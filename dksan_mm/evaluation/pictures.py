"""Pictures of restored frames, for those who watch a training."""
import re
from typing import Any

from mmagic.registry import VISUALIZERS
from mmagic.structures import DataSample
from mmagic.visualization import ConcatImageVisualizer

from .frame_metric import sample_key


@VISUALIZERS.register_module()
class RestoredFrameVisualizer(ConcatImageVisualizer):
    """MMagic's :class:`ConcatImageVisualizer` of the restored frame beside
    the HR frame, named after sequence and frame: frames of several sequences
    have equal names, and one's picture would replace another's.

    It is for MMagic's ``BasicVisualizationHook``; ``pictures`` in
    ``configs/_base_/default_runtime.py`` has both.

    Args:
        name (str): Of this visualizer. Default: 'visualizer'.
        **kwargs: Those of :class:`ConcatImageVisualizer`: ``vis_backends``,
            ``img_keys`` (default: ``pred_img`` and ``gt_img``, (3, H, W) in
            0 to 255), ...
    """

    def __init__(self, name: str = 'visualizer', **kwargs: Any) -> None:
        super().__init__(
            **{
                'name': name,
                'fn_key': 'picture',
                'img_keys': ['pred_img', 'gt_img'],
                'bgr2rgb': True,  # as MMagic's models return images
                **kwargs
            })

    def add_datasample(self, data_sample: DataSample, step: int = 0) -> None:
        """Give a picture of a frame to the backends.

        Args:
            data_sample (DataSample): What the model returned.
            step (int): Iteration. Default: 0.
        """
        # a whole sequence's key has no frame; a dot, a space or a slash would
        # cut the name
        name = '/'.join(filter(None, sample_key(data_sample.metainfo)))
        name = re.sub(r'[./\\ ]', '_', name)
        named = data_sample.new()
        named.set_metainfo(dict(picture=name))
        super().add_datasample(named, step)
