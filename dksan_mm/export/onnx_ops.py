"""The project's two operators as graphs of standard ONNX operators.

``torch.onnx.export`` calls the functions of :data:`TRANSLATIONS` with values
of the graph that it builds instead of tensors. The graphs compute in float32
without casts to it, so that tools can convert them to float16 as a whole,
except for networks with optical flow. Pixel positions are integers, as float16
could not represent enough of them.
"""
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset19 as op

import dksan_mm.ops.modulated_deform_conv  # noqa: F401, defines the op
from dksan_mm.ops._validation import Geometry

Value = Any  # a value of the graph
_FAR = 2.**24
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _constant(values: Any, shape: Sequence[int], dtype: str) -> Value:
    array = np.asarray(values, dtype).reshape(shape)
    return op.Constant(value=ir.tensor(array))


def _ints(values: Any, shape: Sequence[int] = (-1, )) -> Value:
    return _constant(values, shape, 'int64')


def _floats(values: Any, shape: Sequence[int] = (-1, )) -> Value:
    return _constant(values, shape, 'float32')


def _pick(x: Value, index: int) -> Value:
    """Return ``x[index]``."""
    return op.Gather(x, _ints(index, ()), axis=0)


def _split(x: Value, number: int) -> Sequence[Value]:
    """Return ``x[:1]``, ``x[1:2]``, ..."""
    return [x] if number == 1 else op.Split(x, num_outputs=number)


def _size(x: Value, axis: int) -> Value:
    """Return one size of ``x``, (1,)."""
    return op.Shape(x, start=axis, end=axis + 1)


def _range(size: Value) -> Value:
    return op.Range(_ints(0, ()), op.Squeeze(size), _ints(1, ()))


def _kept_inside(position: Value, sizes: Value) -> Value:
    """Move positions, (2, ...) for vertical and horizontal, to -2, where
    nothing is read, if either is not within ``(-1, size)``."""
    inside = op.And(
        op.Greater(position, _floats(-1)), op.Less(position, sizes))
    inside = op.And(_pick(inside, 0), _pick(inside, 1))
    return op.Where(inside, position, _floats(-2))


def _tap_positions(geometry: Geometry) -> np.ndarray:
    """Return row and column of every tap, (2, K)."""
    return np.indices(geometry.kernel_size).reshape(2, -1)


def _undeformed(out_size: Sequence[Value], geometry: Geometry) -> Value:
    """Return the positions that taps read at offset zero, (2, K, 1, H_out *
    W_out), integers."""
    places = []
    for axis, size in enumerate(out_size):
        place = op.Mul(_range(size), _ints(geometry.stride[axis]))
        place = op.Unsqueeze(place, _ints(1 - axis))
        place = op.Expand(place, op.Concat(*out_size, axis=0))
        places.append(op.Reshape(place, _ints((1, 1, 1, -1))))
    taps = (
        _tap_positions(geometry) * np.array(geometry.dilation)[:, None] -
        np.array(geometry.padding)[:, None])
    places = op.Add(op.Concat(*places, axis=0), _ints(taps, (2, -1, 1, 1)))
    return places


def _image_reads(x: Value, offset: Value, out_size: Sequence[Value],
                 geometry: Geometry) -> Tuple[Value, Value]:
    """Return the row that each corner of each tap reads, (4 * K, P), and its
    weight, (4 * K, P, 1). Rows are those of an image of pixel rows with a row
    of zeros after the last pixel."""
    batch, height, width = (_size(x, axis) for axis in (0, 2, 3))
    taps = _tap_positions(geometry).shape[1]
    offset = op.Reshape(offset, op.Concat(batch, _ints((taps, 2, -1)), axis=0))
    offset = op.Transpose(offset, perm=(2, 1, 0, 3))
    # an offset that is not a number, or leads beyond any image, reads nothing
    known = op.And(
        op.Greater(offset, _floats(-_FAR)), op.Less(offset, _floats(_FAR)))
    offset = op.Where(known, offset, _floats(0))
    low = op.Floor(offset)
    high_weight = op.Sub(offset, low)
    weight = op.Sub(_floats(1), high_weight), high_weight
    index = op.Where(
        known,
        op.Add(
            op.Cast(low, to=ir.DataType.INT64),
            _undeformed(out_size, geometry)), _ints(-2))

    sample = op.Unsqueeze(_range(batch), _ints(1))
    rows, weights = [], []
    for corner in _CORNERS:
        y, x = (
            op.Add(_pick(index, axis), _ints(corner[axis])) for axis in (0, 1))
        inside = op.And(
            op.And(op.GreaterOrEqual(y, _ints(0)), op.Less(y, height)),
            op.And(op.GreaterOrEqual(x, _ints(0)), op.Less(x, width)))
        row = op.Add(op.Mul(op.Add(op.Mul(sample, height), y), width), x)
        rows.append(
            op.Where(inside, row, op.Mul(op.Mul(batch, height), width)))
        weights.append(
            op.Mul(_pick(weight[corner[0]], 0), _pick(weight[corner[1]], 1)))
    shape = len(_CORNERS) * taps, -1
    return (op.Reshape(op.Concat(*rows, axis=0), _ints(shape)),
            op.Reshape(op.Concat(*weights, axis=0), _ints((*shape, 1))))


