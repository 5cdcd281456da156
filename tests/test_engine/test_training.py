"""From which checkpoint and which data a training starts."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from dksan_mm.engine import training
from dksan_mm.engine.cli import prepare, use_data_root


@pytest.fixture
def saved(tmp_path):
    """Return a work folder whose checkpoint is in another folder."""
    path = tmp_path / 'out/work/iter_4.pth'
    path.parent.mkdir(parents=True)
    torch.save(
        dict(state_dict={}, message_hub={}, meta=dict(epoch=0, iter=4)), path)
    hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'out')))
    return Config(dict(work_dir=str(tmp_path / 'work'),
                       default_hooks=hooks)), str(path)


def test_resumes_from_the_hooks_folder(saved):
    cfg, path = saved
    training.resume(cfg, SimpleNamespace(cfg_options=None))
    assert (cfg.resume, cfg.load_from) == (True, path)
    cfg.load_from = None
    prepare(cfg)
    assert (cfg.resume, cfg.load_from) == (True, path)


@pytest.mark.parametrize('given, restarts, taken, words', [
    (2, '0', 2, ['iter_4.pth is further on than']),
    (2, '1', 4, []),
    (6, '0', 6, []),
    (6, '1', 6, []),
])
def test_resumes_from_load_from(saved, tmp_path, monkeypatch, given, restarts,
                                taken, words):
    """Unless torchrun starts the processes again: then nothing that was
    trained since is lost."""
    cfg, newest = saved
    path = str(tmp_path / f'iter_{given}.pth')
    torch.save(dict(state_dict={}, meta=dict(iter=given)), path)
    told = []
    monkeypatch.setattr(training, 'print_log',
                        lambda text, *args: told.append(text))
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', restarts)
    cfg.load_from = path
    training.resume(cfg, SimpleNamespace(cfg_options=dict(load_from=path)))
    assert (cfg.resume, cfg.load_from) == (True, {4: newest}.get(taken, path))
    assert len(told) == len(words)
    assert all(word in text for word, text in zip(words, told))


def test_load_from_helps_where_no_checkpoint_is_whole(saved, tmp_path):
    cfg, newest = saved
    cfg.load_from = path = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict={}, meta=dict(iter=2)), path)
    with open(newest, 'wb') as file:
        file.write(b'x')
    with pytest.raises(ValueError, match='must have a whole checkpoint'):
        training.resume(cfg, SimpleNamespace(cfg_options=None))
    training.resume(cfg, SimpleNamespace(cfg_options=dict(load_from=path)))
    assert (cfg.resume, cfg.load_from) == (True, path)


def test_the_runner_looks_for_no_checkpoint(tmp_path):
    """It would follow a last_checkpoint to anywhere."""
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_2.pth')
    cfg = Config(dict(work_dir=str(tmp_path), resume=True))
    prepare(cfg)
    assert (cfg.resume, cfg.load_from) == (False, None)


@pytest.mark.parametrize('resume, option', [(True, False), (False, True)])
def test_told_before_training_that_it_begins_anew(tmp_path, monkeypatch,
                                                  resume, option):
    told = []
    runner = SimpleNamespace(
        register_hook=lambda hook: None, train=lambda: told.append('trained'))
    cfg = Config(
        dict(work_dir=str(tmp_path), train_dataloader={}, resume=option))
    for name, value in dict(
            load_config=lambda args: cfg,
            check_config=lambda *args: None,
            Runner=SimpleNamespace(from_cfg=lambda cfg: runner),
            print_log=lambda text, *args: told.append(text)).items():
        monkeypatch.setattr(training, name, value)
    training.train(
        SimpleNamespace(
            max_time=None,
            amp=None,
            auto_scale_lr=False,
            on_nan='stop',
            cfg_options=None,
            resume=resume))
    assert '--resume found no checkpoint' in told[0] and told[1] == 'trained'


def test_data_root_without_sequences(tmp_path):
    (tmp_path / 'metadata.json').write_text('{"name": "a"}')
    dataset = dict(datasets=[dict(type='PhotoWindowDataset')])
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    with pytest.raises(
            ValueError, match='needs a VideoSRDataset .* PhotoWindowDataset'):
        use_data_root(cfg, str(tmp_path))
