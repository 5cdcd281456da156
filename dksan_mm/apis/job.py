"""A video to restore: its settings, its segments, its state on disk."""
import hashlib
import os
import os.path as osp
from dataclasses import asdict
from fractions import Fraction
from functools import cached_property
from typing import Any, Callable, Dict, List, Optional, Tuple

import av
import numpy as np
import torch
from mmagic.models import BaseEditModel
from mmengine.logging import print_log
from torch import nn

import dksan_mm
from dksan_mm.utils.files import file_sha256
from dksan_mm.utils.precision import DTYPES, has_short_copy, self_test
from dksan_mm.video.folders import check_exists
from dksan_mm.video.probing import probe, simple_rate
from dksan_mm.video.source import SourceInfo, cut_source
from .comparison import Comparison
from .network import find_generator
from .options import RestoreOptions
from .outputs import (FolderOutput, Output, Segment, VideoOutput,
                      is_video_path, restored_frame, split_segments)
from .resizing import Resizing
from .resume_folder import ResumeFolder
from .window_restorer import WindowRestorer

# a frame in a millisecond, the unit of Matroska's times
_MOST_FPS = 1000
# files can hold a frame per few days; less than one an hour is a typing error
_LEAST_FPS = Fraction(1, 3600)


class Job:
    """A video to restore, with checked arguments. See
    :func:`dksan_mm.apis.restore_video` for these and for the errors, and
    :func:`probe` for ``decode``.

    Attributes:
        info (SourceInfo): The source, or the part of it to restore.
        first_time (int): Time of the whole source's first frame, in units of
            ``info.time_base``.
        restorer (WindowRestorer): What restores it.
        outputs (list[Output]): Everything to write: the output, and with
            ``compare`` the comparison.
        segments (list[Segment]): All segments of the video.
        finished (bool): Whether the outputs are complete.
        was_there (bool): Whether they were complete when the run began.
    """

    def __init__(self,
                 model: BaseEditModel,
                 source: str,
                 output: str,
                 options: RestoreOptions,
                 decode: bool = False) -> None:
        source, output = os.fspath(source), _real_place(os.fspath(output))
        network = options.network()
        self.model = model
        self.options = options
        self.info = probe_source(source, options, decode)
        self.first_time = self.info.times[0]
        if options.part() != (0, None):
            self.info = cut_source(self.info, *options.part())
        self.restorer = WindowRestorer(model, network)
        self._resizing = None
        if options.size() != (None, None):
            self._resizing = Resizing(self.info, self.restorer.scale,
                                      *options.size())
        self.finished = self.was_there = False
        self._partial = ResumeFolder(output)
        self._encoder = options.encoding(output)
        self._choices = {
            **vars(network),
            'compare': options.compare,
            'part': [str(value) for value in options.part()],
            'size': options.size(),
            'device': None,  # 'hardware' names its kind
            'tile': None  # the tile in use is stored separately, below
        }
        self.use_batch(network.batch)
        self.outputs = [self._output(output)]
        if options.compare is not None:
            self.outputs.append(self._comparison(options.compare, output))
        check_places(source, [output.path for output in self.outputs])

    def _output(self, output: str) -> Output:
        if not is_video_path(output):
            _, _, draw = self._sized(self.info, restored_frame)
            return FolderOutput(output, self._partial, self.info, draw)
        return self._video(output, 'segment', self.info, restored_frame)

    def _video(self, output: str, name: str, info: SourceInfo,
               draw: Callable) -> VideoOutput:
        """Return a video output for frames that ``draw`` makes, as large as
        ``info``'s frames times the scale, or reduced from that."""
        info, scale, draw = self._sized(info, draw)
        return VideoOutput(output, self._partial, name, info, scale,
                           self._encoder, draw)

    def _sized(self, info: SourceInfo,
               draw: Callable) -> Tuple[SourceInfo, int, Callable]:
        """Return the description of an output of the requested size, its
        scale, and the function that draws its frames."""
        resizing = self._resizing
        if resizing is None:
            return info, self.restorer.scale, draw
        smaller = resizing.describe(info)

        def draw_smaller(source: np.ndarray,
                         restored: np.ndarray) -> np.ndarray:
            return resizing.draw(draw(source, restored), smaller)

        return smaller, 1, draw_smaller

    def _comparison(self, mode: str, output: str) -> Output:
        stem, suffix = osp.splitext(osp.normpath(output))
        if not is_video_path(output):
            stem, suffix = osp.normpath(output), '.mkv'
        comparison = Comparison(mode, self.info, self.restorer.scale,
                                type(self.model).__name__,
                                device_of(self.model))
        return self._video(f'{stem}_compare{suffix}', 'compare',
                           comparison.info, comparison.draw)

    def use_batch(self, batch: int) -> None:
        """Restore this many windows at once, in segments of whole batches."""
        self.restorer.use_batch(batch)
        # batches begin where a segment does, wherever a run is resumed
        segment = -(-self.options.segment // batch) * batch
        self.segments = split_segments(self.info.num_frames, segment)
        self._choices.update(batch=batch, segment=segment)

    def choose_batch(self) -> int:
        """Choose how many windows to restore at once, unless the options name
        a batch, and log it. A resumed run keeps its batch."""
        if self.options.batch is None:
            begun = self._partial.begun_with() if self.options.resume else {}
            batch = begun.get('options', {}).get('batch')
            if isinstance(batch, int) and batch > 0:
                found = f'goes on with batch {batch}' if batch > 1 else None
            else:
                info = self.info
                found = self.restorer.choose_batch(info.height, info.width,
                                                   info.num_frames)
                batch = self.restorer.batch
            if found is not None:
                print_log(f'{self.outputs[0].path}: {found}', 'current')
            self.use_batch(batch)
        return self.restorer.batch

    def begin(self) -> List[Segment]:
        """Prepare the folder of segments; return the segments to restore."""
        resume, overwrite = self.options.resume, self.options.overwrite
        for output in self.outputs:
            output.check()
        self._partial.lock()
        if (resume and self._partial.has_work()
                and self._partial.finish(self._settings)):
            self.finished = True
        elif not overwrite:
            self.finished = self._is_there(resume)
        if self.finished:
            self.was_there = True
            return []
        self._partial.begin(self._settings, resume, overwrite)
        if self._choices['max_memory'] is not None:
            tile = self.tile()
            how = 'whole' if tile is None else f'in tiles of at most {tile}'
            print_log(f'{self.info.path}: frames are restored {how}',
                      'current')
        return [
            segment for segment in self.segments
            if not all(output.has(segment) for output in self.outputs)
        ]

    def join(self) -> None:
        """Keep other runs out while this process works, even if another
        process of the job called :meth:`begin`."""
        self._partial.join()

    def _is_there(self, resume: bool) -> bool:
        """Return whether the outputs are there already.

        Raises:
            ValueError: They exist but should not: this run does not resume, or
                they are not its result.
        """
        there = [
            output for output in self.outputs if osp.isfile(output.path)
            or osp.isdir(output.path) and os.listdir(output.path)
        ]
        if there and not (resume and not self._partial.has_work()
                          and len(there) == len(self.outputs)):
            raise ValueError(
                f'{there[0].path} already exists; choose another output, or '
                'replace it with --overwrite (overwrite=True)')
        for output in there:
            output.check_whole()
        return bool(there)

    def tile(self) -> Optional[int]:
        """Return the side of the tiles, None for whole frames."""
        return self.restorer.tile_for(self.info.height, self.info.width)

    def publish(self) -> None:
        """Make the outputs of the segments, and give them their names."""
        # the main output last: once it is there, all are
        made = [(output.join(self.segments), output.path)
                for output in reversed(self.outputs)]
        self._partial.publish(made, self._settings)
        self.finished = True

    def release(self) -> None:
        """Let other runs go on with this video."""
        self._partial.release()

    @cached_property
    def _settings(self) -> Dict[str, Any]:
        """Return everything that the bits of the segments depend on, after
        choosing the batch."""
        self.choose_batch()
        device = device_of(self.model)
        on_gpu = device.type == 'cuda'
        # PyTorch chooses its kernels by the capability
        name = (
            torch.cuda.get_device_name(device)
            if on_gpu else f'cpu, {torch.backends.cpu.get_cpu_capability()}')
        return dict(
            source=_source_facts(self.info),
            model=_model_facts(self.model),
            tile=self.tile(),
            encoder=asdict(self._encoder),
            options=self._choices,
            hardware=dict(
                name=name,
                threads=None if on_gpu else torch.get_num_threads()),
            software=dict(
                dksan_mm=dksan_mm.__version__,
                torch=torch.__version__,
                av=av.__version__))


def device_of(model: nn.Module) -> torch.device:
    """Return a model's device; the CPU if it has no parameters."""
    return next((parameter.device for parameter in model.parameters()),
                torch.device('cpu'))


def choose_dtype(model: nn.Module,
                 output: str,
                 resume: bool = False,
                 device: Any = None) -> str:
    """Return the dtype that ``'auto'`` means for a job, and log it.

    A resumed run keeps the dtype that it was begun with. Otherwise it is
    'bf16' if the network supports it and a self-test shows that, on this
    device, it is faster and accurate; else 'fp32'.

    Args:
        model (nn.Module): A restorer.
        output (str): Path of the output.
        resume (bool): Whether to continue a stopped run. Default: False.
        device (torch.device or str, optional): Device to test. Default: the
            model's.
    """
    if resume:
        begun = ResumeFolder(_real_place(os.fspath(output))).begun_with()
        dtype = begun.get('options', {}).get('dtype')
        if dtype in DTYPES:
            print_log(f'{output}: goes on with dtype {dtype}', 'current')
            return dtype
    if not has_short_copy(find_generator(model)):
        return 'fp32'
    found = self_test(torch.device(device or device_of(model)))
    print_log(
        f'{output}: dtype {found.dtype} (--dtype) by a self-test: {found}',
        'current')
    return found.dtype


def probe_source(source: str,
                 options: RestoreOptions,
                 decode: bool = False) -> SourceInfo:
    """Return the description of a source; see :func:`probe`."""
    fps = options.fps
    if fps is None:
        return probe(
            source,
            strict=options.strict,
            video_stream=options.video_stream,
            decode=decode)
    try:
        rate = Fraction(fps)
    except (ValueError, OverflowError, ZeroDivisionError):
        rate = Fraction(0)  # rejected below
    if not _LEAST_FPS <= rate <= _MOST_FPS:
        raise ValueError(
            f'fps (--fps) must be a number above 0, at least {_LEAST_FPS} (a '
            f'frame an hour), at most {_MOST_FPS}, got {fps}')
    info = probe(source, simple_rate(rate))
    if info.kind != 'frames':
        raise ValueError('fps (--fps) must be left out for a video, which '
                         f'has its own frame times, got {fps}')
    return info


def _real_place(output: str) -> str:
    """Return the real path of an output, beside which the unfinished one is
    kept: the target of a link, or the folder that ``.`` means."""
    name = osp.normpath(output)
    if osp.islink(name) or osp.basename(name) in ('.', '..'):
        return osp.realpath(name)
    return output


def check_places(source: str, outputs: List[str]) -> None:
    """Check that the source exists, that each output has a folder, and that no
    output is the source.

    Raises:
        FileNotFoundError: There is no source, or no folder for an output.
        ValueError: An output is the source.
    """
    check_exists(source)
    for output in outputs:
        if osp.exists(output) and osp.samefile(source, output):
            raise ValueError(f'OUTPUT must be another file than INPUT, got '
                             f'{output} for both; choose another name')
        folder = osp.dirname(osp.abspath(output))
        if not osp.isdir(folder):
            raise FileNotFoundError(
                f'{output} must be in a folder that exists, found no '
                f'{folder}; make it first')


def _source_facts(info: SourceInfo) -> Dict[str, Any]:
    """Return what identifies a source, wherever it is stored."""
    if info.kind == 'frames':
        digests = [
            file_sha256(osp.join(info.path, name)) for name in info.names
        ]
        digest = hashlib.sha256(''.join(digests).encode()).hexdigest()
    else:
        digest = file_sha256(info.path)
    return dict(
        sha256=digest,
        num_frames=info.num_frames,
        rate=str(info.rate),
        first_frame=info.skip,
        stream=info.stream_index)


def _model_facts(model: nn.Module) -> Dict[str, Any]:
    """Return what identifies a model: network and weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        # as bytes: NumPy has no bfloat16
        value = value.detach().cpu().contiguous().reshape(-1)
        digest.update(value.view(torch.uint8).numpy().data)
    config = getattr(model, 'cfg', None)
    return dict(
        type=type(model).__name__,
        network=str(config.model.generator) if config is not None
        and 'generator' in config.model else type(model.generator).__name__,
        weights_sha256=digest.hexdigest())
