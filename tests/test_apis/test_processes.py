"""Shares of several processes; progress of a resumed run."""
import pytest
import torch

from dksan_mm.apis import processes, progress
from dksan_mm.apis.outputs import find_runs, is_video_path, split_segments


@pytest.mark.parametrize('items, count', [(7, 2), (7, 3), (2, 5), (0, 2)])
def test_shares_are_successive_and_whole(monkeypatch, items, count):
    shares = []
    for rank in range(count):
        monkeypatch.setattr(processes, 'get_dist_info', lambda: (rank, count))
        shares.append(processes.own_share(range(items)))
    assert sum(shares, []) == list(range(items))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] or not items  # who shows progress


def test_alone(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    processes.join_processes()
    assert not torch.distributed.is_initialized()
    assert processes.is_first() and processes.from_first('a') == 'a'
    assert processes.own_share('abc') == ['a', 'b', 'c']
    processes.wait_for_all()


def test_all_raise_the_first_ones_error(monkeypatch):

    def fail():
        raise ValueError('found it')

    with pytest.raises(ValueError, match='found it'):
        processes.done_first(fail)
    assert processes.done_first(lambda: 3) == 3
    # another process, told the first one's error, then its result
    monkeypatch.setattr(processes, 'get_dist_info', lambda: (1, 2))
    told = [ValueError('of the first'), None, 5]
    monkeypatch.setattr(processes, 'from_first', lambda value: told.pop(0))
    with pytest.raises(ValueError, match='of the first'):
        processes.done_first(fail)
    assert processes.done_first(fail) == 5


def test_every_process_has_its_gpu(monkeypatch):
    assert processes.own_device('cpu') == torch.device('cpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert processes.own_device() == torch.device('cuda', 1)
    assert processes.own_device('cuda:0') == torch.device('cuda', 0)
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ValueError, match='number of GPUs, 2, found process 3'):
        processes.own_device('cuda')


def test_segments_and_runs():
    segments = split_segments(11, 4)
    assert [(s.index, s.start, s.stop) for s in segments] == [(0, 0, 4),
                                                              (1, 4, 8),
                                                              (2, 8, 11)]
    assert list(find_runs(segments)) == [segments]
    assert list(find_runs(segments[::2])) == [[segments[0]], [segments[2]]]
    assert list(find_runs([])) == []


def test_kind_of_an_output(tmp_path):
    (tmp_path / 'v1.2').mkdir()
    for name, expected in (('a.mp4', True), ('a.MKV', True), ('a', False),
                           ('v1.2', False), ('v1.3/', False)):
        assert is_video_path(f'{tmp_path}/{name}') == expected
    with pytest.raises(ValueError, match='v1.3/$'):
        is_video_path(f'{tmp_path}/v1.3')


def test_what_was_there_counts_not_into_the_speed(capsys):
    bar = progress.show_progress(100, done=90)
    for _ in range(5):
        bar.update()
    values = bar.format_dict
    values['elapsed'] = 10.
    values['rate'] = None  # of the last moments
    bar.close()
    # 5 in 10 seconds, 5 more to do
    assert ' 95/100 [00:10<00:10,' in bar.format_meter(**values)


def test_no_progress(capsys):
    progress.show_progress(3, enabled=False).update()
    assert capsys.readouterr().err == ''
