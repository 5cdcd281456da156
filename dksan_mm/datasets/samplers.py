"""A sampler whose draws do not depend on the number of processes."""
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
    flips, whatever the number of processes and of data loader workers, and
    also after a resume. Runs can thus be repeated, and two processes train
    like one with twice the batch size.

    Args:
        dataset (SeededDraws): The data set, such as :class:`VideoSRDataset`;
            it gets the seed.
        shuffle (bool): Whether to shuffle. Default: True.
        seed (int, optional): Default: None, a random seed, the same in all
            processes.

    Raises:
        TypeError: ``dataset`` is no :class:`SeededDraws`.
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

    def skip(self, draws: int, seed: Optional[int] = None) -> None:
        """Restart after the first ``draws`` draws of this process, with
        another seed if one is given."""
        if seed is not None:
            self.seed = self.dataset.augmentation_seed = seed
        self.indices = islice(self._indices_of_rank(), draws, None)

    def _infinite_indices(self) -> Iterator[int]:
        for draw, index in enumerate(super()._infinite_indices()):
            yield draw * self.size + index
