"""Checkpoints are loaded without running what they carry."""
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from dksan_mm.engine import check_checkpoint


def test_accepts_what_mmengine_saves(tmp_path):
    path = str(tmp_path / 'a.pth')
    buffer = HistoryBuffer()
    buffer.update(1.5)
    torch.save(
        dict(
            state_dict=dict(a=torch.ones(2)),
            message_hub=dict(log_scalars=dict(loss=buffer)),
            scalar=np.float64(2)), path)
    check_checkpoint(path)
    loaded = torch.load(path)  # weights only, as is the default
    assert loaded['message_hub']['log_scalars']['loss'].current() == 1.5


class RunsCode:

    def __reduce__(self):
        return os.system, ('touch ran', )


class ReadsAttribute:
    """Reaches for a class's internals, as an attack by getattr would."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.mark.parametrize('content', [RunsCode(), ReadsAttribute()])
def test_refuses_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={}, extra=content), 'bad.pth')
    with pytest.raises(
            ValueError,
            match='checkpoint bad.pth must hold tensors and plain values only'
    ) as error:
        check_checkpoint('bad.pth')
    assert 'GLOBAL' in str(error.value)
    assert not os.path.exists('ran')


def test_weights_only_loading_is_left_on(tmp_path):
    path = tmp_path / 'bad.pth'
    torch.save(dict(extra=RunsCode()), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
        check_checkpoint('none.pth')


def test_truncated_file(tmp_path):
    path = tmp_path / 'short.pth'
    torch.save(dict(a=torch.ones(1000)), path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match='short.pth must be a whole file'):
        check_checkpoint(str(path))
    path.write_bytes(b'version https://example.org/lfs')
    with pytest.raises(ValueError, match='must be a file written by torch'):
        check_checkpoint(str(path))
    path.write_bytes(b'')
    with pytest.raises(ValueError, match='short.pth must be a whole file'):
        check_checkpoint(str(path))


def test_addresses_are_left_to_mmengine():
    check_checkpoint('open-mmlab://model')
