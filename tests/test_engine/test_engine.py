"""Optimisation in bfloat16, launchers and model wrappers."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS

from dksan_mm.engine import prepare_launcher


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
