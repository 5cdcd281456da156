"""The cost of each part of a network: multiply-adds, parameters, time."""
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dksan_mm.utils.benchmark import Run


def deform_kernel_flops(x: Sequence[int], weight: Any, kernel_offset: Any,
                        offset: Optional[Sequence[int]], bias: Any,
                        kernel_size: Sequence[int], *_: Any,
                        out_shape: Sequence[int], **__: Any) -> int:
    """Return twice the multiply-adds of a deformable-kernel convolution: for
    each tap of each output value, four in the scope, four in the image and one
    for their product."""
    each = 5 if offset is None else 9
    return 2 * each * math.prod(kernel_size) * math.prod(out_shape)


def deform_conv_flops(x: Sequence[int], offset: Any, mask: Any,
                      weight: Sequence[int], *_: Any, out_shape: Sequence[int],
                      **__: Any) -> int:
    """Return twice the multiply-adds of a modulated deformable convolution:
    those of a convolution, plus five for each sampled value (four in the
    image, one for the mask)."""
    dense = math.prod(out_shape) * math.prod(weight[1:])
    sampled = (
        out_shape[0] * math.prod(out_shape[2:]) * x[1] * math.prod(weight[2:]))
    return 2 * (dense + 5 * sampled)


def addmm_flops(out: Any, a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """Count only the matrix products of mmcv's deformable convolutions."""
    return 2 * math.prod(a) * b[-1]


def flop_counter() -> FlopCounterMode:
    """Return PyTorch's counter, extended by our operators."""
    formulas = {torch.ops.aten.addmm_: addmm_flops}
    for name, formula in (('deform_kernel_conv2d', deform_kernel_flops),
                          ('modulated_deform_conv2d', deform_conv_flops)):
        if hasattr(torch.ops.dksan_mm, name):
            formulas[getattr(torch.ops.dksan_mm, name)] = formula
    return FlopCounterMode(display=False, custom_mapping=formulas)


def measure_parts(run: Run, parts: Dict[str, nn.Module],
                  read: Callable[[], float]) -> Dict[str, float]:
    """Return how much the value of ``read`` grows during one run, in each part
    and in the ``rest``."""
    grown = dict.fromkeys([*parts, 'rest'], 0)
    handles = []
    for name, part in parts.items():
        starts: List[float] = []

        def before(*_: Any, starts: List[float] = starts) -> None:
            starts.append(read())

        def after(*_: Any,
                  name: str = name,
                  starts: List[float] = starts) -> None:
            grown[name] += read() - starts.pop()

        handles.append(part.register_forward_pre_hook(before))
        handles.append(part.register_forward_hook(after))
    try:
        start = read()
        run()
        whole = read() - start
    finally:
        for handle in handles:
            handle.remove()
    grown['rest'] = whole - sum(grown.values())
    return grown


def count_multiply_adds(run: Run, parts: Dict[str,
                                              nn.Module]) -> Dict[str, int]:
    """Return the multiply-adds of each part and of the ``rest``, counting
    convolutions, matrix products and our operators."""
    with flop_counter() as counter:
        found = measure_parts(run, parts, counter.get_total_flops)
    return {name: flops // 2 for name, flops in found.items()}


def count_parameters(network: nn.Module,
                     parts: Dict[str, nn.Module]) -> Dict[str, int]:
    """Return the number of parameters of each part and of the ``rest``; shared
    ones count for the first part."""
    seen: Set[int] = set()
    counts = {}
    for name, part in (*parts.items(), ('rest', network)):
        own = [p for p in part.parameters() if id(p) not in seen]
        seen.update(map(id, own))
        counts[name] = sum(p.numel() for p in own)
    return counts


class ConvRecorder(TorchDispatchMode):
    """Records the convolutions that run inside, to repeat only these."""

    CONVS = (torch.ops.aten.conv2d, torch.ops.aten.convolution,
             torch.ops.aten._convolution, torch.ops.aten.mkldnn_convolution)

    def __init__(self) -> None:
        super().__init__()
        self.calls: List[Tuple] = []

    def __torch_dispatch__(self,
                           func: Callable,
                           types: Any,
                           args: Tuple = (),
                           kwargs: Optional[Dict[str, Any]] = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, 'overloadpacket', None) in self.CONVS:
            x, *rest = args
            like = tuple(x.shape), x.stride(), x.dtype, x.device
            self.calls.append((func, like, rest, kwargs))
        return func(*args, **kwargs)

    def replay(self) -> Run:
        """Return a function that runs the same convolutions in the same order,
        on one random input for each shape, layout and dtype."""
        inputs = {}
        for _, like, _, _ in self.calls:
            if like not in inputs:
                shape, strides, dtype, device = like
                span = 1 + sum((size - 1) * stride
                               for size, stride in zip(shape, strides))
                data = torch.rand(span, dtype=dtype, device=device)
                inputs[like] = data.as_strided(shape, strides)

        def run() -> None:
            with torch.inference_mode():
                for func, like, rest, kwargs in self.calls:
                    func(inputs[like], *rest, **kwargs)

        return run
