"""Resumes with another schedule than the checkpoint's."""
import copy
import logging
from typing import Any, Dict, List

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
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


def optim_wrappers(runner: Runner) -> List[OptimWrapper]:
    """Return the wrapper of the runner's optimizer, or of all of them."""
    wrapper = runner.optim_wrapper
    several = isinstance(wrapper, OptimWrapperDict)
    return list(wrapper.values()) if several else [wrapper]


def param_groups(runner: Runner) -> List[Dict[str, Any]]:
    """Return the parameter groups of the runner's optimizers."""
    return [
        group for wrapper in optim_wrappers(runner)
        for group in wrapper.optimizer.param_groups
    ]


def param_schedulers(runner: Runner) -> List[Any]:
    """Return the schedulers of the runner's optimizers."""
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):  # of several optimizers
        schedulers = sum(schedulers.values(), [])
    return schedulers


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
        self._rates = [(group['lr'], group.get('initial_lr', group['lr']))
                       for group in param_groups(runner)]
        self._states = [
            copy.deepcopy(scheduler.state_dict())
            for scheduler in param_schedulers(runner)
        ]

    def before_train(self, runner: Runner) -> None:
        """Step the config's schedules up to this iteration."""
        states = getattr(self, '_states', [])
        schedulers = param_schedulers(runner)
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
        groups = param_groups(runner)
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
