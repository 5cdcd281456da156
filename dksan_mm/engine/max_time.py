"""Training that stops when its time is over."""
import re
import time
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

_UNITS = dict(s=1, m=60, h=3600)


def parse_time(text: str) -> float:
    """Return the seconds that a text such as ``90s``, ``150m`` or ``2.5h``
    names.

    Raises:
        ValueError: It names none.
    """
    match = re.fullmatch(r'(\d+(?:\.\d*)?|\.\d+)([smh])', text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0
    if not seconds:
        raise ValueError('a time must be a number above 0 with the unit s, m '
                         f'or h, such as 90s, 150m or 2.5h, got {text!r}')
    return seconds


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