def _scope_reads(kernel_offset: Value, groups: int, scope: Sequence[int],
                 geometry: Geometry) -> Value:
    """Return the weight with which each tap reads each cell of the scope
    kernel, (K, G, P, S_h * S_w)."""
    taps = _tap_positions(geometry)
    shape = op.Concat(
        _size(kernel_offset, 0), _ints((groups, taps.shape[1], 2, -1)), axis=0)
    position = op.Transpose(
        op.Reshape(kernel_offset, shape), perm=(3, 2, 1, 0, 4))
    position = op.Reshape(position, _ints((2, taps.shape[1], groups, -1)))
    margin = (np.array(scope) - geometry.kernel_size)[:, None] / 2
    position = op.Add(position, _floats(taps + margin, (2, -1, 1, 1)))
    position = _kept_inside(position, _floats(scope, (2, 1, 1, 1)))
    hats = []
    for axis in range(2):
        distance = op.Abs(
            op.Sub(
                op.Unsqueeze(_pick(position, axis), _ints(-1)),
                _floats(np.arange(scope[axis]))))
        hat = op.Relu(op.Sub(_floats(1), distance))
        hats.append(op.Unsqueeze(hat, _ints(-1 - axis)))
    return op.Reshape(
        op.Mul(*hats), _ints((taps.shape[1], groups, -1, scope[0] * scope[1])))


def _deform_kernel_conv2d(x: Value, weight: Value, kernel_offset: Value,
                          offset: Optional[Value], bias: Optional[Value],
                          *geometry: Sequence[int]) -> Value:
    """See :func:`dksan_mm.ops.deform_kernel_conv2d`.

    Pixels are rows, (P, C), read by Gather at integer positions, which is
    exact: GridSample would need normalised coordinates. Taps are summed one by
    one, so that this needs a few times the input's memory and not K times.
    """
    geometry = Geometry(*geometry)
    taps = _tap_positions(geometry).shape[1]
    channels, _, *scope = weight.shape
    groups = kernel_offset.shape[1] // (2 * taps)
    out_size = [_size(kernel_offset, axis) for axis in (2, 3)]
    if offset is None:
        shape = op.Concat(_size(x, 0), _ints(2 * taps), *out_size, axis=0)
        offset = op.ConstantOfShape(shape, value=ir.tensor([0.]))
    rows, corner_weights = (
        _split(value,
               len(_CORNERS) * taps)
        for value in _image_reads(x, offset, out_size, geometry))
    cells = _scope_reads(kernel_offset, groups, scope, geometry)

    image = op.Reshape(
        op.Transpose(x, perm=(0, 2, 3, 1)), _ints((-1, channels)))
    image = op.Concat(
        image, _floats(np.zeros(channels), (1, channels)), axis=0)
    # channel c = i * G + g: (G, S_h * S_w, C / G)
    kernel = op.Reshape(weight, _ints((-1, groups, scope[0] * scope[1])))
    kernel = op.Transpose(kernel, perm=(1, 2, 0))
    out = _floats(np.zeros(channels)) if bias is None else bias
    for tap, cell in enumerate(_split(cells, taps)):
        reads = [
            op.Mul(op.Gather(image, row, axis=0),
                   corner_weight) for row, corner_weight in zip(
                       rows[tap::taps], corner_weights[tap::taps])
        ]
        value = op.Add(op.Add(reads[0], reads[1]), op.Add(reads[2], reads[3]))
        factor = op.Transpose(op.MatMul(cell, kernel), perm=(0, 2, 3, 1))
        factor = op.Reshape(factor, _ints((1, -1, channels)))
        out = op.Add(out, op.Mul(value, factor))
    shape = op.Concat(_size(x, 0), *out_size, _ints(channels), axis=0)
    return op.Transpose(op.Reshape(out, shape), perm=(0, 3, 1, 2))


def _modulated_deform_conv2d(x: Value, offset: Value, mask: Value,
                             weight: Value, bias: Optional[Value],
                             stride: List[int], padding: List[int],
                             dilation: List[int], groups: int,
                             deform_groups: int) -> Value:
    """See :func:`dksan_mm.ops.modulated_deform_conv
    .modulated_deform_conv2d`, whose offsets are laid out as ONNX's."""
    return op.DeformConv(
        x,
        weight,
        offset,
        bias,
        mask,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=groups,
        offset_group=deform_groups)


TRANSLATIONS: Dict[Callable, Callable] = {
    torch.ops.dksan_mm.deform_kernel_conv2d.default: _deform_kernel_conv2d,
    torch.ops.dksan_mm.modulated_deform_conv2d.default:
    _modulated_deform_conv2d
}
