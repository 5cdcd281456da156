"""Networks in short floats, and the self-test that chooses them."""
import importlib
import json

import pytest
import torch
import torch.nn.functional as F
from test_window_restorer import make_model
from tiny_model import restore

from dksan_mm.apis import job, processes
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.models import BicubicUpsampler, SelfEnsemble
from dksan_mm.models.blocks import channel_means
from dksan_mm.utils import benchmark as bench
from dksan_mm.utils import precision
from dksan_mm.utils.precision import SelfTest, has_short_copy, short_copy

CPU = torch.device('cpu')
# of a window, (N, T, C, H, W)
SHAPE = (1, 7, 3, 18, 22)
FAST, SLOW = SelfTest(2., 1., .003), SelfTest(1., 1., .003)
WRONG = SelfTest(9., 1., float('nan'))


def smooth(shape=SHAPE):
    torch.manual_seed(3)
    small = torch.rand(*shape[:3], 5, 6).flatten(0, 1)
    x = F.interpolate(small, shape[-2:], mode='bilinear')
    return x.unflatten(0, shape[:2])


def run(net, x, autocast=None):
    with torch.inference_mode(), torch.autocast(
            'cpu', autocast, enabled=autocast is not None):
        return net(x)


def error(out, exact):
    return float((out - exact).square().mean())


class TestShortCopy:

    @pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize('kind', ['dksan', 'edvr'])
    def test_like_autocast(self, kind, dtype):
        net = make_model(kind).generator.eval()
        before = {
            key: value.clone()
            for key, value in net.state_dict().items()
        }
        x = smooth()
        short = short_copy(net, dtype)
        exact, out = run(net, x), run(short, x)
        assert out.dtype == torch.float32
        cast = error(run(net, x, dtype), exact)
        assert 0 < error(out, exact) < 1.2 * cast
        # the network stays, and the copy has its names
        assert short.state_dict().keys() == before.keys()
        for key, value in net.state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, before[key])
        for module in short.modules():
            if isinstance(module, torch.nn.Conv2d):
                assert module.weight.dtype == dtype
                assert module.weight.is_contiguous(
                    memory_format=torch.channels_last)

    def test_images_are_added_up_in_float32(self):
        """What adds nothing leaves the bits of the bicubic cascade."""
        net = make_model().generator
        with torch.no_grad():
            for upscale in net.upscale:
                upscale.conv_last.weight.zero_()
                upscale.conv_last.bias.fill_(2**-12)
        x = smooth()
        out = run(short_copy(net, torch.bfloat16), x)
        assert torch.equal(out, run(net, x))
        assert not torch.equal(out, out.bfloat16().float())

    def test_of_a_self_ensemble(self):
        net = SelfEnsemble(make_model('dksan-plain').generator)
        assert has_short_copy(net)
        short = short_copy(net, torch.bfloat16)
        assert short.generator.fuse.weight.dtype == torch.bfloat16
        assert error(run(short, smooth()), run(net, smooth())) < 1e-3

    @pytest.mark.parametrize('kind', ['basicvsr', 'bicubic'])
    def test_of_others_there_is_none(self, kind):
        net = BicubicUpsampler(4) if kind == 'bicubic' else make_model(
            kind).generator
        assert not has_short_copy(net)

    @pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
    def test_channel_means(self, dtype):
        x = torch.rand(2, 5, 40, 60).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            means = channel_means(x)
        assert means.dtype == dtype and means.shape == (2, 5, 1, 1)
        exact = x.double().mean((2, 3), keepdim=True)
        torch.testing.assert_close(means.double(), exact, rtol=2**-8, atol=0)


