"""Hooks for tests: self-ensemble, restored frames, files of results."""
import os
import os.path as osp
import zlib
from statistics import median
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmengine.dist import all_gather_object, barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from dksan_mm.engine.checkpoint_sources import local_checkpoint
from dksan_mm.results.averages import Frames, average_frames
from dksan_mm.results.files import (DataFacts, Result, remove_result,
                                    write_result)
from dksan_mm.utils.files import file_sha256, write_whole
from dksan_mm.video.storage import encode_png
from .facts import describe_dataset, describe_hardware, describe_software
from .forward_timer import ForwardTimer
from .frame_metric import FrameMetric, join_frames, split_sample, to_rgb
from .sets import sets_of_loop


def _restorer(runner: Runner) -> nn.Module:
    """Return the runner's model without a wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _names(runner: Runner) -> Dict[int, str]:
    """Return the names of the tested data sets, by ``id``."""
    return {
        id(dataset): name
        for name, (_, dataset) in sets_of_loop(runner.test_loop).items()
    }


@HOOKS.register_module()
class SelfEnsembleHook(Hook):
    """Tests with :class:`dksan_mm.models.SelfEnsemble` around the generator.

    It is added after the checkpoint has been loaded, and removed after the
    test, so that checkpoints do not change.

    Args:
        temporal (bool): Whether to use reversed windows as well. Default:
            False.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, temporal: bool = False) -> None:
        self.temporal = temporal

    def before_test(self, runner: Runner) -> None:
        """Wrap the generator."""
        from dksan_mm.models import SelfEnsemble
        restorer = _restorer(runner)
        restorer.generator = SelfEnsemble(restorer.generator, self.temporal)

    def after_test(self, runner: Runner) -> None:
        """Unwrap the generator."""
        restorer = _restorer(runner)
        restorer.generator = restorer.generator.generator


@HOOKS.register_module()
class SaveFramesHook(Hook):
    """Writes restored frames, ``<folder>/<data set>/<sequence>/<frame>.png``,
    8-bit RGB, rounded. Every process writes its own frames.

    Args:
        folder (str): Folder to write to.
        every (int): Write frames whose number is a multiple of this. Default:
            1, all frames.

    Raises:
        ValueError: ``every`` is less than 1.
    """

    priority = 'LOW'

    def __init__(self, folder: str, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f'every must be at least 1, got {every}')
        self.folder = folder
        self.every = every

    def before_test(self, runner: Runner) -> None:
        """Look up the names of the data sets."""
        self._names = _names(runner)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: Any = None,
                        outputs: Optional[Sequence] = None) -> None:
        """Write the batch's frames."""
        name = self._names[id(runner.test_loop.dataloader.dataset)]
        for output in outputs:
            sample = output.to_dict()
            for sequence, frame, _, restored in split_sample(sample):
                if not frame.isdigit() or int(frame) % self.every == 0:
                    write_whole(
                        osp.join(self.folder, name, sequence, f'{frame}.png'),
                        bytes(encode_png(to_rgb(restored, sample))))


