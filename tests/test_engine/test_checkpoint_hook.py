"""A training can be resumed from every instant at which it is killed."""
import os
import shutil
import sys
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2d
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import LinearLR, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from tiny_networks import make_network
from torch import nn
from torch.optim import SGD
from torch.utils.data import Dataset

from dksan_mm.engine import HealthHook, ScheduleHook, load_checkpoint_file
from dksan_mm.engine.checkpoint_hook import find_checkpoint
from dksan_mm.engine.health_hook import DivergenceError
from dksan_mm.engine.schedule_hook import scale_base_rates

# scores at validations: the best one changes, stays, changes
SCORES = {2: 1., 4: 3., 6: 2., 8: 4.}


class Numbers(Dataset):

    metainfo = dict(dataset_type='numbers')

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return dict(x=torch.tensor([float(index % 7)]))


class Line(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, mode='tensor'):
        x = torch.stack(list(x))
        if mode == 'loss':
            return dict(loss=(self.layer(x) - 2 * x).square().mean())
        return [0.]


class Score(Evaluator):
    """Its scores are those above."""

    def process(self, *args, **kwargs):
        pass

    def evaluate(self, size):
        return dict(PSNR=SCORES.get(self.runner.iter, 0.))


def train(folder,
          max_iters=8,
          lr=.1,
          hooks=(),
          trigger=None,
          model=Line,
          resume=True,
          accumulative_counts=1,
          **hook):
    torch.manual_seed(0)
    loader = dict(
        dataset=Numbers(),
        batch_size=2,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', seed=0))
    evaluator = Score([])
    runner = Runner(
        model(),
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
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=lr),
            accumulative_counts=accumulative_counts),
        param_scheduler=dict(
            type='CosineAnnealingLR',
            by_epoch=False,
            T_max=max_iters,
            end=max_iters),
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
        custom_hooks=[dict(type='mmengine.EMAHook'), *hooks],
        load_from=find_checkpoint(str(folder)) if resume else None,
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{folder}_{os.getpid()}'.replace('/', '_'),
        default_scope='mmagic')
    evaluator.runner = runner
    if trigger:
        trigger(runner)
    runner.train()
    return runner


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


def start_child(run):
    """Run in a process of its own; return its id."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(run):
    """Run in a process of its own; return its exit code."""
    return exit_code(start_child(run))


WATCHED = ('checkpoint_hook.py', 'storage.py')


def train_killed_at(folder, number):
    """Train, and end as by ``kill -9`` before the line of that number, of
    those that save; return how many there were, if it is beyond them."""
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
    return number - left[0]


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    # here: so that children find imported what a training imports on its way
    train(folder)
    found = outcome(folder)
    assert list(found) == ['best_PSNR_iter_8.pth', 'iter_8.pth']
    return found


def lines_of_training(folder):
    """Return how many lines that save a whole training runs."""
    count = folder.with_suffix('.txt')
    assert in_child(
        lambda: count.write_text(str(train_killed_at(folder, 10**9)))) == 0
    return int(count.read_text())


def test_every_line_can_be_the_last(tmp_path, undisturbed):
    """Lines of the hook and of the writing of files: a sample here, all with
    KILL_EVERYWHERE=1."""
    count = lines_of_training(tmp_path / 'count')
    assert count > 100
    step = 1 if os.environ.get('KILL_EVERYWHERE') else 67
    for number in range(0, count, step):
        folder = tmp_path / f'{number}'
        assert in_child(lambda: train_killed_at(folder, number)) == 9
        assert in_child(lambda: train(folder)) == 0, number
        assert outcome(folder) == undisturbed, number
        assert not [n for n in os.listdir(folder) if 'partial' in n]
        shutil.rmtree(folder)


class Rates(Hook):
    """Notes the learning rate of every iteration."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.found = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.found += runner.optim_wrapper.get_lr()['lr']


class Spoil(Hook):
    """Makes the loss of one iteration infinite, once."""

    priority = 'VERY_HIGH'

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        if runner.iter + 1 == self.at:
            self.at = None
            outputs['loss'] = torch.tensor(float('nan'))


