"""Restoration of videos through MMagic's inferencer interface."""
import logging
import os.path as osp
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Union

import mmagic
import torch
import yaml
from mmagic.apis import MMagicInferencer
from mmagic.apis.inferencers.video_restoration_inferencer import \
    VideoRestorationInferencer
from mmagic.utils import ConfigType
from mmengine.config import Config
from mmengine.logging import print_log

from dksan_mm import weights
from .loading import load_model, read_config
from .restore_video import restore_video


class DKSANVideoInferencer(VideoRestorationInferencer):
    """A replacement for MMagic's VideoRestorationInferencer that takes videos
    of any length: same arguments, for every model in this package.

        inferencer = DKSANVideoInferencer(
            'configs/dksan_vid3oc_x16.py', 'iter_115000.pth')
        inferencer.infer(video='in.mp4', result_out_dir='out.mp4')

    MMagic's own holds the whole video in memory, writes 25 frames per second
    whatever the input has, and drops the sound; this one calls
    :func:`dksan_mm.apis.restore_video`.

    Importing :mod:`dksan_mm.apis` makes the trained networks known to
    MMagic's own interface (:func:`register_with_mmagic`):

        MMagicInferencer('dksan-lite_x4').infer(
            video='in.mp4', result_out_dir='out.mp4')
        MMagicInferencer(
            'dksan', model_config=CONFIG, model_ckpt=CHECKPOINT).infer(...)

    ``MMagicInferencer`` restores with MMagic's VideoRestorationInferencer and
    its limits: it chooses inferencers from a fixed list of tasks. This class
    is in no such list, so use it directly.

    Args:
        config (str or ConfigType): A config, its path, or the name of a
            trained network that comes with the package, such as
            ``'dksan-lite_x4'``.
        ckpt (str, optional): Its checkpoint; None for a model without
            parameters.
        device (str, optional): Default: a GPU if there is one.
        extra_parameters (dict, optional): Options of ``restore_video``, such
            as ``dict(dtype='bf16', crf=14)``. Those of MMagic's that the
            config decides here (``window_size``, ``max_seq_len``,
            ``start_idx``, ``filename_tmpl``) must be left out.
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
        # kept in the instance: MMagic keeps them in the class, so that the
        # parameters of one inferencer would apply to the next
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
        """Do nothing: frames go to the network without a pipeline."""

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
        """Restore a video; the same as calling the inferencer. Named after
        ``MMagicInferencer.infer``.

        Args:
            video (str): Video or folder of frames.
            result_out_dir (str): Video or folder to write.
            **kwargs: ``extra_parameters``, which apply from this video on.

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
        """Return the summary unchanged."""
        return preds


def register_with_mmagic() -> None:
    """Make the trained networks known to ``MMagicInferencer`` by their names
    in the metafile; DKSAN's are also settings 0, 1, ... of ``'dksan'``.

    MMagic's list of names and its table of configs are attributes of the
    class, meant for its own metafiles; this adds entries and replaces nothing.
    If the configs, which every installation has, are missing, a warning says
    what to do.
    """
    folder = _config_folder()
    try:
        with open(osp.join(folder, 'metafile.yml'), encoding='utf-8') as file:
            models = yaml.safe_load(file)['Models']
        trained = [
            dict(
                model,
                Config=_seen_from_mmagic(
                    osp.join(folder, osp.basename(model['Config']))),
                Weights=model['Name']) for model in models
            if weights.is_name(model['Name'])
        ]
    except (OSError, ValueError) as error:
        print_log(
            'MMagicInferencer does not know the networks of dksan_mm, as '
            f'their configs cannot be read: {error}; install dksan_mm again, '
            'on the drive that mmagic is on',
            logger='current',
            level=logging.WARNING)
        return
    MMagicInferencer.init_inference_supported_models_cfg()
    known = {model['Name']: [model] for model in trained}
    known['dksan'] = [m for m in trained if m['In Collection'] == 'DKSAN']
    for name, settings in known.items():
        if name not in MMagicInferencer.inference_supported_models:
            MMagicInferencer.inference_supported_models.append(name)
        MMagicInferencer.inference_supported_models_cfg[name] = dict(
            task=settings[0]['Results'][0]['Task'], settings=settings)


def _config_folder() -> str:
    """Return the folder of this package's configs, in an installation or else
    in a clone."""
    package = osp.dirname(osp.dirname(osp.abspath(__file__)))
    installed = osp.join(package, '.mim', 'configs')
    if osp.isdir(installed):
        return installed
    return osp.join(osp.dirname(package), 'configs')


def _seen_from_mmagic(path: str) -> str:
    """Return a path as MMagic's metafiles write it: relative to the folder
    that holds MMagic's ``configs``, and beginning with ``configs``."""
    package = osp.dirname(osp.abspath(mmagic.__file__))
    folder = osp.join(osp.dirname(package), 'configs')
    if not osp.exists(folder):
        folder = osp.join(package, '.mim', 'configs')
    relative = osp.relpath(osp.realpath(path), osp.realpath(folder))
    return osp.join('configs', relative)


register_with_mmagic()
