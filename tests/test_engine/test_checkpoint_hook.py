"""A training can be resumed from every instant at which it is killed."""
import os
import shutil
import sys

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from dksan_mm.engine import WholeCheckpointHook, load_checkpoint_file
from dksan_mm.engine.checkpoint_hook import find_checkpoint

# scores at validations: the best one changes, stays, changes
SCORES = {2: 1., 4: 3., 6: 2., 8: 4.}


class Numbers(Dataset):

    metainfo = dict(dataset_type='numbers')

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return torch.tensor([float(index % 7)])


class Line(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, mode='tensor'):
        x = torch.stack(list(x))
        if mode == 'loss':
            return dict(loss=(self.layer(x) - 2 * x).square().mean())
        return [0.]


class Score:
    """Evaluator whose scores are those above."""

    dataset_meta = None

    def process(self, *args, **kwargs):
        pass

    def evaluate(self, size):
        return dict(PSNR=SCORES[self.runner.iter])


def train(folder, max_iters=8, ema=True, **hook):
    torch.manual_seed(0)
    loader = dict(
        dataset=Numbers(),
        batch_size=2,
        num_workers=0,
        sampler=dict(type='SeededInfiniteSampler', seed=0))
    evaluator = Score.__new__(Score)
    runner = Runner(
        Line(),
        str(folder),
        train_dataloader=loader,
        val_dataloader=dict(
            dataset=Numbers(),
            batch_size=100,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(
            type='ResumableTrainLoop', max_iters=max_iters, val_interval=2),
        val_cfg=dict(),
        val_evaluator=evaluator,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1)),
        param_scheduler=dict(
            type='CosineAnnealingLR', by_epoch=False, T_max=8, end=8),
        default_hooks=dict(
            checkpoint=dict({
                'type': 'WholeCheckpointHook',
                'interval': 2,
                'by_epoch': False,
                'max_keep_ckpts': 1,
                'save_best': 'PSNR',
                'rule': 'greater',
                **hook
            })),
        custom_hooks=[dict(type='mmengine.EMAHook')] if ema else [],
        load_from=find_checkpoint(str(folder)),
        resume=True,
        log_level='ERROR',
        experiment_name=f'{folder.name}_{os.getpid()}',
        default_scope='mmagic')
    evaluator.runner = runner
    runner.train()


def outcome(folder):
    """Return names and weights of all checkpoints."""
    return {
        name: {
            key: value.tolist()
            for part in ('state_dict', 'ema_state_dict')
            for key, value in load_checkpoint_file(str(folder / name)).get(
                part, {}).items()
        }
        for name in sorted(os.listdir(folder)) if '.pth' in name
    }


def in_child(run):
    """Run in a process of its own; return its exit code."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


WATCHED = ('checkpoint_hook.py', 'storage.py')


def train_killed_at(folder, number):
    """Train, and end as by ``kill -9`` before the line of that number, of
    those that save."""
    left = [number]

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == 'line':
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
        return trace

    sys.settrace(trace)
    train(folder)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    assert in_child(lambda: train(folder)) == 0
    found = outcome(folder)
    assert list(found) == ['best_PSNR_iter_8.pth', 'iter_8.pth']
    return found


def lines_of_training(folder):
    """Return how many lines that save a whole training runs."""
    low, high = 0, 4096
    while low < high:
        middle = (low + high) // 2
        code = in_child(lambda: train_killed_at(folder, middle))
        shutil.rmtree(folder)
        if code == 0:
            high = middle
        else:
            low = middle + 1
    return low


def test_every_line_can_be_the_last(tmp_path, undisturbed):
    """All lines of the hook and of the writing of files; every fifth here,
    all with KILL_EVERYWHERE=1."""
    count = lines_of_training(tmp_path / 'count')
    assert count > 100
    step = 1 if os.environ.get('KILL_EVERYWHERE') else 23
    for number in range(0, count, step):
        folder = tmp_path / f'{number}'
        assert in_child(lambda: train_killed_at(folder, number)) == 9
        assert in_child(lambda: train(folder)) == 0, number
        assert outcome(folder) == undisturbed, number
        assert not [n for n in os.listdir(folder) if 'partial' in n]
        shutil.rmtree(folder)
