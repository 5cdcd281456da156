"""Sharing sequences out among processes."""
import pytest
from mmagic.registry import DATA_SAMPLERS

from dksan_mm.datasets import SequenceSampler, sequence_sampler


class Keyed:
    """A data set of sequences with so many frames, frames in odd order."""

    def __init__(self, **lengths):
        self.keys = [
            f'{name}/{number:08d}' for name, length in lengths.items()
            for number in reversed(range(length))
        ]

    def __len__(self):
        return len(self.keys)

    def get_data_info(self, index):
        return dict(key=self.keys[index])


def shares(dataset, world_size, monkeypatch):
    """Return what each of so many processes gets, as keys."""
    result = []
    for rank in range(world_size):
        monkeypatch.setattr(sequence_sampler, 'get_dist_info', lambda:
                            (rank, world_size))
        sampler = DATA_SAMPLERS.build(
            dict(type='SequenceSampler', shuffle=False),
            default_args=dict(dataset=dataset, seed=3))
        indices = list(sampler)
        assert indices == list(sampler) and len(sampler) == len(indices)
        result.append([dataset.keys[index] for index in indices])
    return result


def test_one_process_gets_all_in_order(monkeypatch):
    dataset = Keyed(b=2, a=3)
    assert shares(dataset, 1, monkeypatch) == [[
        'a/00000000', 'a/00000001', 'a/00000002', 'b/00000000', 'b/00000001'
    ]]


@pytest.mark.parametrize('world_size', [2, 3, 6])
def test_sequences_stay_whole(world_size, monkeypatch):
    dataset = Keyed(a=2, b=7, c=3, d=4)
    parts = shares(dataset, world_size, monkeypatch)
    assert sorted(sum(parts, [])) == sorted(dataset.keys)
    for name, length in dict(a=2, b=7, c=3, d=4).items():
        whole = [f'{name}/{number:08d}' for number in range(length)]
        # in one process, without a gap
        assert any(part[i:i + length] == whole for part in parts
                   for i in range(len(part)))
    # as even as whole sequences can be: 16 frames, one sequence of 7
    assert max(map(len, parts)) == {2: 9, 3: 7, 6: 7}[world_size]


def test_refusals():
    with pytest.raises(ValueError, match='shuffle must be False'):
        SequenceSampler(Keyed(a=2), shuffle=True)
    dataset = Keyed(a=2)
    dataset.get_data_info = lambda index: dict(path='a')
    with pytest.raises(TypeError, match='Keyed; use VideoSRDataset'):
        SequenceSampler(dataset)
