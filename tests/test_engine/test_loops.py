"""Resuming a training without reading what is behind it."""
from unittest.mock import MagicMock

from raw_material import write_dataset
from torch.utils.data import DataLoader

from dksan_mm.datasets import SeededInfiniteSampler, VideoSRDataset
from dksan_mm.engine import ResumableTrainLoop


class CountingDataset(VideoSRDataset):
    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return index


class RecordingLoop(ResumableTrainLoop):

    def run_iter(self, batch):
        self.batches.append(batch.tolist())
        self._iter += 1


def run_loop(folder, done, max_iters=5):
    """Run from iteration ``done``; return the batches and the reads."""
    dataset = CountingDataset(
        data_root=str(folder),
        data_prefix=dict(img='train/BIx2', gt='train/GT'),
        scale=2,
        pipeline=[])
    dataloader = DataLoader(
        dataset, batch_size=4, sampler=SeededInfiniteSampler(dataset, seed=0))
    runner = MagicMock(val_loop=None)
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
