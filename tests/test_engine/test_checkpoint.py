"""Checkpoints are loaded without running what they carry."""
import hashlib
import http.server
import os
import pickle
import threading
import zipfile
from collections import Counter, OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from dksan_mm import weights
from dksan_mm.engine import (check_checkpoint, checkpoint_scan,
                             checkpoint_sources, load_checkpoint_file)


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


def test_weights_alone_are_a_state_dict(tmp_path):
    """EMAHook and others take them from there."""
    path = str(tmp_path / 'a.pth')
    torch.save(dict(a=torch.ones(2)), path)
    loaded = CheckpointLoader.load_checkpoint(path)
    assert loaded['meta'] == {}
    assert loaded['state_dict']['a'].tolist() == [1, 1]


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = str(tmp_path / 'a.pth')
    tensors = dict(a=torch.ones(2))
    state = dict(state_dict=tensors, message_hub={})
    for content in (tensors, dict(state_dict=tensors), dict(state, meta={}),
                    dict(state_dict=tensors, meta=dict(epoch=0, iter=2))):
        torch.save(content, path)
        check_checkpoint(path)
        with pytest.raises(
                ValueError, match='a.pth must hold the state.*leave --resume'):
            check_checkpoint(path, resume=True)
    torch.save(dict(state, meta=dict(epoch=0, iter=2)), path)
    check_checkpoint(path, resume=True)


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


