"""Registers the operator with PyTorch: ``torch.ops.dksan_mm``.

Schemas, shape rules for tracing, autograd, autocast, and the backend for each
device. Imports only torch: a backend is imported at its first run.

====================  ==========================================
device                backend
====================  ==========================================
CPU                   ``cpp`` if it was built, else ``portable``
CUDA                  ``triton``
any other             ``portable``
====================  ==========================================
"""
import functools
import importlib
import importlib.util
import logging
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from ._validation import Geometry, check_arguments

FORWARD = 'deform_kernel_conv2d'
BACKWARD = 'deform_kernel_conv2d_backward'
_GEOMETRY = ('int[2] kernel_size, int[2] stride, int[2] padding, '
             'int[2] dilation')


class OpLibrary(torch.library.Library):
    """A library whose ops raise an error in forward-mode differentiation
    (``torch.func.jvp``, ``jacfwd``, dual tensors).

    PyTorch's own registration of gradients silently drops tangents if no input
    requires a gradient: the derivative would seem to be zero.
    """

    def impl(self,
             name: str,
             kernel: Callable,
             key: str = '',
             **kwargs: Any) -> None:
        if key == 'Autograd':
            kernel = functools.partial(_refuse_tangents, name, kernel)
        super().impl(name, kernel, key, **kwargs)


def _refuse_tangents(name: str, kernel: Callable, *args: Any) -> Any:
    # costs only a comparison outside forward mode
    if forward_ad._current_level >= 0 and any(
            isinstance(arg, Tensor)
            and forward_ad.unpack_dual(arg).tangent is not None
            for arg in args):
        raise NotImplementedError(
            f'{name} has no derivative in forward mode (torch.func.jvp, '
            'jacfwd, dual tensors): use reverse mode, backward or '
            'torch.autograd.grad')
    return kernel(*args)


_library = OpLibrary('dksan_mm', 'DEF')
_library.define(
    f'{FORWARD}(Tensor x, Tensor weight, Tensor kernel_offset, '
    f'Tensor? offset, Tensor? bias, {_GEOMETRY}) -> Tensor',
    tags=torch.Tag.pt2_compliant_tag)
# Gradients that output_mask leaves out are empty tensors, (0,).
_library.define(
    f'{BACKWARD}(Tensor grad_out, Tensor x, Tensor weight, '
    f'Tensor kernel_offset, Tensor? offset, {_GEOMETRY}, '
    'bool[4] output_mask) -> (Tensor grad_x, Tensor grad_weight, '
    'Tensor grad_kernel_offset, Tensor grad_offset)',
    tags=torch.Tag.pt2_compliant_tag)


def memory_format(x: Tensor) -> torch.memory_format:
    """Return the memory format of ``x``, (N, C, H, W): channels-last if its
    channels are adjacent, else contiguous."""
    if x.shape[1] > 1 and x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1:
        return torch.channels_last
    return torch.contiguous_format


def empty_like(x: Tensor) -> Tensor:
    """Return a new, dense tensor with the shape, dtype and format of ``x``."""
    return torch.empty_like(x, memory_format=memory_format(x))


