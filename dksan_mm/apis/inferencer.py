"""Restoration of videos the way MMagic's inferencers are used."""
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Union

import torch
from mmagic.apis.inferencers.video_restoration_inferencer import \
    VideoRestorationInferencer
from mmagic.utils import ConfigType
from mmengine.config import Config

from dksan_mm import weights
from .loading import load_model, read_config
from .restore_video import restore_video


class DKSANVideoInferencer(VideoRestorationInferencer):
    """MMagic's VideoRestorationInferencer for videos of any length: in its
    place, with the same arguments, for every model in this package.

        inferencer = DKSANVideoInferencer(
            'configs/dksan_vid3oc_x16.py', 'iter_115000.pth')
        inferencer.infer(video='in.mp4', result_out_dir='out.mp4')

    MMagic's own holds the whole video in memory, writes 25 frames per second
    whatever came in, and drops the sound; this one is
    :func:`dksan_mm.apis.restore_video`.

    What MMagic lets a plug-in in to: ``MMagicInferencer(model_name='edvr',
    model_config=CONFIG, model_ckpt=CHECKPOINT, extra_parameters=
    dict(window_size=7)).infer(video=..., result_out_dir=...)`` runs the
    configs of this package in MMagic's own VideoRestorationInferencer, with
    its limits; ``edvr`` only names the task. What it does not let in:
    ``model_name='dksan'``, as the list of names and the metafiles that it
    reads are MMagic's own; and this class, as ``MMagicInferencer`` chooses
    inferencers by a fixed list of tasks. So this class is used directly.
    MMagic is not patched.

    Args:
        config (str or ConfigType): A config, its path, or the name of a
            trained network that comes with the package, such as
            ``'dksan-lite_x4'``.
        ckpt (str, optional): Its checkpoint; None for a model without
            parameters.
        device (str, optional): Default: a GPU if there is one.
        extra_parameters (dict, optional): Options of ``restore_video``, such
            as ``dict(dtype='bf16', crf=14)``. Those of MMagic that a config
            settles here (``window_size``, ``max_seq_len``, ``start_idx``,
            ``filename_tmpl``) must be left out.
        seed (int): As MMagic's; nothing here is random.
    """

    func_kwargs = dict(
        preprocess=['video'],
        forward=['result_out_dir'],
        visualize=[],
        postprocess=[])

    def __init__(self,
                 config: Union[ConfigType, str],
                 ckpt: Optional[str] = None,
                 device: Optional[str] = None,
                 extra_parameters: Optional[Dict[str, Any]] = None,
                 seed: int = 2022,
                 **kwargs: Any) -> None:
        # of the instance: MMagic's belong to the class, so that what one
        # inferencer is given would hold for the next
        self.extra_parameters: Dict[str, Any] = {}
        if isinstance(config, str):
            if weights.is_name(config):
                ckpt = ckpt or config
            config = read_config(config)
        super().__init__(config, ckpt, device, extra_parameters, seed,
                         **kwargs)

    def _init_model(self, cfg: Config, ckpt: Optional[str],
                    device: Union[str, torch.device]) -> torch.nn.Module:
        return load_model(cfg, ckpt or None, torch.device(device))

    def _init_pipeline(self, cfg: Config) -> None:
        """Frames go to the network as they are: there is no pipeline."""

    def _init_extra_parameters(
            self, extra_parameters: Optional[Dict[str, Any]]) -> None:
        self.extra_parameters.update(extra_parameters or {})

    def _update_extra_parameters(self,
                                 extra_parameters: Optional[Dict[str,
                                                                 Any]] = None,
                                 **kwargs: Any) -> None:
        self.extra_parameters.update(extra_parameters or {})

    def infer(self, video: str, result_out_dir: str,
              **kwargs: Any) -> Dict[str, Any]:
        """Restore a video, as ``MMagicInferencer.infer`` does; the same as
        calling the inferencer.

        Args:
            video (str): Video or folder of frames.
            result_out_dir (str): Video or folder to write.
            **kwargs: ``extra_parameters``, from this video on.

        Returns:
            dict: The fields of :class:`dksan_mm.apis.Summary`.
        """
        return self(video=video, result_out_dir=result_out_dir, **kwargs)

    def preprocess(self, video: str) -> str:
        """Return the path: the video is read while it is restored."""
        return video

    def forward(self, inputs: str, result_out_dir: str) -> Dict[str, Any]:
        """Restore the video at a path, and write it."""
        return asdict(
            restore_video(self.model, inputs, result_out_dir,
                          **self.extra_parameters))

    def visualize(self, preds: Dict[str, Any]) -> List:
        """Return nothing: the result is on disk."""
        return []

    def postprocess(self,
                    preds: Dict[str, Any],
                    imgs: Optional[List] = None) -> Dict[str, Any]:
        """Return what was done."""
        return preds
