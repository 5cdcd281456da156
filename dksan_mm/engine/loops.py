"""A training loop that resumes at once."""
from itertools import repeat
from typing import Any, Iterator

from mmengine.dist import all_gather_object
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from dksan_mm.datasets import SeededInfiniteSampler


def _batches(dataloader: DataLoader, done: int) -> Iterator[Any]:
    """Yield None ``done`` times, then batches without end."""
    yield from repeat(None, done)
    while True:
        yield from dataloader


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's :class:`IterBasedTrainLoop`, but on resuming it does not read
    earlier batches again.

    mmengine loads and discards every batch up to the checkpoint, which takes
    hours late in a training on video. This loop advances the sampler instead,
    which must be a :class:`SeededInfiniteSampler`; with another sampler it is
    mmengine's loop. The sampler's seed is kept in checkpoints. Arguments are
    the same.
    """

    def run(self) -> nn.Module:
        """Train from the current iteration; return the model.

        Raises:
            OSError: Processes have resumed from different iterations.
        """
        starts = all_gather_object(self._iter)
        if len(set(starts)) > 1:
            raise OSError(
                'all processes must resume from the same checkpoint, found '
                f'iterations {sorted(set(starts))}; let work_dir (--work-dir) '
                'be on storage that all machines share')
        sampler, hub = self.dataloader.sampler, self.runner.message_hub
        if isinstance(sampler, SeededInfiniteSampler):
            if self._iter > 0:
                sampler.skip(self._iter * self.dataloader.batch_size,
                             hub.get_info('sampler_seed'))
                # workers that run already have the seed before
                self.dataloader._iterator = None
                # mmengine's loop skips one batch for each finished iteration
                self.dataloader_iterator = _batches(self.dataloader,
                                                    self._iter)
            hub.update_info('sampler_seed', sampler.seed)
        return super().run()

    def owes_validation(self) -> bool:
        """Whether the run that saved the checkpoint ended before validating
        it, as far as the checkpoint shows. A validation that found no
        improvement may be repeated."""
        if self._iter == 0 or self.runner.val_loop is None:
            return False
        self._decide_current_val_interval()
        done = self.runner.message_hub.runtime_info.get('validated_iter')
        return (self._iter >= self.val_begin and done != self._iter
                and (self._iter % self.val_interval == 0
                     or self._iter == self._max_iters))