def test_a_loss_that_is_not_finite_stops(tmp_path):
    with pytest.raises(DivergenceError, match='loss of iteration 5 must be'):
        train(tmp_path, hooks=[Spoil(5), HealthHook()])
    assert 'iter_4.pth' in outcome(tmp_path)
    with pytest.raises(DivergenceError, match='iteration 8'):
        train(tmp_path, hooks=[Spoil(8), HealthHook()])
    assert 'iter_8.pth' not in outcome(tmp_path)


def test_a_loss_that_is_not_finite_rolls_back(tmp_path):
    rates, plain = Rates(), Rates()
    runner = train(tmp_path, hooks=[rates, Spoil(6), HealthHook('rollback')])
    train(tmp_path / 'plain', hooks=[plain])
    assert rates.found[:6] == plain.found[:6]
    assert rates.found[6:] == pytest.approx(
        [rate / 2 for rate in plain.found[6:]])
    assert all(p.isfinite().all() for p in runner.model.parameters())


class SpoilGradients(Spoil):
    """Makes the gradients infinite as well."""

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            runner.model.layer.weight.grad.fill_(float('nan'))
        super().after_train_iter(runner, *args, **kwargs)


def test_rolling_back_ends_an_accumulation(tmp_path):
    """The next update does not take the gradients of the fault."""
    runner = train(
        tmp_path,
        hooks=[SpoilGradients(5), HealthHook('rollback')],
        accumulative_counts=2)
    assert runner.message_hub.get_info('lr_factor') == 1 / 2  # once
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_rolling_back_needs_the_optimizer(tmp_path):
    with pytest.raises(ValueError, match='save_optimizer must be True with'):
        train(tmp_path, hooks=[HealthHook('rollback')], save_optimizer=False)


def test_rolls_back_to_a_checkpoint_of_its_own(tmp_path):
    """Not to what another training left in the folder."""
    rollback = [Spoil(1), HealthHook('rollback')]
    train(tmp_path, max_iters=4)
    with pytest.raises(DivergenceError, match='has no checkpoint to go back'):
        train(tmp_path, resume=False, hooks=rollback)
    rollback[0] = Spoil(5)  # before it has saved one since it was resumed
    assert train(tmp_path, hooks=rollback).iter == 8


def test_all_processes_roll_back(tmp_path):
    """Even if only one has seen the fault; none removes the checkpoint while
    another reads it."""

    def run(rank):
        torch.distributed.init_process_group(
            'gloo',
            f'file://{tmp_path}/meet',
            rank=rank,
            world_size=2,
            timeout=timedelta(minutes=1))
        load = Runner.load_checkpoint

        def load_late(*args, **kwargs):
            time.sleep(rank / 2)
            return load(*args, **kwargs)

        Runner.load_checkpoint = load_late
        rates = Rates()
        hooks = [rates, HealthHook('rollback')]
        train(tmp_path / 'work', hooks=hooks + [Spoil(6)] * rank)
        (tmp_path / f'{rank}').write_text(str(rates.found))

    children = [start_child(lambda: run(rank)) for rank in range(2)]
    assert [exit_code(child) for child in children] == [0, 0]
    rates = Rates()
    train(tmp_path / 'one', hooks=[rates, Spoil(6), HealthHook('rollback')])
    for rank in '01':
        assert (tmp_path / rank).read_text() == str(rates.found)


def test_a_halved_rate_stays_so_on_resuming(tmp_path, monkeypatch):
    """With the config's schedule as it was, and with another."""

    class Stop(Hook):

        def after_train_iter(self, runner, *args, **kwargs):
            runner.train_loop.stop_training = runner.iter == 5

    def go(name, *hooks, **kwargs):
        rates = Rates()
        train(tmp_path / name, hooks=[rates, *hooks], **kwargs)
        return rates.found

    told = []
    monkeypatch.setattr('dksan_mm.engine.schedule_hook.print_log',
                        lambda text, *args: told.append(text))
    rollback = HealthHook('rollback')
    whole = go('whole', Spoil(4), rollback)
    go('a', Spoil(4), rollback, Stop())
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    assert go('a', ScheduleHook()) == whole[6:]
    assert not told
    assert go('b', ScheduleHook(), lr=.3) == pytest.approx(go('c', lr=.15)[6:])
    assert len(told) == 1


