"""Self-ensemble: one network, eight views of its input."""
from itertools import product
from typing import Optional, Tuple

import torch
from torch import Tensor, nn


class SelfEnsemble(nn.Module):
    """Mean of a generator's results on flipped and transposed windows, each
    transformed back ("geometric self-ensemble": Lim et al., "Enhanced Deep
    Residual Networks for Single Image Super-Resolution", arXiv 1707.02921).

    For inference: 8 runs, or 16 with temporal reversal, take 8 or 16 times as
    long. Results are summed one by one: besides the generator's own memory,
    this needs the sum, one result, and one of its channels transformed back.

    Wrap it around a generator that already has its weights, as
    :class:`dksan_mm.evaluation.SelfEnsembleHook` does during tests:
    checkpoints do not include it.

    Args:
        generator (nn.Module): Maps (N, T, C, H, W) to (N, C', s * H, s * W),
            or to all frames, (N, T, C', s * H, s * W).
        temporal (bool): Whether to run each view also with its frames
            reversed, which needs an odd T. Default: False.
    """

    def __init__(self, generator: nn.Module, temporal: bool = False) -> None:
        super().__init__()
        self.generator = generator
        self.temporal = temporal

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, C, H, W) to a tensor like the generator's output.

        Raises:
            ValueError: ``temporal`` is set and T is even: a reversed window
                would have another middle frame.
        """
        total: Optional[Tensor] = None
        count = 0
        for reverse in (False, True)[:1 + self.temporal]:
            if reverse and total.dim() == 4 and x.shape[1] % 2 == 0:
                raise ValueError(
                    'the window must have an odd number of frames to be '
                    f'reversed around its middle, got {x.shape[1]}; leave '
                    'temporal (--temporal-ensemble) out')
            window = x.flip(1) if reverse else x
            for transpose, flips in product((False, True), _FLIPS):
                # the result gets no name, so that it is freed before the next
                total = _add(total,
                             self.generator(_view(window, transpose, flips)),
                             transpose, flips, reverse)
                count += 1
        return total.div_(count)


_FLIPS: Tuple[Tuple[int, ...], ...] = ((), (-1, ), (-2, ), (-2, -1))


def _view(x: Tensor, transpose: bool, flips: Tuple[int, ...]) -> Tensor:
    """Return (..., H, W) flipped, then transposed."""
    x = x.flip(flips) if flips else x
    return x.transpose(-2, -1).contiguous() if transpose else x


def _add(total: Optional[Tensor], result: Tensor, transpose: bool,
         flips: Tuple[int, ...], reverse: bool) -> Tensor:
    """Transform a view's result back, add it to the sum, and return the sum.
    """
    if reverse and result.dim() == 5:
        result = result.flip(1)
    if transpose:
        result = result.transpose(-2, -1)
    if total is None:  # the first view, not transformed
        # a copy: the result may belong to the generator or be its input
        return result.to(
            torch.promote_types(result.dtype, torch.float32), copy=True)
    # channel by channel, as a flip makes a copy
    for target, source in zip(total.unbind(1), result.unbind(1)):
        target.add_(source.flip(flips) if flips else source)
    return total
