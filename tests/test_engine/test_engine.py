"""Optimisation in bfloat16, launchers and model wrappers."""
import pytest
import torch
from commands import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS

from dksan_mm.cli import train
from dksan_mm.engine import prepare_launcher, training


def test_cpu_amp_computes_in_bfloat16():
    layer = torch.nn.Linear(3, 2)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='CPUAmpOptimWrapper',
            optimizer=torch.optim.SGD(layer.parameters(), lr=1.)))
    before = layer.weight.clone()
    with wrapper.optim_context(layer):
        out = layer(torch.ones(1, 3))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    torch.testing.assert_close(layer.weight, before - 1)
    assert layer(torch.ones(1, 3)).dtype == torch.float32


@pytest.mark.parametrize('arguments, expected', [
    (['a.py'], None),
    (['a.py', '--amp'], 'auto'),
    (['--amp', 'a.py'], 'auto'),
    (['--amp', 'bf16', 'a.py'], 'bf16'),
    (['a.py', '--amp=fp16'], 'fp16'),
    (['a.py', '--amp', '--resume'], 'auto'),
])
def test_amp_argument(arguments, expected, monkeypatch):
    """Alone it takes no config for a dtype."""
    monkeypatch.setattr('sys.argv', ['train.py', *arguments])
    args = train.parse_args()
    assert (args.config, args.amp) == ('a.py', expected)


def amp_wrapper(amp, **optim_wrapper):
    cfg = Config(dict(optim_wrapper=optim_wrapper))
    training.enable_amp(cfg, amp)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.)
    return OPTIM_WRAPPERS.build(dict(cfg.optim_wrapper, optimizer=optimizer))


@pytest.mark.parametrize('before', [
    dict(type='OptimWrapper'),
    dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
])
@pytest.mark.parametrize('dtype, cast, scaled',
                         [('bf16', torch.bfloat16, False),
                          ('fp16', torch.float16, True)])
def test_amp_on_gpus(before, dtype, cast, scaled, monkeypatch):
    """float16's loss is scaled, bfloat16's is not; a named dtype overrides
    the config's."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available',
                        lambda: True)
    wrapper = amp_wrapper(dtype, **before)
    assert type(wrapper).__name__ == 'AmpOptimWrapper'
    assert wrapper.cast_dtype == cast
    assert wrapper.loss_scaler.is_enabled() == scaled


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
@pytest.mark.parametrize('dtype', ['bf16', 'auto'])
def test_amp_on_cpus(dtype):
    wrapper = amp_wrapper(dtype, type='OptimWrapper')
    assert type(wrapper).__name__ == 'CPUAmpOptimWrapper'
    wrapper = amp_wrapper('bf16', type='AmpOptimWrapper', dtype='float16')
    assert type(wrapper).__name__ == 'CPUAmpOptimWrapper'


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_amp_refuses():
    with pytest.raises(ValueError, match='--amp fp16 needs .* --amp bf16'):
        amp_wrapper('fp16', type='OptimWrapper')
    with pytest.raises(ValueError, match='found ApexOptimWrapper; set it'):
        amp_wrapper('bf16', type='ApexOptimWrapper')


@pytest.mark.parametrize('device', [
    'cpu',
    pytest.param(
        'cuda',
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason='there is no GPU'))
])
def test_fused_adam_resumes_with_the_same_bits(device, tmp_path):
    """By the schedule's optimizer, with the one setting changed. A checkpoint
    keeps its own setting."""
    cfg = Config.fromfile(f'{ROOT}/configs/_base_/schedules/adam_115k.py')
    assert cfg.optim_wrapper.optimizer.fused is None  # PyTorch's choice

    def make(fused):
        torch.manual_seed(0)
        layer = torch.nn.Linear(7, 5).to(device)
        cfg.optim_wrapper.optimizer.fused = fused
        return layer, build_optim_wrapper(layer, cfg.optim_wrapper)

    def step(layer, wrapper, seed):
        torch.manual_seed(seed)
        x = torch.randn(3, 7).to(device)
        wrapper.update_params(layer(x).square().sum())

    def weights(fused, stops):
        layer, wrapper = make(fused)
        for seed in range(6):
            step(layer, wrapper, seed)
            if stops:
                path = tmp_path / 'a.pth'
                torch.save([layer.state_dict(), wrapper.state_dict()], path)
                layer, wrapper = make(fused)
                parts = torch.load(path, map_location='cpu')
                layer.load_state_dict(parts[0])
                wrapper.load_state_dict(parts[1])
        assert wrapper.optimizer.param_groups[0]['fused'] == fused
        return layer.weight.detach().clone()

    whole = weights(True, stops=False)
    assert torch.equal(whole, weights(True, stops=True))
    torch.testing.assert_close(whole, weights(None, stops=False))

    state = make(True)[1].state_dict()
    _, wrapper = make(None)
    wrapper.load_state_dict(state)
    assert wrapper.optimizer.param_groups[0]['fused'] is True


def test_no_launcher_changes_nothing():
    cfg = Config(dict(launcher='none'))
    prepare_launcher(cfg)
    assert 'model_wrapper_cfg' not in cfg
    assert not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_launchers_that_need_gpus():
    with pytest.raises(RuntimeError, match="launcher 'slurm' needs GPUs"):
        prepare_launcher(Config(dict(launcher='slurm')))


def test_inference_wrapper():

    class Model(torch.nn.Module):

        def forward(self, x):
            return x + 1

        def val_step(self, data):
            return ['val', data]

        def test_step(self, data):
            return ['test', data]

    wrapper = MODEL_WRAPPERS.build(
        dict(type='InferenceWrapper', module=Model()))
    assert wrapper(1) == 2
    assert wrapper.val_step(3) == ['val', 3]
    assert wrapper.test_step(3) == ['test', 3]
