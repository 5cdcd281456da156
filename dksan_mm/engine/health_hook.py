"""Stops a diverging training, or goes back and slows it."""
import logging
from functools import partial
from typing import Any, Dict, List, Optional

import torch
from mmcv.ops import ModulatedDeformConv2d
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from .checkpoint_hook import DivergenceError, has_finite_weights
from .schedule_hook import (optim_wrappers, param_groups, param_schedulers,
                            scale_base_rates)

_MOST_ROLLBACKS = 5
_MOST_OFFSET = 50
_LEAST_MASK = 0.1
# images are in [0, 1]: a larger loss means divergence, finite or not
_MOST_LOSS = 1e6


@HOOKS.register_module()
class HealthHook(Hook):
    """Acts if a loss is not finite or above 1e6, and monitors the alignment's
    offsets and masks.

    It runs before checkpoints are saved, so that none holds such weights:
    losses are checked in every iteration, weights before each save. If one of
    several processes finds a fault, all act.

    Args:
        on_nan (str): ``'stop'`` raises an error; ``'rollback'`` goes back to
            the last checkpoint of this training, halves the learning rate
            and trains on, at most five times. Default: 'stop'.
        offset_interval (int): Number of iterations between measurements of the
            modulated deformable convolutions that align frames, which are
            logged: the mean absolute offset (without the flow, if there is
            one) as ``alignment_offset``, in pixels of the features (EDVR's are
            of whole, half and quarter LR size), with a warning above 50; the
            mean mask as ``alignment_mask``, 0 to 1, with a warning below 0.1,
            once. Default: 100.

    Raises:
        ValueError: ``on_nan`` has another value; or checkpoints have no
            optimizer to go back to.
        DivergenceError: The training diverged, and ``'rollback'`` was not
            chosen or did not help.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self,
                 on_nan: str = 'stop',
                 offset_interval: int = 100) -> None:
        if on_nan not in ('stop', 'rollback'):
            raise ValueError(
                f"on_nan must be 'stop' or 'rollback', got {on_nan!r}")
        self.on_nan = on_nan
        self.offset_interval = offset_interval
        self._rollbacks = 0
        self._found: List[Tensor] = []
        self._is_told = False
        self._watch = False

    def before_train(self, runner: Runner) -> None:
        """Watch the convolutions that predict alignment offsets."""
        if self.on_nan == 'rollback' and not all(
                hook.save_optimizer for hook in _savers(runner)):
            raise ValueError(
                'default_hooks.checkpoint.save_optimizer must be True with '
                '--on-nan rollback, which goes back to the optimizer of a '
                'checkpoint, found False; set it, or leave one of them out')
        # a checkpoint of this training; later, the last one saved
        runner.message_hub.update_info(
            'last_ckpt', runner._load_from if runner._resume else None)

        def note(align: ModulatedDeformConv2d, module: Any, inputs: Any,
                 output: Tensor) -> None:
            if self._watch:
                # two thirds are offsets, the others masks before the sigmoid
                offset, mask = output.detach().tensor_split(
                    [output.shape[1] * 2 // 3], 1)
                if hasattr(align, 'max_residue_magnitude'):  # BasicVSR++
                    offset = align.max_residue_magnitude * offset.tanh()
                self._found.append(
                    torch.stack((offset.abs().mean(), mask.sigmoid().mean())))

        model = runner.model.module if is_model_wrapper(
            runner.model) else runner.model
        self._handles = [
            module.conv_offset.register_forward_hook(partial(note, module))
            for module in model.modules()
            if isinstance(module, ModulatedDeformConv2d)
            and hasattr(module, 'conv_offset')
        ]

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Any = None) -> None:
        """Choose whether to measure the alignment in this iteration."""
        self._watch = (batch_idx + 1) % self.offset_interval == 0

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Optional[Dict[str, Any]] = None) -> None:
        """Check the losses and, before a save, the weights."""
        self._watch = False  # a validation may follow
        self._tell_alignment(runner)
        worst = sum(
            (value.detach().float().sum()
             for key, value in (outputs or {}).items() if 'loss' in key),
            torch.zeros(()))
        worst = worst.abs().nan_to_num(torch.inf, torch.inf)
        all_reduce(worst, 'max')  # weights are the same on all processes
        loss = float(worst)
        good = loss <= _MOST_LOSS
        if good and (not self._saves(runner) or has_finite_weights(runner)):
            return
        found = (f'the loss of iteration {runner.iter + 1} must be finite, '
                 f'and at most {_MOST_LOSS:g}, found {loss}')
        if good:
            found = (f'the weights after iteration {runner.iter + 1} must be '
                     'finite, found values that are not')
        if self.on_nan == 'stop':
            raise DivergenceError(
                f'{found}; no checkpoint was written of it. Train with a '
                'smaller learning rate (optim_wrapper.optimizer.lr), clip '
                'gradients (optim_wrapper.clip_grad), or go back by itself '
                'with --on-nan rollback; --resume goes on from the last '
                'checkpoint')
        self._roll_back(runner, found)

    def _saves(self, runner: Runner) -> bool:
        return self.is_last_train_iter(runner) or any(
            hook.interval > 0 and (runner.iter + 1) % hook.interval == 0
            for hook in _savers(runner))

    def _tell_alignment(self, runner: Runner) -> None:
        if not self._found:
            return
        offset, mask = torch.stack(self._found).float().mean(0).tolist()
        self._found.clear()
        runner.message_hub.update_scalar('train/alignment_offset', offset)
        runner.message_hub.update_scalar('train/alignment_mask', mask)
        if offset > _MOST_OFFSET:
            print_log(
                f'The mean absolute alignment offset is {offset:.0f} pixels, '
                f'above {_MOST_OFFSET}: the alignment has probably failed. Go '
                'back to an earlier checkpoint, with a smaller learning rate.',
                'current', logging.WARNING)
        if mask < _LEAST_MASK and not self._is_told:
            self._is_told = True
            print_log(
                f"The alignment's mean mask is {mask:.2f}, below "
                f'{_LEAST_MASK}: the network has learnt to ignore the '
                'neighbouring frames, and restores the middle one by itself; '
                'configs/README.md says how to see what they give.', 'current',
                logging.WARNING)

    def _roll_back(self, runner: Runner, found: str) -> None:
        """Load the last checkpoint's weights, and halve the learning rate."""
        hub = runner.message_hub
        path = hub.get_info('last_ckpt')
        self._rollbacks += 1
        if path is None or self._rollbacks > _MOST_ROLLBACKS:
            reason = (f'going back {_MOST_ROLLBACKS} times did not help'
                      if path else 'this training has no checkpoint to go '
                      'back to yet')
            raise DivergenceError(
                f'{found}; {reason}. Train with a smaller learning rate '
                '(optim_wrapper.optimizer.lr)')
        rates = [group['lr'] / 2 for group in param_groups(runner)]
        runner._resume = True  # EMAHook then takes its average as well
        checkpoint = runner.load_checkpoint(path)
        barrier()  # the next save may remove the file
        runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        for wrapper in optim_wrappers(runner):
            wrapper.zero_grad()  # an accumulation may hold the fault's
        for group, rate in zip(param_groups(runner), rates):
            group['lr'] = rate
        for scheduler in param_schedulers(runner):
            scale_base_rates(vars(scheduler), 1 / 2)
        hub.update_info('lr_factor', hub.get_info('lr_factor', 1) / 2)
        print_log(
            f'{found}; going on with the weights of {path} and '
            'half the learning rate', 'current', logging.WARNING)


def _savers(runner: Runner) -> List[Hook]:
    """Return the hooks that save checkpoints."""
    return [hook for hook in runner.hooks if hasattr(hook, 'save_optimizer')]
