"""Exports a network to ONNX, and compares the file with the network."""
import importlib
import os
from typing import Any, Dict, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from dksan_mm.utils.files import write_whole

# largest difference of the result, an image in [0, 1]
TOLERANCE = 1e-4
LEAST_OPSET = 19  # the first with DeformConv
_LEAST_SIZE = 8
_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def check_packages() -> None:
    """Raise ImportError unless all packages for exporting are installed."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f'{name} must be installed to export to ONNX: pip install -r '
                'requirements/onnx.txt -c requirements/constraints.txt '
                f'({error})') from error


def check_arguments(path: str, size: Sequence[int], opset: int) -> None:
    """Check the arguments of :func:`export_onnx` before it begins.

    Args:
        path (str): File to write. Its folder is created if need be.
        size (Sequence[int]): Height and width of the example.
        opset (int): ONNX opset.

    Raises:
        OutputError: The folder cannot be written to.
        ValueError: An argument breaks the rules of :func:`export_onnx`.
    """
    import onnx
    height, width = size
    if min(height, width) < _LEAST_SIZE:
        raise ValueError(f'size must be at least {_LEAST_SIZE} x '
                         f'{_LEAST_SIZE}, got {height} x {width}')
    most = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= most:
        raise ValueError(f'opset must be at least {LEAST_OPSET}, the first '
                         f'with DeformConv, and at most {most}, the last '
                         f'that onnx {onnx.__version__} knows, got {opset}')
    if not path.endswith('.onnx'):
        raise ValueError(f'path must end in .onnx, got {path}')
    if os.path.isdir(path):
        raise ValueError(f'{path} must be a file, found a folder; choose '
                         'another name')
    # a folder that cannot be written, or a full disk, shows here
    probe = f'{path}.probe'
    write_whole(probe, bytes(1 << 20))
    os.remove(probe)


def export_onnx(net: nn.Module,
                path: str,
                input_shape: Sequence[int],
                opset: int = 20,
                verify: bool = True) -> Dict[Tuple[int, ...], float]:
    """Export a network as one ONNX file of standard operators.

    The file's input is ``frames``, its output ``restored``, both float32;
    batch, which may be 0, height and width are dynamic. The file gets its name
    once it is complete and has passed all checks; before that, and if a check
    fails, it is ``<name>.partial.onnx``.

    Args:
        net (nn.Module): Maps (N, T, C, H, W) to (N, C, scale * H,
            scale * W). It is put into evaluation mode.
        path (str): File to write, ``*.onnx``.
        input_shape (Sequence[int]): (T, C, H, W) of the example to trace, H
            and W at least 8: a size that happens to be 1 in some layer would
            become fixed.
        opset (int): ONNX opset, at least 19, the first with DeformConv.
            Default: 20.
        verify (bool): Whether to compare the file, run by ONNX Runtime, with
            the network, at the traced size and at another one. Default: True.

    Returns:
        dict: Maps each compared input shape to the greatest difference.

    Raises:
        ImportError: A package is missing; the message says how to get it.
        ValueError: An argument breaks the rules above.
        RuntimeError: The file's result differs from the network's by more than
            1e-4.
    """
    check_packages()
    frames, channels, height, width = input_shape
    check_arguments(path, (height, width), opset)
    net = net.eval()
    partial = f'{path[:-len(".onnx")]}.partial.onnx'
    # a batch of one would become fixed
    example = similar_frames((2, *input_shape))
    _write(net, partial, example, opset)
    differences = {}
    if verify:
        for shape in ((1, frames, channels, height + 3, width - 3),
                      tuple(example.shape)):
            differences[shape] = compare(net, partial, similar_frames(shape))
    os.replace(partial, path)
    return differences


def similar_frames(shape: Sequence[int]) -> Tensor:
    """Return frames that differ a little, (N, T, C, H, W): between unrelated
    ones, rounding would decide where optical flow leads."""
    first = torch.rand(shape[0], 1, *shape[2:])
    return 0.95 * first + 0.05 * torch.rand(*shape)


def _write(net: nn.Module, path: str, example: Tensor, opset: int) -> None:
    import onnx

    from .onnx_ops import TRANSLATIONS

    # with gradients enabled, the network writes nothing in place
    with torch.enable_grad():
        program = torch.onnx.export(
            net, (example, ),
            dynamo=True,
            input_names=['frames'],
            output_names=['restored'],
            dynamic_shapes=({
                0: 'batch',
                3: 'height',
                4: 'width'
            }, ),
            custom_translation_table=TRANSLATIONS,
            opset_version=opset,
            verbose=False)
    program.save(path, external_data=False)
    model = onnx.load(path)
    _take_empty_batches(model.graph)
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    found = {
        entry.domain: entry.version
        for entry in onnx.load(path).opset_import
    }
    if found != {'': opset}:
        raise RuntimeError(
            f'{path} must need ONNX opset {opset} and no other domain, got '
            f'{found}: PyTorch {torch.__version__} cannot export to that opset'
        )


def _take_empty_batches(graph: Any) -> None:
    """Make a graph accept N = 0, which few operators of ONNX Runtime do: it
    then computes one image, of zeros, and drops it."""
    from onnx import helper, numpy_helper
    (frames, ), (restored, ) = graph.input, graph.output
    whole, all_restored = f'{frames.name}_whole', f'{restored.name}_whole'
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [{
                frames.name: whole,
                restored.name: all_restored
            }.get(name, name) for name in names]
    graph.initializer.append(
        numpy_helper.from_array(np.zeros(1, np.int64), 'batch_zero'))

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs.split(), [output],
                                f'node_{output}', **attributes)

    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    before = [
        node('Shape', frames.name, 'batch_size', start=0, end=1),
        node('Shape', frames.name, 'batch_shape', start=1),
        node('Equal', 'batch_size batch_zero', 'batch_is_empty'),
        node('Cast', 'batch_is_empty', 'batch_missing', to=7),  # int64
        node('Concat', 'batch_missing batch_shape', 'batch_fill', axis=0),
        node('ConstantOfShape', 'batch_fill', 'batch_blank', value=zero),
        node('Concat', f'{frames.name} batch_blank', whole, axis=0),
    ]
    after = node('Slice', f'{all_restored} batch_zero batch_size batch_zero',
                 restored.name)
    nodes = [*before, *graph.node, after]
    del graph.node[:]
    graph.node.extend(nodes)


def compare(net: nn.Module, path: str, x: Tensor) -> float:
    """Return the greatest difference between the results of ONNX Runtime and
    of the network.

    Args:
        net (nn.Module): The network, in evaluation mode.
        path (str): The exported file.
        x (Tensor): Input, (N, T, C, H, W).

    Raises:
        RuntimeError: The difference is above 1e-4, or not a number.
    """
    import onnxruntime
    session = onnxruntime.InferenceSession(
        path, providers=['CPUExecutionProvider'])
    actual, = session.run(['restored'], {'frames': x.numpy()})
    with torch.inference_mode():
        expected = net(x)
    difference = (torch.from_numpy(actual) - expected).abs().max().item()
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f'{path} must give what the network gives to within {TOLERANCE}, '
            f'got a difference of {difference:.3g} for an input of shape '
            f'{tuple(x.shape)}')
    return difference
