"""Gives each process whole sequences, for tests."""
import os.path as osp
from typing import Dict, Iterator, List, Optional

from mmagic.registry import DATA_SAMPLERS
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler


@DATA_SAMPLERS.register_module()
class SequenceSampler(Sampler):
    """Gives every process whole sequences, frame by frame, and each frame only
    once.

    mmengine's :class:`DefaultSampler` deals frames out in turn, and some
    twice, so that no process sees consecutive frames, which temporal metrics
    need. This sampler assigns sequences, the longest first, each to the
    process with the fewest frames so far. With fewer sequences than processes,
    some processes have nothing to do.

    Args:
        dataset (BaseDataset): A data set whose samples have a ``key`` such as
            "050/00000019": sequence and frame, sorted by name; or "050" if a
            sample is a whole sequence.
        shuffle (bool): Must be False, the default; accepted for configs
            written for :class:`DefaultSampler`.
        seed (int, optional): Not used; the runner passes one to every sampler.

    Raises:
        ValueError: ``shuffle`` is True.
        TypeError: Samples have no ``key``.
    """

    def __init__(self,
                 dataset: BaseDataset,
                 shuffle: bool = False,
                 seed: Optional[int] = None) -> None:
        if shuffle:
            raise ValueError('shuffle must be False for SequenceSampler, which'
                             ' is for tests, got True')
        self.dataset = dataset
        rank, world_size = get_dist_info()
        shares: List[List[int]] = [[] for _ in range(world_size)]
        sequences = sorted(self._sequences().values(), key=len, reverse=True)
        for indices in sequences:
            min(shares, key=len).extend(indices)
        self.indices = shares[rank]

    def _sequences(self) -> Dict[str, List[int]]:
        """Return the samples of each sequence, ordered."""
        keys = [
            self.dataset.get_data_info(index).get('key')
            for index in range(len(self.dataset))
        ]
        if any(not isinstance(key, str) for key in keys):
            raise TypeError(
                "the samples of dataset must have a 'key' such as "
                '"050/00000019", found none in '
                f'{type(self.dataset).__name__}; use VideoSRDataset')
        sequences: Dict[str, List[int]] = {}
        for index in sorted(range(len(keys)), key=keys.__getitem__):
            # a key without a frame is of a whole sequence
            sequence = osp.dirname(keys[index]) or keys[index]
            sequences.setdefault(sequence, []).append(index)
        return sequences

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        """Return the number of frames that this process gets."""
        return len(self.indices)
