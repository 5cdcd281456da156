"""Samples whose random part depends on a seed and an index alone."""
import random
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import numpy as np
from mmagic.registry import DATASETS
from mmengine.dataset import ConcatDataset


class SeededDraws:
    """Mix-in for data sets that :class:`SeededInfiniteSampler` draws from.

    Its indices run beyond the length: ``draw * len(self) + index`` is the
    sample ``index``, with the augmentation that the seed and the number of
    the draw decide.

    Attributes:
        augmentation_seed (int, optional): What the sampler sets. None, as at
            first, leaves the random generators as they are.
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
    photographs and real sequences in one training, say, each as often as it
    has samples.

    The samples of all must have the same keys.

    Arguments are those of :class:`mmengine.dataset.ConcatDataset`.
    """

    def __getitem__(self, idx: int) -> Any:
        """Return a sample."""
        sample = super().__getitem__(idx)
        # samples that have been through other steps, and whose keys came in
        # another order, MMagic refuses to put into one batch: it compares
        # lists made of sets
        given = sample['data_samples']
        ordered = type(given)(metainfo=dict(sorted(given.metainfo.items())))
        for key, value in sorted(given.items()):
            ordered.set_field(value, key)
        return dict(sample, data_samples=ordered)


@contextmanager
def _seeded(*entropy: int) -> Iterator[None]:
    """Seed the generators that MMagic's transforms use, for a while."""
    states = random.getstate(), np.random.get_state()
    seeds = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
