"""Times a network's forward passes."""
import time
from typing import Any, List

import torch
from torch import nn


class ForwardTimer:
    """Times a network's forward passes, including the device's work.

    Attributes:
        seconds (list[float]): For each frame, its share of the time of its
            batch.
    """

    def __init__(self, network: nn.Module) -> None:
        self.seconds: List[float] = []
        self._handles = [
            network.register_forward_pre_hook(self._before),
            network.register_forward_hook(self._after)
        ]

    def _before(self, network: nn.Module, inputs: tuple) -> None:
        self._wait(inputs[0])
        self._start = time.perf_counter()

    def _after(self, network: nn.Module, inputs: tuple, output: Any) -> None:
        self._wait(inputs[0])
        # a recurrent network restores all frames of (N, T, C, H, W)
        count = len(inputs[0]) * (output.shape[1] if output.ndim == 5 else 1)
        took = time.perf_counter() - self._start
        self.seconds.extend([took / count] * count)

    @staticmethod
    def _wait(x: torch.Tensor) -> None:
        if x.is_cuda:
            torch.cuda.synchronize(x.device)

    def close(self) -> None:
        """Remove the hooks from the network."""
        for handle in self._handles:
            handle.remove()
