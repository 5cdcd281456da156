"""Networks in bfloat16 or float16; tests whether that pays on a machine.

Needs only PyTorch.
"""
import copy
import functools
from typing import Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import benchmark as bench

# names of dtypes; None keeps the dtype of the weights, float32
DTYPES = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)
# speed-up from which bfloat16 is chosen
LEAST_SPEEDUP = 1.3
# rounding operands and result to bfloat16 gives an error of about 0.003
MOST_ERROR = 0.01
# channels, height, width and stride of the self-test's convolutions: one with
# many channels, one with few, and one with a stride
_CONVS = ((128, 24, 40, 1), (32, 72, 120, 1), (64, 48, 80, 2))
# factor for height and width on a GPU, to keep it busy
_LARGER = 12
_ROUNDS = 16
# seconds for each dtype; at least three rounds are run
_BUDGET = 0.1


def has_short_copy(network: nn.Module) -> bool:
    """Return whether :func:`short_copy` supports a network: whether it states
    by ``keeps_images = True`` that it converts images to the dtype of its
    convolutions, and adds images in their own dtype."""
    network = getattr(network, 'generator', network)  # in an ensemble
    return getattr(network, 'keeps_images', False)


def short_copy(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a network with convolutions in another dtype.

    The copy computes what the network computes under autocast, without casting
    weights in every call. Deformable convolutions and scope kernels keep their
    dtype: their operators accept features of another dtype.

    Args:
        network (nn.Module): A network for which :func:`has_short_copy` is
            true; it is not changed.
        dtype (torch.dtype): ``torch.bfloat16`` or ``torch.float16``.

    Returns:
        nn.Module: The copy, which maps float32 images to float32 images.
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype, memory_format=torch.channels_last)
        elif isinstance(module, nn.Linear):
            module.to(dtype)
    return network


class SelfTest(NamedTuple):
    """Result of :func:`self_test`.

    Attributes:
        fp32_ms (float): Shortest time of the convolutions in float32.
        bf16_ms (float): Shortest time in bfloat16.
        error (float): Root mean square difference between the results in
            bfloat16 and in float32, relative to the latter.
    """
    fp32_ms: float
    bf16_ms: float
    error: float

    @property
    def is_right(self) -> bool:
        """Whether bfloat16 is accurate enough."""
        return self.error <= MOST_ERROR  # false for NaN

    @property
    def dtype(self) -> str:
        """The name of the dtype to choose."""
        pays = self.fp32_ms >= LEAST_SPEEDUP * self.bf16_ms
        return 'bf16' if pays and self.is_right else 'fp32'

    def __str__(self) -> str:
        text = (f'convolutions took {self.bf16_ms:.3g} ms in bfloat16, '
                f'{self.fp32_ms:.3g} ms in float32')
        if not self.is_right:
            text += (', and bfloat16 is wrong: relative error '
                     f'{self.error:.2g}, at most {MOST_ERROR} expected')
        return text


def _make_convs(device: torch.device) -> List[Tuple[Tensor, Tensor, Tensor]]:
    """Return input, weight and bias of each convolution, in float32."""
    larger = 1 if device.type == 'cpu' else _LARGER
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    convs = []
    for channels, height, width, _ in _CONVS:
        x = randn(1, channels, larger * height, larger * width)
        weight = randn(channels, channels, 3, 3)
        convs.append((x.contiguous(memory_format=torch.channels_last),
                      weight.contiguous(memory_format=torch.channels_last),
                      randn(channels)))
    return convs


@functools.lru_cache(None)
def self_test(device: torch.device) -> SelfTest:
    """Time some 3x3 convolutions in float32 and in bfloat16, in turn.

    Some processors have no fast bfloat16, and some builds of PyTorch made it 4
    to 16 times slower (PyTorch's issue 183815). The test takes about a tenth
    of a second, and its result is kept for the process.

    Args:
        device (torch.device): Where to run them.
    """
    convs = _make_convs(device)
    operands: Dict[str, List[Tuple[Tensor, ...]]] = dict(
        fp32=convs,
        bf16=[
            tuple(tensor.to(torch.bfloat16) for tensor in conv)
            for conv in convs
        ])

    def run(name: str) -> List[Tensor]:
        with torch.inference_mode():
            return [
                F.conv2d(*conv, stride=stride, padding=1)
                for conv, (*_, stride) in zip(operands[name], _CONVS)
            ]

    times = bench.alternate(
        {name: functools.partial(run, name)
         for name in operands},
        device,
        _ROUNDS,
        _BUDGET,
        warmup=1)
    errors = torch.stack([(short.float() - exact).norm() / exact.norm()
                          for short, exact in zip(run('bf16'), run('fp32'))])
    # not Python's max, which may skip NaN
    return SelfTest(
        min(times['fp32']), min(times['bf16']), float(errors.max()))
