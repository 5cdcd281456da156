"""The metric LPIPS, if its weights are available."""
from typing import Any, Dict, Mapping, Optional

import torch
from mmagic.registry import METRICS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dksan_mm.utils.backbones import find_weights
from .frame_metric import FrameMetric, channel_order

# torchvision's names of the backbones
_BACKBONES = dict(alex='alexnet', vgg='vgg16', squeeze='squeezenet1_1')


def build_lpips(net: str, weights: str) -> nn.Module:
    """Return LPIPS v0.1: the linear layers of the package ``lpips`` on
    torchvision's backbone with weights from the file ``weights``.

    Raises:
        ImportError: The package is not installed.
        ValueError: The file does not hold the backbone's weights.
    """
    try:
        import lpips
    except ImportError as error:
        raise ImportError('SequenceLPIPS needs the package lpips, found none: '
                          'pip install lpips') from error
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        found = torch.load(weights, map_location='cpu', weights_only=True)
        # lpips cuts torchvision's "features" into slices, but keeps numbers
        model.net.load_state_dict({
            key:
            found[f'features.{key.split(".", 1)[1]}']
            for key in model.net.state_dict()
        })
    except Exception as error:
        raise ValueError(
            f'{weights} must hold the weights of torchvision for LPIPS with '
            f'{net!r}, found: {type(error).__name__}: {error}; fetch it again'
        ) from error
    return model.eval().requires_grad_(False)


@METRICS.register_module()
class SequenceLPIPS(FrameMetric):
    """LPIPS v0.1 by sequence; lower is better.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", CVPR 2018, computed by the authors' package on whole
    RGB frames, not rounded, on the model's device.

    Args:
        net (str): Backbone: 'alex' (the authors' choice for comparing),
            'vgg' or 'squeeze'. Default: 'alex'.
        weights (str, optional): File with the backbone's weights, as for
            :func:`dksan_mm.utils.backbones.find_weights`; nothing is
            downloaded. Default: None.
        **kwargs: ``prefix`` and other arguments of MMagic's sample-wise
        metrics.

    Raises:
        FileNotFoundError: The weights are not there.
        ValueError: ``net`` or the file is not valid.
        ImportError: The package ``lpips`` is not installed.
    """

    metric = 'LPIPS'

    def __init__(self,
                 net: str = 'alex',
                 weights: Optional[str] = None,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        if net not in _BACKBONES:
            raise ValueError(
                f'net must be one of {list(_BACKBONES)}, got {net!r}')
        weights = find_weights(_BACKBONES[net], 'LPIPS',
                               'tools/test.py --lpips ', weights)
        # built here, not on first use, so that an error comes before the test
        self.network = build_lpips(net, weights)

    def prepare(self, module: nn.Module, dataloader: DataLoader) -> None:
        """Move the network to the device of the model."""
        super().prepare(module, dataloader)
        self.device = self.data_preprocessor.device
        self.network.to(self.device)

    @torch.no_grad()
    def measure(self, gt: Tensor, pred: Tensor,
                sample: Mapping[str, Any]) -> Dict[str, Optional[float]]:
        """Return the frame's LPIPS."""
        images = [image[None].float() for image in (gt, pred)]
        if channel_order(sample) == 'BGR':
            images = [image.flip(1) for image in images]
        gt, pred = (image / 127.5 - 1 for image in images)
        return dict(LPIPS=float(self.network(gt, pred)))