@HOOKS.register_module()
class ResultHook(Hook):
    """Collects the results of a test by data set, frame by frame, and writes
    them as NAME.json and NAME.csv of :mod:`dksan_mm.results.files`.

    Values come from metrics derived from
    :class:`dksan_mm.evaluation.frame_metric.FrameMetric`; a data set without
    such a metric has no result. The time per frame is the median time of the
    generator's forward pass, without data, clipping and metrics. All else is
    the same for any number of processes.

    Args:
        folder (str, optional): Folder to write to. Default: None, write
            nothing.
        system (str, optional): Display name. Default: None, the config's
            ``experiment_name``.
        config (str): Path of the config, for the record. Default: ''.

    Attributes:
        results (list[Result]): Results, after the test, in the main process.
        metrics (dict): What the evaluators returned, by name, after the test.
    """

    priority = 'VERY_LOW'

    def __init__(self,
                 folder: Optional[str] = None,
                 system: Optional[str] = None,
                 config: str = '') -> None:
        self.folder = folder
        self.system = system
        self.config = config
        self.results: List[Result] = []
        self.metrics: Dict[str, Any] = {}
        self._checkpoint: Dict[str, Any] = dict(
            checkpoint=None, checkpoint_sha256=None, iterations=None)
        self._crcs: Dict[str, Dict[Tuple[str, str], int]] = {}
        self._seconds: Dict[str, List[float]] = {}

    def before_run(self, runner: Runner) -> None:
        """Check, before anything is tested, that results can be written."""
        for name, (evaluator, _) in sets_of_loop(runner.test_loop).items():
            if self.folder and not any(
                    isinstance(metric, FrameMetric)
                    for metric in evaluator.metrics or []):
                raise ValueError(
                    f'test_evaluator of {name!r} must have a metric by '
                    'sequence for a result to be written, found none; add '
                    "dict(type='SequenceQuality')")
        if self.folder and is_main_process():
            probe = osp.join(self.folder, '.probe')
            write_whole(probe, b'')
            os.remove(probe)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record which checkpoint is tested."""
        path = runner._load_from
        digest = None
        if is_main_process():
            digest = file_sha256(local_checkpoint(path))
        self._checkpoint = dict(
            checkpoint=osp.basename(path),
            checkpoint_sha256=digest,
            iterations=checkpoint.get('meta', {}).get('iter'))

    def before_test(self, runner: Runner) -> None:
        """Remove what an earlier test left in the folder; start timing."""
        self._names = _names(runner)
        if self.folder and is_main_process():
            for name in self._names.values():
                remove_result(self.folder, name)
        barrier()  # before others write frames
        self._timer = ForwardTimer(_restorer(runner).generator)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: Any = None,
                        outputs: Optional[Sequence] = None) -> None:
        """Record the times, and checksums of the ground truth."""
        name = self._names[id(runner.test_loop.dataloader.dataset)]
        self._seconds.setdefault(name, []).extend(self._timer.seconds)
        self._timer.seconds.clear()
        for output in outputs:
            sample = output.to_dict()
            for sequence, frame, gt, _ in split_sample(sample):
                image = to_rgb(gt, sample)
                crc = zlib.crc32(image, zlib.crc32(repr(image.shape).encode()))
                self._crcs.setdefault(name, {})[sequence, frame] = crc

    def after_test_epoch(self,
                         runner: Runner,
                         metrics: Optional[Dict[str, Any]] = None) -> None:
        """Gather the results of all processes, and write them."""
        self.metrics = metrics or {}
        parts = all_gather_object((self._crcs, self._seconds))
        self._timer.close()
        if not is_main_process():
            return
        for name, (evaluator,
                   dataset) in sets_of_loop(runner.test_loop).items():
            frames = join_frames(evaluator.metrics or [])
            if not frames:
                continue
            crcs: Dict[Tuple[str, str], int] = {}
            seconds: List[float] = []
            for part_crcs, part_seconds in parts:
                crcs.update(part_crcs.get(name, {}))
                seconds += part_seconds.get(name, [])
            ordered = b''.join(crcs[key].to_bytes(4, 'big')
                               for key in sorted(crcs))
            facts = describe_dataset(dataset, name,
                                     f'{zlib.crc32(ordered):08x}')
            result = self._result(runner, frames, facts, dataset)
            if seconds:
                result.seconds_per_frame = median(seconds)
            self.results.append(result)
            if self.folder:
                write_result(self.folder, result)

    def _result(self, runner: Runner, frames: Frames, facts: DataFacts,
                dataset: Dataset) -> Result:
        """Return the complete result, except for the time."""
        from dksan_mm.models import SelfEnsemble
        restorer = _restorer(runner)
        generator = restorer.generator
        ensemble = None
        if isinstance(generator, SelfEnsemble):
            ensemble = dict(spatial=8, temporal=generator.temporal)
        stem = osp.splitext(osp.basename(self.config))[0]
        overall, sequences = average_frames(frames)
        return Result(
            system=self.system or runner.cfg.get('experiment_name') or stem
            or type(restorer).__name__,
            named=bool(self.system),
            config=self.config,
            **self._checkpoint,
            dataset=facts,
            scale=dataset.scale,
            parameters=sum(p.numel() for p in generator.parameters()),
            seconds_per_frame=None,
            hardware=describe_hardware(restorer.data_preprocessor.device),
            software=describe_software(),
            self_ensemble=ensemble,
            metrics=overall,
            sequences=sequences,
            frames=frames)