class TestSelfTest:

    def test_here(self):
        found = precision.self_test(CPU)
        assert found.fp32_ms > 0 and found.bf16_ms > 0
        assert 1e-4 < found.error < precision.MOST_ERROR and found.is_right
        assert 'ms in bfloat16' in str(found) and 'wrong' not in str(found)

    @pytest.mark.parametrize('found, dtype', [(FAST, 'bf16'), (SLOW, 'fp32'),
                                              (SelfTest(1.29, 1, 0), 'fp32'),
                                              (SelfTest(1.31, 1, 0), 'bf16'),
                                              (SelfTest(9, 1, .02), 'fp32'),
                                              (WRONG, 'fp32')])
    def test_choice(self, found, dtype):
        assert found.dtype == dtype

    @pytest.mark.parametrize('fault, message', [
        (lambda out: torch.zeros_like(out), 'wrong: relative error 1,'),
        (lambda out: out * float('nan'), 'wrong: relative error nan'),
    ])
    def test_wrong_convolutions_are_found(self, fault, message, monkeypatch):
        conv2d = F.conv2d

        def broken(x, *args, **kwargs):
            out = conv2d(x, *args, **kwargs)
            # of one kind of convolution, as such faults are
            if x.dtype == torch.bfloat16 and kwargs['stride'] == 2:
                out = fault(out)
            return out

        monkeypatch.setattr(F, 'conv2d', broken)
        found = precision.self_test.__wrapped__(CPU)
        assert found.dtype == 'fp32' and message in str(found)

    def test_slow_convolutions_are_found(self, monkeypatch):
        """By the clock, float32's being 1.2 and 2 times as slow."""
        for ratio, dtype in ((1.2, 'fp32'), (2., 'bf16')):
            monkeypatch.setattr(
                bench, 'alternate', lambda runs, *args, **kwargs: {
                    'fp32': [9., ratio],
                    'bf16': [1., 5.]
                })
            assert precision.self_test.__wrapped__(CPU).dtype == dtype


def settings(output):
    with open(f'{output}.partial/settings.json') as file:
        return json.load(file)


class TestAuto:
    """The default of restore_video."""

    @pytest.fixture(autouse=True)
    def log(self, monkeypatch):
        lines = []
        monkeypatch.setattr(job, 'print_log',
                            lambda text, _: lines.append(text))
        return lines

    def stopped(self, monkeypatch, found, model, source, output):
        """Begin a run where the self-test finds something, and stop it."""
        monkeypatch.setattr(job, 'self_test', lambda device: found)
        with monkeypatch.context() as patch:
            patch.setattr(job.Job, 'publish', lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                restore(model, source, output, dtype='auto')

    @pytest.mark.parametrize('found, dtype', [(FAST, 'bf16'), (SLOW, 'fp32')])
    def test_a_resumed_run_keeps_it(self, found, dtype, monkeypatch, tmp_path,
                                    model, source, log):
        """Also where the self-test finds otherwise."""
        output = tmp_path / 'out.mkv'
        self.stopped(monkeypatch, found, model, source, output)
        assert settings(output)['options']['dtype'] == dtype
        assert f'dtype {dtype} (--dtype) by a self-test' in log[0]
        other = {FAST: SLOW, SLOW: FAST}[found]
        monkeypatch.setattr(job, 'self_test', lambda device: other)
        with pytest.raises(ValueError, match='options.dtype'):
            restore(model, source, output, resume=True, dtype='fp16')
        summary = restore(model, source, output, resume=True, dtype='auto')
        assert summary.reused == summary.segments
        assert log[-1].endswith(f'goes on with dtype {dtype}')

    def test_it_is_the_default(self, monkeypatch, tmp_path, model, source,
                               folder):
        asked = []
        monkeypatch.setattr(job, 'self_test',
                            lambda device: asked.append(device) or FAST)
        restored = {}
        for name, dtype in dict(a={}, b=dict(dtype='bf16')).items():
            path = tmp_path / name
            restore_video(model, source, path, progress=False, **dtype)
            restored[name] = (path / '00000007.png').read_bytes()
        assert asked == [CPU]
        assert restored['a'] == restored['b']

    def test_one_process_decides(self, monkeypatch, tmp_path, model, source):
        monkeypatch.setattr(job, 'self_test', lambda device: 1 / 0)
        told = []
        monkeypatch.setattr(processes, 'done_first',
                            lambda work: told.append(work) or 'bf16')
        monkeypatch.setattr(
            importlib.import_module('dksan_mm.apis.restore_video'), 'Job',
            lambda *args, decode: told.append(args[3].dtype) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            restore_video(model, source, tmp_path / 'out.mkv')
        assert told[1] == 'bf16'

    def test_networks_that_are_not_made_for_it(self, monkeypatch):
        monkeypatch.setattr(job, 'self_test', lambda device: FAST)
        assert job.choose_dtype(make_model('basicvsr'), 'out.mkv') == 'fp32'
        assert job.choose_dtype(make_model('edvr'), 'out.mkv') == 'bf16'
