"""Networks and restorers, registered in MMagic's registry."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
import dksan_mm.ops.mmcv_layer  # noqa: E402,F401
from dksan_mm.models.baselines.basicvsr_pp import \
    ExtremeBasicVSRPlusPlusNet  # noqa: E402
from dksan_mm.models.baselines.edvr_net import ExtremeEDVRNet  # noqa: E402
from .bicubic import Bicubic, BicubicUpsampler  # noqa: E402
from .dksan import DKSAN  # noqa: E402
from .dksan_gan import DKSANGAN, SeparateDistributedDataParallel  # noqa: E402
from .dksan_net import DKSANNet  # noqa: E402
from .perceptual_loss import VGGPerceptualLoss  # noqa: E402
from .self_ensemble import SelfEnsemble  # noqa: E402

__all__ = [
    'Bicubic', 'BicubicUpsampler', 'DKSAN', 'DKSANGAN', 'DKSANNet',
    'ExtremeBasicVSRPlusPlusNet', 'ExtremeEDVRNet', 'SelfEnsemble',
    'SeparateDistributedDataParallel', 'VGGPerceptualLoss'
]
