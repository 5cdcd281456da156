"""Exporting to ONNX: ONNX Runtime gives what PyTorch gives."""
import sys

import numpy as np
import pytest
import torch
from commands import ROOT, run
from mmagic.registry import MODELS
from mmengine.config import Config
from tiny_networks import make_network
from torch import nn

from dksan_mm.cli import export as export_command
from dksan_mm.export import onnx_export
from dksan_mm.ops import DeformKernelConv2dPack, deform_kernel_conv2d
from dksan_mm.ops.modulated_deform_conv import modulated_deform_conv2d
from dksan_mm.utils.files import OutputError

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from dksan_mm.export import onnx_ops  # noqa: E402, needs the three

CONFIG = '''
_base_ = '{root}/configs/dksan_vid3oc_x16.py'
model = dict(
    generator=dict(
        mid_channels=4, num_frames=3, num_blocks=(1, 1),
        num_extraction_blocks=1, num_align_layers=1, deform_groups=2,
        num_dksa_layers=1, reduction=2))
'''
# the parts that start at zero, and are to act in the tests
PARTS = ('dkc.conv_offset', 'deform_conv.conv_offset', 'conv_mask',
         'conv_addend', 'conv_last')
DEFORM_KERNEL = torch.ops.dksan_mm.deform_kernel_conv2d.default


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a folder with a config, its checkpoint and another variant's."""
    folder = tmp_path_factory.mktemp('onnx')
    (folder / 'tiny.py').write_text(CONFIG.format(root=ROOT))
    cfg = Config.fromfile(folder / 'tiny.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            # offsets of a few pixels, which lead out of the image as well
            std = 2. if 'conv_offset' in name else 0.2
            nn.init.normal_(module.weight, std=std)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    torch.save(dict(state_dict=model.state_dict()), folder / 'tiny.pth')
    cfg.model.generator.with_dksa = False
    other = MODELS.build(cfg.model)
    torch.save(dict(state_dict=other.state_dict()), folder / 'other.pth')
    return folder


@pytest.fixture(scope='module')
def net(folder):
    model = MODELS.build(Config.fromfile(folder / 'tiny.py').model)
    model.load_state_dict(torch.load(folder / 'tiny.pth')['state_dict'])
    return model.generator.eval()


@pytest.fixture(scope='module')
def exported(folder):
    """Return what the tool printed; it wrote ``out.onnx``."""
    return run(sys.executable, 'tools/export_onnx.py', folder / 'tiny.py',
               folder / 'tiny.pth', folder / 'out.onnx', '--size', 9,
               12).stdout


def test_tool_checks_at_a_size_that_was_not_traced(folder, exported):
    assert '(N, 3, 3, H, W) -> (N, 3, 4 * H, 4 * W)' in exported
    for shape in ('(2, 3, 3, 9, 12)', '(1, 3, 3, 12, 9)'):
        assert f'for an input of shape {shape}' in exported
    assert not (folder / 'out.partial.onnx').exists()


def test_file_has_standard_operators_and_dynamic_sizes(folder, exported):
    model = onnx.load(folder / 'out.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version)
            for entry in model.opset_import] == [('', 20)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {''}
    assert 'DeformConv' in {node.op_type for node in model.graph.node}
    sizes = [[dim.dim_param or dim.dim_value for dim in shape]
             for shape in (value.type.tensor_type.shape.dim
                           for value in (*model.graph.input,
                                         *model.graph.output))]
    assert sizes == [['batch', 3, 3, 'height', 'width'],
                     ['batch', 3, '4*height', '4*width']]


@pytest.mark.parametrize('shape', [(2, 3, 3, 9, 12), (1, 3, 3, 13, 8),
                                   (3, 3, 3, 1, 6), (1, 3, 3, 1, 1)])
def test_network_of_any_size(folder, exported, net, shape):
    torch.manual_seed(1)
    difference = onnx_export.compare(net, str(folder / 'out.onnx'),
                                     torch.rand(shape))
    assert difference < 2e-5


def test_empty_batch(folder, exported, net):
    session = onnxruntime.InferenceSession(folder / 'out.onnx')
    x = np.zeros((0, 3, 3, 9, 12), np.float32)
    actual, = session.run(['restored'], {'frames': x})
    assert actual.shape == net(torch.from_numpy(x)).shape == (0, 3, 36, 48)


def test_nothing_is_cast_to_float32(folder, exported):
    """Converters to float16 leave such casts, and what they meet is of two
    types."""
    casts = [
        onnx.helper.get_node_attr_value(node, 'to')
        for node in onnx.load(folder / 'out.onnx').graph.node
        if node.op_type == 'Cast'
    ]
    assert casts and onnx.TensorProto.FLOAT not in casts


@pytest.mark.parametrize('keep_io_types', [True, False])
def test_conversion_to_float16(folder, exported, net, keep_io_types):
    float16 = pytest.importorskip('onnxconverter_common.float16')
    half = float16.convert_float_to_float16(
        onnx.load(folder / 'out.onnx'), keep_io_types=keep_io_types)
    onnx.checker.check_model(half, full_check=True)
    session = onnxruntime.InferenceSession(half.SerializeToString())
    torch.manual_seed(1)
    for size in ((2, 9, 12), (0, 9, 12)):
        x = torch.rand(size[0], 3, 3, *size[1:])
        frames = x.numpy().astype(np.float32 if keep_io_types else np.float16)
        actual, = session.run(['restored'], {'frames': frames})
        assert actual.dtype == frames.dtype
        torch.testing.assert_close(
            torch.from_numpy(actual).float(), net(x), rtol=0, atol=0.05)


def test_flow_guided(tmp_path):
    """At sizes to which its frames are padded, and others."""
    net = make_network('dksan-flow-guided')
    path = str(tmp_path / 'net.onnx')
    differences = onnx_export.export_onnx(net, path, (3, 3, 9, 12))
    for shape in ((1, 3, 3, 16, 24), (2, 3, 3, 1, 6), (1, 3, 3, 13, 8)):
        differences[shape] = onnx_export.compare(
            net, path, onnx_export.similar_frames(shape))
    assert max(differences.values()) < 2e-5
    net.flow_guided = False
    with pytest.raises(RuntimeError, match='to within 0.0001, got a diff'):
        onnx_export.compare(net, path,
                            onnx_export.similar_frames((1, 3, 3, 13, 8)))


@pytest.mark.parametrize('part', PARTS)
def test_every_part_acts(net, part):
    """Without which the comparison would say nothing."""
    x = torch.rand(1, 3, 3, 9, 12)
    with torch.no_grad():
        expected = net(x)
        saved = {
            name: value.clone()
            for name, value in net.state_dict().items()
        }
        for name, value in net.named_parameters():
            if part in name:
                value.zero_()
        difference = (net(x) - expected).abs().max()
    net.load_state_dict(saved)
    assert difference > 1e-2


def test_other_weights_are_noticed(folder, exported, net):
    other = MODELS.build(Config.fromfile(folder / 'tiny.py').model).generator
    with pytest.raises(RuntimeError, match='to within 0.0001, got a diff'):
        onnx_export.compare(other.eval(), str(folder / 'out.onnx'),
                            torch.rand(1, 3, 3, 9, 12))


class LastFrame(nn.Module):
    """The last frame through one deformable-kernel layer."""

    def __init__(self):
        super().__init__()
        self.dkc = DeformKernelConv2dPack(3, 3, padding=1)
        nn.init.normal_(self.dkc.conv_offset.weight)

    def forward(self, x):
        return self.dkc(x[:, -1])


def test_wrong_graph_is_refused(tmp_path, monkeypatch):
    """It does not get its name, and the file of that name stays."""
    right = onnx_ops.TRANSLATIONS[DEFORM_KERNEL]

    def without_offset(x, weight, kernel_offset, offset, *args):
        return right(x, weight, kernel_offset, None, *args)

    path = tmp_path / 'net.onnx'
    net = LastFrame()
    differences = onnx_export.export_onnx(net, str(path), (2, 3, 8, 9))
    assert set(differences) == {(2, 2, 3, 8, 9), (1, 2, 3, 11, 6)}
    assert max(differences.values()) < 1e-5
    before = path.read_bytes()
    monkeypatch.setitem(onnx_ops.TRANSLATIONS, DEFORM_KERNEL, without_offset)
    with pytest.raises(RuntimeError, match='net.partial.onnx must give'):
        onnx_export.export_onnx(net, str(path), (2, 3, 8, 9))
    assert path.read_bytes() == before
    assert onnx_export.export_onnx(
        net, str(path), (2, 3, 8, 9), verify=False) == {}
    assert path.read_bytes() != before


class Call(nn.Module):
    """A call of a function, the first of its arguments being traced."""

    def __init__(self, function, *args, **kwargs):
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, *tensors):
        return self.function(*tensors, *self.args, **self.kwargs)


def assert_exported_equals(path, call, tensors):
    """Export a call with fixed sizes; compare the results."""
    torch.onnx.export(
        call,
        tensors,
        path,
        opset_version=20,
        custom_translation_table=onnx_ops.TRANSLATIONS,
        optimize=False,
        verbose=False)
    session = onnxruntime.InferenceSession(path)
    feed = {
        value.name: tensor.numpy()
        for value, tensor in zip(session.get_inputs(), tensors)
    }
    assert len(feed) == len(tensors)
    actual, = session.run(None, feed)
    torch.testing.assert_close(
        torch.from_numpy(actual), call(*tensors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('with_offset', [True, False])
def test_deform_kernel_conv2d(tmp_path, with_offset):
    """All sizes unequal, two groups, and positions that are none."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 7, 5), torch.randn(6, 1, 4, 5)
    kernel_offset = torch.randn(2, 24, 4, 7)
    offset = 2 * torch.randn(2, 12, 4, 7)
    outside = torch.tensor([float('nan'), float('inf'), -1e30, 7., -1.])
    for value in offset, kernel_offset:
        for axis in range(2):  # the other one stays inside
            value[axis, axis::2, 1, 1:6] = outside
    call = Call(
        deform_kernel_conv2d,
        *(() if with_offset else (None, torch.randn(6))),
        kernel_size=(3, 2),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(1, 2))
    tensors = x, weight, kernel_offset, offset
    assert_exported_equals(
        str(tmp_path / 'op.onnx'), call, tensors[:4 if with_offset else 3])


def test_one_tap(tmp_path):
    call = Call(deform_kernel_conv2d, kernel_size=1)
    assert_exported_equals(
        str(tmp_path / 'op.onnx'), call,
        (torch.randn(1, 2, 5, 4), torch.randn(
            2, 1, 1, 2), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)))


@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv2d(tmp_path, with_bias):
    torch.manual_seed(0)
    offset = 3 * torch.randn(2, 36, 5, 4)
    offset[0, :, 0] = torch.tensor([1e30, -1., 6., -7.])
    call = Call(modulated_deform_conv2d,
                torch.randn(4) if with_bias else None, (2, 1), (2, 0), (1, 2),
                2, 3)
    assert_exported_equals(
        str(tmp_path / 'op.onnx'), call,
        (torch.randn(2, 6, 7, 6), offset, torch.rand(
            2, 18, 5, 4), torch.randn(4, 3, 3, 2)))


@pytest.mark.parametrize('change, message', [
    (dict(input_shape=(3, 3, 9, 7)), 'size must be at least 8 x 8, got 9 x 7'),
    (dict(opset=18), 'opset must be at least 19, .* got 18'),
    (dict(path='net.pth'), 'path must end in .onnx, got net.pth'),
    (dict(opset=999), 'at most .*, the last that onnx .* knows, got 999'),
])
def test_exception(net, change, message):
    args = dict(path='net.onnx', input_shape=(3, 3, 8, 8))
    with pytest.raises(ValueError, match=message):
        onnx_export.export_onnx(net, **{**args, **change})


def test_faults_are_said_before_the_work(net, tmp_path, monkeypatch):
    """A folder that cannot be written to, or a folder in the way."""
    monkeypatch.setattr(onnx_export, '_write', None)
    (tmp_path / 'file').write_text('')
    (tmp_path / 'folder.onnx').mkdir()
    for name, error in (('file/net.onnx', OutputError), ('folder.onnx',
                                                         ValueError)):
        with pytest.raises(error, match='another name'):
            onnx_export.export_onnx(net, str(tmp_path / name), (3, 3, 8, 8))


def test_missing_package(net, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(
            ImportError, match='onnxscript must be .* requirements/onnx.txt'):
        onnx_export.export_onnx(net, 'net.onnx', (3, 3, 8, 8))


@pytest.mark.parametrize('checkpoint, message', [
    ('none', '^checkpoint must be given'),
    ('other.pth', 'other.pth: the checkpoint must fit'),
    ('missing.pth', 'missing.pth does not exist'),
])
def test_faults_of_the_checkpoint(folder, monkeypatch, checkpoint, message):
    if checkpoint != 'none':
        checkpoint = folder / checkpoint
    out = folder / 'fault.onnx'
    monkeypatch.setattr(sys, 'argv', [
        str(arg)
        for arg in ('export_onnx.py', folder / 'tiny.py', checkpoint, out)
    ])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        export_command.main(export_command.parse_args())
    assert not out.exists()
