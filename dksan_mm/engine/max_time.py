"""Stops a training when its time is over."""
import math
import os
import time
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .schedule_hook import optim_wrappers


@HOOKS.register_module()
class MaxTimeHook(Hook):
    """Stop training after a time, with a checkpoint to resume from.

    The time counts from the start of ``tools/dist_train.sh``, whose restarts
    share it, else from the hook's creation. It is checked between iterations,
    with gradient accumulation between updates of the weights, so saving, and a
    validation that is due, come on top. The schedule does not depend on it: a
    training in several parts gives the same result.

    Args:
        seconds (float): Time in seconds, above 0.

    Attributes:
        stopped (bool): Whether it has stopped the training.
    """

    # after the hooks that save and that step the schedule
    priority = 'LOWEST'

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f'seconds must be above 0, got {seconds}')
        start = float(os.environ.get('DKSAN_MM_START', time.time()))
        self._end = start + seconds
        self.stopped = False

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        # one process decides for all, as their clocks differ
        over = [time.time() > self._end]
        broadcast_object_list(over)
        done = runner.iter + 1
        # gradients that an update still waits for are in no checkpoint
        waits = done % math.lcm(*(wrapper._accumulative_counts
                                  for wrapper in optim_wrappers(runner)))
        if not over[0] or waits or done >= runner.max_iters:
            return
        self.stopped = True
        runner.train_loop.stop_training = True
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                # the loop counts the iteration when its hooks are done
                hook._save_checkpoint(runner)
        runner.logger.info(
            f'The time is over: stopped after {done} of '
            f'{runner.max_iters} iterations; --resume goes on from there.')
