"""Training that stops when its time is over."""
import time
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class MaxTimeHook(Hook):
    """Stop training after a time, with a checkpoint to resume from.

    The time counts from the hook's making. It is looked at between
    iterations, so that saving, and a validation that is due, come on top. The
    schedule knows nothing of it: a training in several parts is one training.

    Args:
        seconds (float): Above 0.

    Attributes:
        stopped (bool): Whether it has stopped the training.
    """

    # behind the hook that saves, and that which steps the schedule
    priority = 'LOWEST'

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f'seconds must be above 0, got {seconds}')
        self._end = time.monotonic() + seconds
        self.stopped = False

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        # one process decides for all: their clocks are not in step
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
