"""Our operators in models of mmcv and MMagic."""
import logging
from types import FunctionType, MethodType
from typing import Callable, List, Optional

from torch import nn

from .modulated_deform_conv import modulated_deform_conv2d

_NAME = 'modulated_deform_conv2d'


def accelerate(model: nn.Module) -> List[str]:
    """Let a model's modulated deformable convolutions run on
    :func:`dksan_mm.ops.modulated_deform_conv2d`.

    These are mmcv's ``ModulatedDeformConv2d`` and classes derived from it:
    mmcv's ``DCNv2``, EDVR's and BasicVSR++'s alignments in MMagic. On CPUs
    they become several times faster, and right in any memory format; on GPUs
    they stay as fast as they are. Parameters, state dict and classes stay as
    they are: only ``forward`` of each such module is replaced, by the same
    code with our function in place of mmcv's. It is not undone by loading a
    checkpoint, and is to be repeated where a model is built anew, from a
    pickle, say.

    Args:
        model (nn.Module): Changed in place.

    Returns:
        list[str]: Names of the modules that use our function now.
    """
    from mmcv.ops import ModulatedDeformConv2d
    found, left = [], []
    for name, module in model.named_modules():
        if not isinstance(module, ModulatedDeformConv2d):
            continue
        function = _with_ours(module)
        if function is None:
            left.append(name)
        else:
            module.forward = MethodType(function, module)
            found.append(name)
    if left:
        logging.getLogger('dksan_mm').warning(
            '%s stay on the function of mmcv: their forward does not call it '
            'by its name, %s', ', '.join(left), _NAME)
    return found


def _with_ours(module: nn.Module) -> Optional[Callable]:
    """Return the module's forward as a function that calls ours; None if it
    calls neither mmcv's nor ours by its name."""
    function = getattr(module.forward, '__func__', None)
    if not isinstance(function, FunctionType) or (
            _NAME not in function.__code__.co_names):
        return None
    namespace = dict(function.__globals__)
    namespace[_NAME] = modulated_deform_conv2d
    ours = FunctionType(function.__code__, namespace, function.__name__,
                        function.__defaults__, function.__closure__)
    ours.__kwdefaults__ = function.__kwdefaults__
    ours.__doc__ = function.__doc__
    return ours
