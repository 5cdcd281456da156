"""Mixed-precision training on CPUs."""
from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed-precision training on CPUs: the forward pass under bfloat16
    autocast. bfloat16 has the range of float32, so no loss scaling is needed.
    mmengine's ``AmpOptimWrapper`` supports accelerators only.

    Arguments are those of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast and mmengine's own context."""
        with super().optim_context(model), torch.autocast(
                'cpu', torch.bfloat16):
            yield
