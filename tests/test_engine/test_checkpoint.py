"""Checkpoints are loaded without running what they carry."""
import functools
import hashlib
import os
import pickle
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from dksan_mm import weights
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


class TestAddresses:

    @pytest.fixture
    def served(self, tmp_path, monkeypatch):
        """A folder, and the address that it is served at."""
        monkeypatch.setattr(torch.hub, 'get_dir',
                            lambda: str(tmp_path / 'hub'))
        folder = tmp_path / 'served'
        folder.mkdir()
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        server.server_close()

    def test_code_is_not_run(self, served, tmp_path, monkeypatch):
        """By none of mmengine's ways either."""
        folder, address = served
        monkeypatch.chdir(tmp_path)
        torch.save(dict(state_dict={}, extra=RunsCode()), folder / 'bad.pth')
        for load in (check_checkpoint, CheckpointLoader.load_checkpoint):
            with pytest.raises(ValueError, match='tensors and plain values'):
                load(f'{address}/bad.pth')
        assert not os.path.exists('ran')

    def test_downloaded_once(self, served):
        folder, address = served
        torch.save(dict(state_dict=dict(a=torch.ones(2))), folder / 'a.pth')
        for _ in range(2):
            loaded = CheckpointLoader.load_checkpoint(f'{address}/a.pth')
            assert loaded['state_dict']['a'].tolist() == [1, 1]
            (folder / 'a.pth').unlink(missing_ok=True)

    def test_hash_in_the_name(self, served):
        folder, address = served
        torch.save(dict(state_dict={}), folder / 'a')
        digest = hashlib.sha256((folder / 'a').read_bytes()).hexdigest()[:8]
        for name in (f'a-{digest}.pth', 'a-00000000.pth'):
            os.link(folder / 'a', folder / name)
        check_checkpoint(f'{address}/a-{digest}.pth')
        for _ in range(2):  # nothing is left of it
            with pytest.raises(ValueError, match='invalid hash value'):
                check_checkpoint(f'{address}/a-00000000.pth')

    def test_nothing_there(self, served):
        with pytest.raises(ValueError, match='could not be downloaded.*404'):
            check_checkpoint(f'{served[1]}/a.pth')

    @pytest.mark.parametrize('scheme', ['open-mmlab', 's3', 'pavi', 'mmcls'])
    def test_other_schemes(self, scheme):
        for load in (check_checkpoint, CheckpointLoader.load_checkpoint):
            with pytest.raises(ValueError, match='begins with https://'):
                load(f'{scheme}://model')


class QuietHandler(SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


class TestSafetensors:

    def test_taken_where_others_are(self, tmp_path):
        path = str(tmp_path / 'a.safetensors')
        save_file(dict(a=torch.ones(2, dtype=torch.float16)), path)
        check_checkpoint(path)
        loaded = CheckpointLoader.load_checkpoint(path, 'cpu')
        assert loaded['state_dict']['a'].tolist() == [1, 1]

    def test_damaged(self, tmp_path):
        path = tmp_path / 'a.safetensors'
        save_file(dict(a=torch.ones(200)), str(path))
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(ValueError, match='a.safetensors must be a whole'):
            check_checkpoint(str(path))


def test_unknown_name_lists_those_that_are(monkeypatch):
    monkeypatch.setattr(weights, 'SHA256', {'dksan-lite_x4': '0'})
    with pytest.raises(
            FileNotFoundError,
            match="no network called "
            "'dksan-lite_4' .did you mean dksan-lite_x4.*are: "):
        check_checkpoint('dksan-lite_4')
