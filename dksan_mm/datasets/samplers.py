"""Sampling that does not depend on how many processes share the work."""
from itertools import islice
from typing import Iterator, Optional

from mmagic.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler

from .seeding import SeededDraws


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """:class:`mmengine.dataset.InfiniteSampler` whose every draw also fixes
    the sample's random augmentation.

    The n-th draw of a training is the same sample with the same crop and
    flips whatever the number of processes and of data loader workers, and
    after a resume: runs can be repeated, and two processes train as one with
    twice the batch size.

    Args:
        dataset (SeededDraws): The data set, such as :class:`VideoSRDataset`;
            it is told the seed.
        shuffle (bool): Default: True.
        seed (int, optional): Default: None, a random one, the same in all
            processes.

    Raises:
        TypeError: ``dataset`` is of another class.
    """

    def __init__(self,
                 dataset: SeededDraws,
                 shuffle: bool = True,
                 seed: Optional[int] = None) -> None:
        if not isinstance(dataset, SeededDraws):
            raise TypeError(
                'dataset must be one of dksan_mm, which seed their '
                'augmentation (VideoSRDataset, PhotoWindowDataset, '
                f'SeededConcatDataset), got {type(dataset).__name__}')
        super().__init__(dataset, shuffle, seed)
        dataset.augmentation_seed = self.seed

    def skip(self, draws: int) -> None:
        """Start anew behind the first ``draws`` draws of this process."""
        self.indices = islice(self._indices_of_rank(), draws, None)

    def _infinite_indices(self) -> Iterator[int]:
        for draw, index in enumerate(super()._infinite_indices()):
            yield draw * self.size + index