class Quiet(http.server.SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Return a folder and the address at which its files are served."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


LOADERS = [
    check_checkpoint, CheckpointLoader.load_checkpoint,
    lambda path: load_checkpoint(nn.Linear(1, 1), path),
    lambda path: PretrainedInit(path)(nn.Linear(1, 1))
]


@pytest.mark.parametrize('load', LOADERS)
def test_addresses_run_no_code(served, monkeypatch, load):
    folder, address = served
    monkeypatch.chdir(folder)
    torch.save(dict(state_dict={}, extra=RunsCode()), 'bad.pth')
    with pytest.raises(ValueError, match='bad.pth must hold tensors'):
        load(f'{address}/bad.pth')
    assert not os.path.exists('ran')


@pytest.mark.parametrize('scheme', ['open-mmlab', 'mmcls', 'torchvision'])
def test_names_of_mmengine_run_no_code(served, monkeypatch, scheme):
    folder, address = served
    monkeypatch.chdir(folder)
    torch.save(dict(extra=RunsCode()), 'bad.pth')
    for name in ('external', 'mmcls', 'torchvision'):
        monkeypatch.setattr(checkpoint_sources, f'get_{name}_models',
                            lambda: dict(net=f'{address}/bad.pth'))
    with pytest.raises(ValueError, match='must hold tensors'):
        CheckpointLoader.load_checkpoint(f'{scheme}://net')
    with pytest.raises(FileNotFoundError, match="none called 'other'"):
        check_checkpoint(f'{scheme}://other')


def test_addresses_are_loaded_once_and_by_hash(served):
    folder, address = served
    torch.save(dict(state_dict=dict(a=torch.ones(1))), folder / 'a.pth')
    content = (folder / 'a.pth').read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    (folder / f'n-{digest}.pth').write_bytes(content)
    (folder / 'n-0123abcd.pth').write_bytes(content)
    for name in ('a.pth', f'n-{digest}.pth'):
        for _ in range(2):  # the second time without the server's file
            loaded = load_checkpoint_file(f'{address}/{name}')
            assert loaded['state_dict']['a'] == 1
            (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match='downloaded whole, found: invalid'):
        check_checkpoint(f'{address}/n-0123abcd.pth')
    with pytest.raises(ValueError, match='404'):
        check_checkpoint(f'{address}/none.pth')
    with pytest.raises(ValueError, match='found ftp://'):
        check_checkpoint('ftp://host/a.pth')


def test_nothing_that_could_act_is_taken(tmp_path):
    """mmengine would run meta.config as Python, and remove best_ckpt."""
    path = str(tmp_path / 'a.pth')
    torch.save(
        dict(
            state_dict=dict(a=torch.ones(1)),
            meta=dict(iter=3, config='import os'),
            message_hub=dict(
                log_scalars={},
                resumed_keys={},
                runtime_info=dict(
                    cfg='import os',
                    best_ckpt='/home/someone',
                    last_ckpt='../b.pth',
                    keep_ckpt_ids=['../x', 5]))), path)
    loaded = CheckpointLoader.load_checkpoint(path)
    assert loaded['meta'] == dict(iter=3)
    assert loaded['message_hub']['runtime_info'] == dict(
        best_ckpt='someone', last_ckpt='b.pth', keep_ckpt_ids=[5])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Pairs:
    """Pickles as an OrderedDict of pairs, without building it."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def __reduce__(self):
        return OrderedDict, (), None, None, iter(self.pairs)


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


BOMBS = {
    'huge':
    lambda: dict(a=torch.zeros(1).expand(10**6, 10**6)),
    'optimizer':
    lambda: dict(
        state_dict={},
        optimizer=dict(state={0: torch.zeros(1).expand(10**12)})),
    'many':
    lambda: [torch.zeros(2**17).expand(64, -1) for _ in range(9)],
    'key':
    lambda: Pairs((nested(40), 1)),
    'member':
    lambda: Calls(set, [nested(40)]),
    'again':
    lambda: [Calls(set, again) for again in [[1.] * 20000] * 1000],
    'collide':
    lambda: Pairs(*((i * (2**61 - 1), 0) for i in range(50000))),
    'bytes':
    lambda: Calls(bytearray, 10**12),
    'tensor':
    lambda: Calls(torch.Tensor, 10**10),
    'array':
    lambda: Calls(np.zeros(1).__reduce__()[0], np.ndarray, (10**12, ), b'b'),
}


@pytest.mark.parametrize('bomb', BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize('new', [True, False])
def test_bombs_are_refused_unbuilt(tmp_path, monkeypatch, bomb, new):
    path = str(tmp_path / 'bomb.pth')
    torch.save(
        dict(state_dict={}, extra=bomb()),
        path,
        _use_new_zipfile_serialization=new)
    assert os.path.getsize(path) < 6e6
    monkeypatch.setattr(torch, 'load', None)  # nothing is built
    with pytest.raises(ValueError, match='bomb.pth must hold tensors and'):
        check_checkpoint(path)


@pytest.mark.parametrize('new', [True, False])
def test_a_long_log_is_accepted(tmp_path, monkeypatch, new):
    """What is allowed grows with the file."""
    monkeypatch.setattr(checkpoint_scan, '_MAX_OPERATIONS', 1000)
    buffer = HistoryBuffer(
        np.random.default_rng(0).random(20000), np.ones(20000, np.int64))
    path = str(tmp_path / 'a.pth')
    torch.save(
        dict(state_dict={}, message_hub=dict(log_scalars=dict(loss=buffer))),
        path,
        _use_new_zipfile_serialization=new)
    check_checkpoint(path)


def test_archives_that_unpack_without_end_are_refused(tmp_path):
    path = str(tmp_path / 'bomb.pth')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', bytes(10**8))
    with pytest.raises(ValueError, match='unpacks to far more'):
        check_checkpoint(path)


def test_storages_that_the_file_lacks_are_refused(tmp_path):
    path, short = str(tmp_path / 'a.pth'), str(tmp_path / 'short.pth')
    torch.save(dict(a=torch.ones(1000)), path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(short,
                                                          'w') as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry,
                            data[:8] if '/data/' in entry.filename else data)
    with pytest.raises(ValueError, match='storage of 1000 values'):
        check_checkpoint(short)


@pytest.mark.parametrize('content, found', [
    ([1], 'a list'),
    (dict(state_dict=[torch.ones(1)]), 'a list as its state_dict'),
    (dict(state_dict=dict(a=1)), "a int as 'a'"),
    (dict(params=dict(a=torch.ones(1))), "a dict as 'params'"),
    (dict(state_dict={}, meta=[]), 'a list as its meta'),
])
def test_other_contents_are_refused(tmp_path, content, found):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=f'a.pth must be a dict .* {found}'):
        check_checkpoint(str(tmp_path / 'a.pth'))


def test_old_format_shared_and_expanded_tensors_stay(tmp_path):
    path = str(tmp_path / 'a.pth')
    shared = torch.randn(3, 4)
    tensors = dict(
        a=shared,
        b=shared,
        c=torch.ones(1).expand(5, 6),
        d=nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        e=torch.tensor(3))
    optimizer = torch.optim.Adam([nn.Parameter(shared.clone())])
    optimizer.param_groups[0]['params'][0].sum().backward()
    optimizer.step()
    for new in (True, False):
        torch.save(
            dict(
                state_dict=tensors,
                optimizer=optimizer.state_dict(),
                schedule=Counter([3, 4])),
            path,
            _use_new_zipfile_serialization=new)
        loaded = load_checkpoint_file(path)
        for name, value in tensors.items():
            assert torch.equal(loaded['state_dict'][name], value)


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
