"""Downloads of checkpoints by clients that write where they are told."""
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from dksan_mm.engine import checkpoint_sources
from dksan_mm.engine.checkpoint_sources import local_checkpoint


@pytest.mark.parametrize('address', ['s3://a/b.pth', 'pavi://a/b.pth'])
def test_two_processes_download_at_once(tmp_path, monkeypatch, address):
    """The second begins while the first writes; each has the whole file."""
    written = []

    def write(path, data=b'weights'):
        written.append(path)
        with open(path, 'wb') as file:
            file.write(data[:3])
            if len(written) == 1:
                with monkeypatch.context() as second:
                    second.setattr(os, 'getpid', lambda: 0)
                    local_checkpoint(address)
            file.write(data[3:])

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    model = SimpleNamespace(download=write)
    modelcloud = SimpleNamespace(get=lambda name: model)
    monkeypatch.setitem(sys.modules, 'pavi',
                        SimpleNamespace(modelcloud=modelcloud))
    backend = SimpleNamespace(get=lambda name: b'weights')
    monkeypatch.setattr(checkpoint_sources, 'get_file_backend',
                        lambda *args, **kwargs: backend)
    monkeypatch.setattr(checkpoint_sources, 'write_whole', write)
    path = local_checkpoint(address)
    assert len(set(written)) == 2
    with open(path, 'rb') as file:
        assert file.read() == b'weights'
    assert [path] == [str(p) for p in (tmp_path / 'checkpoints').iterdir()]
