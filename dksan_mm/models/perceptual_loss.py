"""A loss on VGG's features."""
import itertools
from typing import Any, Dict, Optional

import torch
import torchvision
from mmagic.models.losses import PerceptualLoss
from mmagic.models.losses.perceptual_loss import PerceptualVGG
from mmagic.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from dksan_mm.utils.backbones import find_weights


class _VGG(PerceptualVGG):
    """MMagic's features of VGG, without the download that its constructor
    does whatever it is told."""

    def __init__(self, layer_names: Any, vgg_type: str,
                 use_input_norm: bool) -> None:
        nn.Module.__init__(self)
        self.layer_name_list = list(layer_names)
        self.use_input_norm = use_input_norm
        # without its values, most of which are the classifier's
        with torch.device('meta'):
            layers = getattr(torchvision.models, vgg_type)(weights=None)
        self.vgg_layers = layers.features[:max(map(int, layer_names)) + 1]
        self.vgg_layers.to_empty(device='cpu')
        for name, value in (('mean', [0.485, 0.456,
                                      0.406]), ('std', [0.229, 0.224, 0.225])):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1))
        self.requires_grad_(False)


@MODELS.register_module()
class VGGPerceptualLoss(PerceptualLoss):
    """MMagic's :class:`PerceptualLoss`, with weights that are at hand: they
    are looked for when a training begins, and not downloaded.

    A checkpoint does not hold them, and tests and restoration do without.

    Args:
        layer_weights (dict): Number of a layer among torchvision's
            ``features``, as a string, to the weight of its features.
        vgg_type (str): 'vgg16', 'vgg19', ... of torchvision. Default:
            'vgg16'.
        pretrained (str, optional): A file of torchvision's weights. None
            stays at random ones, which is for tests alone. Default: 'cache',
            those in torchvision's cache, or, of VGG16, those that
            ``fetch_lpips_weights.py`` got.
        perceptual_weight (float): Weight of the loss. Default: 1.
        use_input_norm (bool): Whether images are normalised for VGG.
            Default: True.
        criterion (str): 'l1' or 'mse'. Default: 'l1'.

    Images are (N, 3, H, W) in [0, 1].
    """

    def __init__(self,
                 layer_weights: Dict[str, float],
                 vgg_type: str = 'vgg16',
                 pretrained: Optional[str] = 'cache',
                 perceptual_weight: float = 1.,
                 use_input_norm: bool = True,
                 criterion: str = 'l1') -> None:
        nn.Module.__init__(self)  # the parent's downloads
        if criterion not in ('l1', 'mse'):
            raise ValueError(
                f"criterion must be 'l1' or 'mse', got {criterion!r}")
        self.layer_weights = layer_weights
        self.perceptual_weight = perceptual_weight
        self.style_weight, self.norm_img = 0, False
        self.criterion = nn.L1Loss() if criterion == 'l1' else nn.MSELoss()
        self.vgg_type, self.pretrained = vgg_type, pretrained
        self.vgg = _VGG(layer_weights, vgg_type, use_input_norm)
        # constants, which no checkpoint need hold
        self._register_state_dict_hook(_leave_out)
        self.register_load_state_dict_post_hook(_miss_nothing)

    def init_weights(self) -> None:
        """Load the weights; the runner does so before it trains.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or of another network.
        """
        if self.pretrained is None:
            for layer in self.vgg.vgg_layers:
                if isinstance(layer, nn.Conv2d):
                    layer.reset_parameters()
            return
        path = find_weights(
            self.vgg_type, 'perceptual_loss', '--cfg-options '
            'model.perceptual_loss.pretrained=',
            None if self.pretrained == 'cache' else self.pretrained)
        # where dksan_mm.engine is loaded, this is its loader
        found = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        found = found.get('state_dict', found)
        layers = {
            name: found.get(f'features.{name}')
            for name in self.vgg.vgg_layers.state_dict()
        }
        for name, value in self.vgg.vgg_layers.state_dict().items():
            if layers[name] is None or layers[name].shape != value.shape:
                raise ValueError(
                    f'{path} must hold the weights of {self.vgg_type}, found '
                    f'no features.{name} of shape {tuple(value.shape)}; let '
                    'model.perceptual_loss.vgg_type be that of the file')
        self.vgg.vgg_layers.load_state_dict(layers)


def _leave_out(module: nn.Module, state_dict: Dict[str, Any], prefix: str,
               _: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        del state_dict[key]


def _miss_nothing(module: nn.Module, keys: Any) -> None:
    """Let no loader tell that the constants are missing."""
    own = tuple(f'vgg.{name}' for name, _ in itertools.chain(
        module.vgg.named_parameters(), module.vgg.named_buffers()))
    keys.missing_keys[:] = [
        key for key in keys.missing_keys if not key.endswith(own)
    ]
