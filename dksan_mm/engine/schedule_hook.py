"""Resumes with another schedule than the checkpoint's."""
import copy
import logging
from typing import Any, Dict, List

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

# parts of a scheduler's state that change from step to step
_PROGRESS = ('last_step', '_global_step', '_last_value', 'verbose')


def _constants(state: Dict[str, Any]) -> Dict[str, Any]:
    return {key: state[key] for key in state if key not in _PROGRESS}


def scale_base_rates(state: Dict[str, Any], factor: float) -> None:
    """Multiply the learning rates in a scheduler's state, if it has some."""
    if state['param_name'] == 'lr' and 'base_values' in state:
        state['base_values'] = [
            value * factor for value in state['base_values']
        ]


@HOOKS.register_module()
class ScheduleHook(Hook):
    """On resuming, applies the config's current schedules from the iteration
    reached; mmengine would continue those of the checkpoint.

    If they are the same, and for schedules by epoch or by metric, the
    checkpoint's state is kept. Learning rates that :class:`.HealthHook` has
    halved stay so.
    """

    def after_load_checkpoint(self, runner: Runner,
                              checkpoint: Dict[str, Any]) -> None:
        """Store the schedules before the checkpoint's replace them."""
        self._states: List[Dict[str, Any]] = []
        if not isinstance(runner.param_schedulers, list):
            return
        optimizer = runner.optim_wrapper.optimizer
        self._rates = [(group['lr'], group.get('initial_lr', group['lr']))
                       for group in optimizer.param_groups]
        self._states = [
            copy.deepcopy(scheduler.state_dict())
            for scheduler in runner.param_schedulers
        ]

    def before_train(self, runner: Runner) -> None:
        """Step the config's schedules up to this iteration."""
        states = getattr(self, '_states', [])
        schedulers = runner.param_schedulers
        if not runner.iter or not states or any(
                scheduler.by_epoch or not hasattr(scheduler, 'base_values')
                for scheduler in schedulers):
            return
        factor = runner.message_hub.get_info('lr_factor', 1)
        for state in states:
            scale_base_rates(state, factor)
        if [_constants(state) for state in states] == [
                _constants(scheduler.state_dict()) for scheduler in schedulers
        ]:
            return
        groups = runner.optim_wrapper.optimizer.param_groups
        for group, (rate, initial) in zip(groups, self._rates):
            group.update(lr=rate * factor, initial_lr=initial)
        for scheduler, state in zip(schedulers, states):
            scheduler.load_state_dict(state)
        for _ in range(runner.iter):
            for scheduler in schedulers:
                scheduler.step()
        print_log(
            "The config's schedule differs from the checkpoint's, and "
            f'applies from iteration {runner.iter} on: the learning rate is '
            f"{groups[0]['lr']:.3g}.", 'current', logging.WARNING)
