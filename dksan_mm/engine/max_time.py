"""Stops a training when its time is over."""
import time
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class MaxTimeHook(Hook):
    """Stop training after a time, with a checkpoint to resume from.

    The time counts from the hook's creation. It is checked between iterations,
    so saving, and a validation that is due, come on top. The schedule does not
    depend on it: a training in several parts gives the same result.

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
        self._end = time.monotonic() + seconds
        self.stopped = False

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        # one process decides for all, as their clocks differ
        over = [time.monotonic() > self._end]
        broadcast_object_list(over)
        if not over[0] or runner.iter + 1 >= runner.max_iters:
            return
        self.stopped = True
        runner.train_loop.stop_training = True
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                # the loop counts the iteration when its hooks are done
                hook._save_checkpoint(runner)
        runner.logger.info(
            f'The time is over: stopped after {runner.iter + 1} of '
            f'{runner.max_iters} iterations; --resume goes on from there.')