def compute_dtype(*tensors: Optional[Tensor]) -> torch.dtype:
    """Return the type to compute in: the widest type given, at least float32.
    """
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _split_backward(args: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """Return tensors, geometry and mask of the backward op's arguments."""
    *tensors, kernel_size, stride, padding, dilation, output_mask = args
    return tensors, Geometry(kernel_size, stride, padding,
                             dilation), output_mask


# Shape rules


def _fake_forward(x: Tensor, weight: Tensor, kernel_offset: Tensor,
                  offset: Optional[Tensor], bias: Optional[Tensor], *geometry:
                  Sequence[int]) -> Tensor:
    geometry = Geometry(*geometry)
    check_arguments(x, weight, kernel_offset, offset, bias, geometry)
    size = geometry.output_size(*x.shape[-2:])
    return torch.empty((*x.shape[:2], *size),
                       dtype=x.dtype,
                       device=x.device,
                       memory_format=memory_format(x))


def _fake_backward(grad_out: Tensor, *args: Any) -> Tuple[Tensor, ...]:
    tensors, geometry, output_mask = _split_backward(args)
    check_arguments(*tensors, None, geometry, grad_out=grad_out)
    return tuple(
        tensors[0].
        new_empty(0) if tensor is None or not wanted else empty_like(tensor)
        for tensor, wanted in zip(tensors, output_mask))


torch.library.register_fake(
    f'dksan_mm::{FORWARD}', _fake_forward, lib=_library)
torch.library.register_fake(
    f'dksan_mm::{BACKWARD}', _fake_backward, lib=_library)

# Autograd


def _setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
    *tensors, kernel_size, stride, padding, dilation = inputs
    ctx.save_for_backward(*tensors)
    ctx.geometry = kernel_size, stride, padding, dilation


def bias_gradient(grad_out: Tensor, bias: Optional[Tensor],
                  wanted: bool) -> Optional[Tensor]:
    """Return the gradient of a bias, (C,), summed in the widest type given, at
    least float32."""
    if not wanted:
        return None
    dtype = compute_dtype(grad_out, bias)
    return grad_out.sum((0, 2, 3), dtype=dtype).to(bias.dtype)


def _backward(ctx: Any, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
    *tensors, bias = ctx.saved_tensors
    output_mask = list(ctx.needs_input_grad[:4])
    grads = torch.ops.dksan_mm.deform_kernel_conv2d_backward(
        grad_out, *tensors, *ctx.geometry, output_mask)
    grads = [
        grad if wanted else None for grad, wanted in zip(grads, output_mask)
    ]
    grad_bias = bias_gradient(grad_out, bias, ctx.needs_input_grad[4])
    return *grads, grad_bias, None, None, None, None


def no_second_order(name: str) -> Callable:
    """Return a gradient function for a gradient op, which raises an error."""

    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            f'{name} has no gradient of second order: call backward without '
            'create_graph=True, or detach what the gradient of the gradient '
            'is not wanted for')

    return backward


torch.library.register_autograd(
    f'dksan_mm::{FORWARD}',
    _backward,
    setup_context=_setup_context,
    lib=_library)
torch.library.register_autograd(
    f'dksan_mm::{BACKWARD}', no_second_order(FORWARD), lib=_library)

# Autocast: tensors of any dtype are accepted, computing is done in at least
# float32, and the result has the dtype of x. Backends may use PyTorch's
# operators, so autocast is disabled for them.


def _without_autocast(name: str, device: str) -> Callable:

    def kernel(*args: Any) -> Any:
        with torch.autocast(device, enabled=False):
            return getattr(torch.ops.dksan_mm, name)(*args)

    return kernel


for _name in (FORWARD, BACKWARD):
    for _device in ('cpu', 'cuda'):
        _library.impl(_name, _without_autocast(_name, _device),
                      f'Autocast{_device.upper()}')

# Backends: modules with ``forward`` and ``backward``, which take the arguments
# of the ops, with the geometry as one argument

_MODULES = {'portable': '._reference', 'triton': '._triton'}
cpp_fault: Optional[str] = None


def _load_cpp() -> Optional[str]:
    """Load the C++ kernels, which register themselves for the CPU; return
    None, or the reason why that failed."""
    try:
        importlib.import_module('._C', __package__)
    except ImportError as error:
        return str(error)
    return None


@functools.lru_cache(None)
def _log_portable() -> None:
    logging.getLogger('dksan_mm').warning(
        'deform_kernel_conv2d runs on its portable backend, which is many '
        'times slower on CPUs: its C++ kernels are not there (%s). With a C++ '
        'compiler: pip install --no-build-isolation --no-deps -e . in the '
        'repository of dksan_mm', cpp_fault)


def _module(backend: str) -> ModuleType:
    return importlib.import_module(_MODULES[backend], __package__)


def _run_forward(backend: str, *args: Any) -> Tensor:
    *tensors, kernel_size, stride, padding, dilation = args
    geometry = Geometry(kernel_size, stride, padding, dilation)
    check_arguments(*tensors, geometry)
    return _module(backend).forward(*tensors, geometry)


def _run_backward(backend: str, grad_out: Tensor, *args:
                  Any) -> Tuple[Tensor, ...]:
    tensors, geometry, output_mask = _split_backward(args)
    check_arguments(*tensors, None, geometry, grad_out=grad_out)
    return _module(backend).backward(grad_out, *tensors, geometry, output_mask)


def _portable(run: Callable, *args: Any) -> Any:
    if args[0].device.type == 'cpu':
        _log_portable()
    return run('portable', *args)


for _name, _run in ((FORWARD, _run_forward), (BACKWARD, _run_backward)):
    _library.impl(_name, functools.partial(_portable, _run),
                  'CompositeExplicitAutograd')
    _library.impl(_name, functools.partial(_run, 'triton'), 'CUDA')
cpp_fault = _load_cpp()

# for each op, the function that runs it on a named backend, and the names
_runs: Dict[str, Tuple[Callable, Tuple[str, ...]]] = {}


def add_backends(name: str, run: Callable, names: Tuple[str, ...]) -> None:
    """Let :class:`use_backend` choose among ``names`` for the op ``name``,
    which ``run(backend, *args)`` runs."""
    _runs[f'dksan_mm::{name}'] = run, names


for _name, _run in ((FORWARD, _run_forward), (BACKWARD, _run_backward)):
    add_backends(_name, _run, ('portable', 'cpp', 'triton'))


def backends(op: str = FORWARD) -> List[str]:
    """Return the names of the backends of an op that are installed.

    Args:
        op (str): ``deform_kernel_conv2d`` or ``modulated_deform_conv2d``.
            Default: the first.
    """
    there = dict(
        portable=True,
        cpp=cpp_fault is None,
        triton=importlib.util.find_spec('triton') is not None,
        mmcv=importlib.util.find_spec('mmcv') is not None)
    return [name for name in _runs[f'dksan_mm::{op}'][1] if there[name]]


class use_backend(TorchDispatchMode):
    """Run the operators on the named backend, for tests and benchmarks.

    A context manager, for this thread. Elsewhere, and for an operator without
    such a backend, the device decides. The backward pass must also run inside.

    Args:
        name (str): ``portable``, ``cpp`` or ``triton`` for
            ``deform_kernel_conv2d``; ``cpp`` or ``mmcv`` for
            ``modulated_deform_conv2d``.

    Raises:
        ValueError: There is no such backend here.
    """

    def __init__(self, name: str) -> None:
        names = backends() + backends('modulated_deform_conv2d')
        if name not in names:
            raise ValueError(
                f'name must be one of {list(dict.fromkeys(names))}, the '
                f'backends installed here, got {name!r}')
        super().__init__()
        self.name = name

    def __torch_dispatch__(self,
                           func: Callable,
                           types: Any,
                           args: Tuple[Any, ...] = (),
                           kwargs: Optional[Dict[str, Any]] = None) -> Any:
        run, names = _runs.get(func.name(), (None, ()))
        # types are tensor subclasses, which means tracing
        if self.name not in names or types:
            return func(*args, **(kwargs or {}))
        if self.name != 'cpp':
            return run(self.name, *args)
        if args[0].device.type != 'cpu':
            raise ValueError('the cpp backend needs tensors on the CPU, got '
                             f'one on {args[0].device}')
        return func(*args, **(kwargs or {}))
