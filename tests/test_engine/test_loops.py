"""Resuming a training without reading what is behind it."""
from unittest.mock import MagicMock

import pytest
from mmengine.logging import MessageHub
from raw_material import write_dataset
from torch.utils.data import DataLoader

from dksan_mm.datasets import SeededInfiniteSampler, VideoSRDataset
from dksan_mm.engine import ResumableTrainLoop, loops


class CountingDataset(VideoSRDataset):
    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return index + 10**6 * self.augmentation_seed


class RecordingLoop(ResumableTrainLoop):

    def run_iter(self, batch):
        self.batches.append(batch.tolist())
        self._iter += 1


def run_loop(folder, done, max_iters=5, seed=0, hub=None, **loader):
    """Run from iteration ``done``; return the batches and the reads."""
    dataset = CountingDataset(
        data_root=str(folder),
        data_prefix=dict(img='train/BIx2', gt='train/GT'),
        scale=2,
        pipeline=[])
    dataloader = DataLoader(
        dataset,
        batch_size=4,
        sampler=SeededInfiniteSampler(dataset, seed=seed),
        **loader)
    runner = MagicMock(val_loop=None, message_hub=hub or MessageHub('loops'))
    runner.build_dataloader.return_value = dataloader
    loop = RecordingLoop(runner, dict(), max_iters=max_iters)
    loop.batches, loop._iter = [], done
    loop.run()
    return loop.batches, dataset.reads


def test_resumed_loop_reads_only_what_is_ahead(tmp_path):
    write_dataset(tmp_path, dict(train={'000': 9}))
    whole, reads = run_loop(tmp_path, 0)
    assert len(whole) == 5 and reads == 20
    resumed, reads = run_loop(tmp_path, 3)
    assert resumed == whole[3:] and reads == 8


@pytest.mark.parametrize(
    'loader', [dict(), dict(num_workers=1, persistent_workers=True)])
def test_resumed_loop_has_the_seed_of_its_checkpoint(tmp_path, loader):
    """Even if the config has another one, or none: same windows, crops and
    flips."""
    write_dataset(tmp_path, dict(train={'000': 9}))
    hub = MessageHub('checkpoint')
    whole, _ = run_loop(tmp_path, 0, seed=3, hub=hub)
    resumed, _ = run_loop(tmp_path, 3, seed=4, hub=hub, **loader)
    assert resumed == whole[3:]


def test_processes_that_found_different_checkpoints(tmp_path, monkeypatch):
    """As where the second machine does not see the work folder."""
    write_dataset(tmp_path, dict(train={'000': 9}))
    monkeypatch.setattr(loops, 'all_gather_object', lambda data: [data, 0])
    with pytest.raises(OSError, match='storage that all machines share'):
        run_loop(tmp_path, 3)
    assert len(run_loop(tmp_path, 0)[0]) == 5