def test_only_learning_rates_are_scaled():
    for name, value in (('lr', 1), ('momentum', 2)):
        state = dict(param_name=name, base_values=[2])
        scale_base_rates(state, .5)
        assert state['base_values'] == [value]
    scale_base_rates(dict(param_name='lr'), .5)  # of a schedule by metric


@pytest.mark.parametrize('kind,offset,found,mask,words,times', [
    ('dksan', 2., 2., 0.5, '', 0),
    ('dksan', 60., 60., 0.5, 'mean absolute alignment offset is 60 pixels', 4),
    ('dksan', 2., 2., 0.05, "The alignment's mean mask is 0.05", 1),
    ('edvr', 2., 2., 0.05, "The alignment's mean mask is 0.05", 1),
    ('basicvsr', 60., 10., 0.5, '', 0),
])  # yapf: disable
def test_the_alignment_is_watched(tmp_path, monkeypatch, kind, offset, found,
                                  mask, words, times):
    """Its offsets and masks are logged, not those of DKSAN's deformable
    kernels; what looks wrong is warned of."""

    class Aligned(Line):

        def __init__(self):
            super().__init__()
            self.net = make_network(kind)
            for module in self.net.modules():
                if isinstance(module, ModulatedDeformConv2d):
                    *_, last = module.conv_offset.modules()
                    nn.init.zeros_(last.weight)
                    offsets, masks = last.bias.data.tensor_split(
                        [len(last.bias) * 2 // 3])
                    offsets.fill_(offset)
                    masks.fill_(torch.tensor(mask).logit())

        def forward(self, x, mode='tensor'):
            if mode == 'loss':
                with torch.no_grad():
                    self.net(torch.rand(1, 3, 3, 8, 12))
            return super().forward(x, mode)

    told = []
    monkeypatch.setattr('dksan_mm.engine.health_hook.print_log',
                        lambda text, *args: told.append(text))
    runner = train(
        tmp_path, model=Aligned, hooks=[HealthHook(offset_interval=2)])
    for name, value in (('offset', found), ('mask', mask)):
        logged = runner.message_hub.log_scalars[f'train/alignment_{name}']
        assert len(logged.data[0]) == 4
        assert logged.current() == pytest.approx(value)
    assert len(told) == times
    assert all(words in text for text in told)


@pytest.mark.parametrize('change', [dict(max_iters=8), dict(lr=.3)])
def test_the_configs_schedule_holds_on_resuming(tmp_path, change):
    """As if it had been the schedule from the beginning."""
    train(tmp_path / 'a', max_iters=4, hooks=[ScheduleHook()])
    change = {'max_iters': 8, **change}
    resumed = train(
        tmp_path / 'a', hooks=[ScheduleHook()], **{
            **change, 'max_iters': 6
        })
    rates = [s.state_dict()['base_values'] for s in resumed.param_schedulers]
    assert rates[0][0] == change.get('lr', .1)
    undisturbed = train(tmp_path / 'b', **{**change, 'max_iters': 6})
    assert resumed.optim_wrapper.get_lr() == undisturbed.optim_wrapper.get_lr()


def test_the_schedules_of_several_optimizers_hold_on_resuming():

    def make(lr, steps):
        wrappers = {
            name: OptimWrapper(SGD(nn.Linear(1, 1).parameters(), lr=lr * i))
            for i, name in enumerate('ab', 1)
        }
        schedulers = {
            name: [LinearLR(wrapper, .1, end=9, by_epoch=False)]
            for name, wrapper in wrappers.items()
        }
        for scheduler, in list(schedulers.values()) * steps:
            scheduler.step()
        return SimpleNamespace(
            optim_wrapper=OptimWrapperDict(**wrappers),
            param_schedulers=schedulers,
            iter=0,
            message_hub=SimpleNamespace(get_info=lambda key, value: value))

    hook, resumed, earlier = ScheduleHook(), make(.3, 0), make(.1, 4)
    hook.after_load_checkpoint(resumed, {})
    resumed.optim_wrapper.load_state_dict(earlier.optim_wrapper.state_dict())
    for name, (scheduler, ) in resumed.param_schedulers.items():
        scheduler.load_state_dict(
            earlier.param_schedulers[name][0].state_dict())
    resumed.iter = 4
    hook.before_train(resumed)
    assert resumed.optim_wrapper.get_lr() == make(.3, 4).optim_wrapper.get_lr()


def test_a_damaged_or_copied_folder(tmp_path):
    folder = tmp_path / 'a'
    train(folder, max_keep_ckpts=3)
    copied = tmp_path / 'b'
    shutil.copytree(folder, copied)
    assert find_checkpoint(str(copied)) == str(copied / 'iter_8.pth')
    (copied / 'iter_8.pth').write_bytes(b'')
    assert find_checkpoint(str(copied)) == str(copied / 'iter_6.pth')
    (copied / 'last_checkpoint').write_bytes(b'')
    assert find_checkpoint(str(copied)) == str(copied / 'iter_6.pth')
    for name in ('iter_4.pth', 'iter_6.pth'):
        (copied / name).write_bytes(b'')
    with pytest.raises(ValueError, match='whole checkpoint to resume from'):
        find_checkpoint(str(copied))
    assert find_checkpoint(str(tmp_path / 'none')) is None


def test_checkpoints_beside_the_work_folder(tmp_path):
    """Where CheckpointHook's out_dir has them, else in the work folder."""
    work, out = str(tmp_path / 'work') + '/', str(tmp_path / 'out')
    train(work, max_iters=2)
    assert find_checkpoint(work, out) == f'{work}iter_2.pth'
    train(work, max_iters=4, out_dir=out)
    assert find_checkpoint(work, out) == f'{out}/work/iter_4.pth'
    assert find_checkpoint(work,
                           's3://bucket') == 's3://bucket/work/iter_4.pth'


def test_nothing_outside_the_folder_is_removed(tmp_path):
    victim = tmp_path / 'victim'
    victim.mkdir()
    train(tmp_path / 'a', max_iters=2)
    path = tmp_path / 'a' / 'iter_2.pth'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['message_hub']['runtime_info'].update(
        best_ckpt=str(victim), keep_ckpt_ids=['../../victim'])
    torch.save(checkpoint, path)
    train(tmp_path / 'a')
    assert victim.is_dir()


def test_no_checkpoint_of_weights_that_are_not_finite(tmp_path):
    """Whatever saves: here nothing looks at the loss before."""

    class Spoil(Hook):
        priority = 'VERY_HIGH'

        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 5:
                runner.model.layer.bias.data.fill_(float('nan'))

    with pytest.raises(DivergenceError, match='after iteration 6 must be fin'):
        train(tmp_path, hooks=[Spoil()])
    assert find_checkpoint(str(tmp_path)).endswith('iter_4.pth')


def test_published_checkpoints_are_whole(tmp_path, monkeypatch):
    train(tmp_path / 'a', published_keys=['state_dict'])
    name, = (
        name for name in os.listdir(tmp_path / 'a')
        if name.startswith('iter_8-'))
    found = torch.load(tmp_path / 'a' / name, weights_only=True)
    assert list(found) == ['state_dict']
    whole = load_checkpoint_file(str(tmp_path / 'a/iter_8.pth'))
    assert found['state_dict']['layer.weight'].equal(
        whole['state_dict']['layer.weight'])

    def killed(old, new):
        if 'iter_8-' in str(new):
            raise KeyboardInterrupt
        return replace(old, new)

    replace = os.replace
    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'b', published_keys=['state_dict'])
    assert not [
        name for name in os.listdir(tmp_path / 'b')
        if name.startswith('iter_8-') and name.endswith('.pth')
    ]


def test_a_loss_that_is_lost_stops(tmp_path):
    with pytest.raises(DivergenceError, match='at most 1e.06, found'):
        train(tmp_path, lr=1e9, hooks=[HealthHook()])
