"""Wrong configs: what the error names."""
import pytest
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import LOOPS, OPTIM_WRAPPERS

import dksan_mm.models  # noqa: F401
from dksan_mm.engine.config import (TESTING, TRAINING, ConfigError,
                                    check_config, merge_options, naming_config,
                                    read_config)

TEXT = '''
model = dict(type='DKSAN')
train_dataloader = dict(batch_size=4, num_workers=1)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
'''


@pytest.fixture
def config(tmp_path):
    """Return the path of a config."""
    (tmp_path / 'config.py').write_text(TEXT)
    return str(tmp_path / 'config.py')


@pytest.mark.parametrize('text, message', [
    ('model = [', r'bad.py cannot be read, line 1: SyntaxError'),
    ("_base_ = 'none.py'", r'bad.py cannot be read: FileNotFoundError: .*none'
     r'.py.*; mend it, or its _base_'),
    ('a = 1 / 0', r'bad.py cannot be read: ZeroDivisionError'),
])
def test_files_that_are_no_configs(tmp_path, text, message):
    (tmp_path / 'bad.py').write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(str(tmp_path / 'bad.py'))


@pytest.mark.parametrize('name', ['none.py', '.'])
def test_no_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match='does not exist, or is no'):
        read_config(str(tmp_path / name))


def test_missing_keys(config):
    cfg = read_config(config)
    check_config(cfg, TRAINING)
    with pytest.raises(ConfigError, match="must have 'test_dataloader'"):
        check_config(cfg, TESTING)
    cfg.optim_wraper = cfg.pop('optim_wrapper')
    with pytest.raises(ConfigError, match="did you mean 'optim_wraper'"):
        check_config(cfg, TRAINING)


@pytest.mark.parametrize('option, value, message', [
    ('train_cfg.max_iters', 'abc', "whole number of at least 1, got 'abc'"),
    ('train_cfg.max_iters', 0, 'whole number of at least 1, got 0'),
    ('train_cfg.max_iters', -3, 'got -3'),
    ('train_cfg.max_iters', True, 'got True'),
    ('train_cfg.val_interval', 0.5, 'got 0.5'),
    ('optim_wrapper.optimizer.lr', 'abc', "a number above 0, got 'abc'"),
    ('optim_wrapper.optimizer.lr', 0, 'above 0, got 0'),
    ('optim_wrapper.optimizer.lr', float('nan'), 'above 0, got nan'),
    ('optim_wrapper.optimizer.type', 'Adamm', "did you mean 'Adam'"),
    ('train_dataloader.batch_size', 0, 'of at least 1, got 0'),
    ('train_dataloader.num_workers', -1, 'of at least 0, got -1'),
    ('model', 5, "'model' of .* must be a dict"),
])
def test_values_of_the_wrong_kind(config, option, value, message):
    cfg = read_config(config)
    merge_options(cfg, {option: value})
    with pytest.raises(ConfigError, match=message):
        check_config(cfg, TRAINING)


@pytest.mark.parametrize('option, message', [
    ('optim_wraper.clip_grad', "did you mean 'optim_wrapper'"),
    ('model.type.x', 'model.type.x does not fit'),
])
def test_options_that_do_not_fit(config, option, message):
    with pytest.raises(ConfigError, match=message):
        merge_options(read_config(config), {option: 1})


def test_settings_of_the_runner_need_not_be_in_the_config(config):
    cfg = read_config(config)
    merge_options(cfg, {'load_from': 'a.pth', 'my_own': 1})
    assert cfg.load_from == 'a.pth' and cfg.my_own == 1


@pytest.mark.parametrize('registry, part, message', [
    (MODELS, dict(type='DKSANN'),
     r"there is no model 'DKSANN' \(did you mean 'DKSAN'\?\)"),
    (MODELS, dict(type='DKSANNet', mid_chanels=8),
     r"DKSANNet has no setting 'mid_chanels' \(did you mean 'mid_channels'"),
    (DATASETS, dict(type='VideoSRDatasets'), "did you mean 'VideoSRDataset'"),
    (LOOPS, dict(type='IterBasedTrainLoop', runner=None,
                 dataloader={}), "IterBasedTrainLoop needs 'max_iters'"),
    (OPTIM_WRAPPERS, dict(type='OptimWraper'), "did you mean 'OptimWrapper'"),
])
def test_what_builders_say(config, registry, part, message):
    cfg = read_config(config)
    with pytest.raises(ConfigError, match=message) as error:
        with naming_config(cfg):
            registry.build(part)
    assert str(error.value).startswith(config)


def test_other_errors_pass(config):
    with pytest.raises(TypeError, match='forward'):
        with naming_config(Config(dict())):
            raise TypeError("forward() got an unexpected keyword argument 'x'")
    with pytest.raises(KeyError, match='other'):
        with naming_config(Config(dict())):
            raise KeyError('other')
