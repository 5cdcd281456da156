"""Samples whose random part depends only on a seed and an index."""
import random
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import numpy as np
from mmagic.registry import DATASETS
from mmengine.dataset import ConcatDataset


class SeededDraws:
    """Mix-in for data sets that :class:`SeededInfiniteSampler` draws from.

    Indices beyond the length are allowed: ``draw * len(self) + index`` is the
    sample ``index``, with the augmentation that follows from the seed and the
    number of the draw.

    Attributes:
        augmentation_seed (int, optional): Seed, set by the sampler. None, the
            initial value, leaves the random generators alone.
    """

    augmentation_seed: Optional[int] = None

    def __getitem__(self, idx: int) -> Any:
        """Return a sample."""
        size = len(self)
        if self.augmentation_seed is None:
            return super().__getitem__(idx % size)
        with _seeded(self.augmentation_seed, idx // size):
            return super().__getitem__(idx % size)


@DATASETS.register_module()
class SeededConcatDataset(SeededDraws, ConcatDataset):
    """mmengine's :class:`ConcatDataset` for :class:`SeededInfiniteSampler`:
    for example photographs and real sequences in one training, each drawn in
    proportion to its number of samples.

    All samples must have the same keys.

    Arguments are those of :class:`mmengine.dataset.ConcatDataset`.
    """

    def __getitem__(self, idx: int) -> Any:
        """Return a sample."""
        sample = super().__getitem__(idx)
        # MMagic refuses a batch of samples whose keys were added in different
        # orders, as by different pipelines: it compares lists made from sets
        given = sample['data_samples']
        ordered = type(given)(metainfo=dict(sorted(given.metainfo.items())))
        for key, value in sorted(given.items()):
            ordered.set_field(value, key)
        return dict(sample, data_samples=ordered)


@contextmanager
def _seeded(*entropy: int) -> Iterator[None]:
    """Seed the generators that MMagic's transforms use; restore them later."""
    states = random.getstate(), np.random.get_state()
    seeds = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
