"""Converts videos and frames to data sets in MMagic's layout."""
import hashlib
import logging
import os
import os.path as osp
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import tee
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np
from mmengine.logging import print_log
from mmengine.utils import ProgressBar, track_progress

import dksan_mm
from dksan_mm.utils.faults import told
from dksan_mm.utils.files import OutputError, output_error, write_whole
from dksan_mm.utils.locking import RunLock
from dksan_mm.video.clips import Clip, read_clip
from dksan_mm.video.compression import compress
from dksan_mm.video.folders import check_exists, list_frames
from dksan_mm.video.storage import (WRITERS, list_sequence, memmap_path,
                                    sequence_digest)
from .layout import Settings, lr_folder, read_json, read_metadata, to_json
from .reduction import MIN_LR_SIZE, crop_frame, reduce_frame
from .splits import MIN_FRAMES, Splits

# records of finished sequences, while others are in progress
_RECORDS = '.conversion'
# bytes at a source's ends that its fingerprint is made of
_END_BYTES = 2**20
# locks that a worker holds until its end
_HELD: List[RunLock] = []


class _Task(NamedTuple):
    clip: Clip
    out: str
    folder: str  # the split's
    sequence: str
    settings: Settings
    origin: Dict[str, Any]  # which frames of which source

    @property
    def key(self) -> str:
        return f'{self.folder}/{self.sequence}'

    @property
    def kinds(self) -> Sequence[str]:
        return 'GT', lr_folder(self.settings.scale)

    @property
    def record(self) -> str:
        return osp.join(self.out, _RECORDS, self.folder,
                        f'{self.sequence}.json')

    @property
    def origin_file(self) -> str:
        """File that names the source of the frames that are there."""
        return f'{self.record}.origin'

    def folder_of(self, kind: str) -> str:
        return osp.join(self.out, self.folder, kind)


@told('out')
def convert(out: str,
            splits: Splits,
            settings: Settings,
            workers: int = 1,
            min_frames: int = MIN_FRAMES) -> None:
    """Write HR frames, LR frames and annotations in MMagic's layout::

        <out>/<split>/GT/<sequence>/00000000.png      HR
        <out>/<split>/BIx16/<sequence>/00000000.png   LR
        <out>/meta_info_<split>.txt                   "<sequence> <frames>"
        <out>/metadata.json                           how it was made

    or, instead of folders of PNGs, ``<sequence>.npy``. If the split ``test``
    has the same frames as ``val``, it shares the folder of ``val``; if there
    is no ``test``, its annotation is a copy of ``val``'s.

    Finished work is kept: call this again to continue a run that was stopped
    for whatever reason. A sequence that was made from other frames is
    converted anew. Every file is complete when it gets its name.
    Annotations, without which no data set loads, are written last.

    Args:
        out (str): Folder to write.
        splits (dict): Maps a split to its sequences and the places of their
            frames.
        settings (Settings): Name, scale, crop and storage.
        workers (int): Processes. Default: 1.
        min_frames (int): Minimum length of a sequence. Default: 7, one window.

    Raises:
        FileNotFoundError: A source does not exist.
        FileExistsError: ``out`` holds something else, or a data set made
            with other settings.
        OutputError: The disk is full or read-only.
        ValueError: A setting has a value that is not allowed; or a source
            breaks a rule of :func:`~dksan_mm.video.clips.read_clip`, is
            smaller than 16 LR pixels on a side, or is shorter than
            ``min_frames``.
    """
    settings.check()
    with _alone(out):
        _convert(out, splits, settings, workers, min_frames)


@contextmanager
def _alone(out: str) -> Iterator[None]:
    """Wait for other runs that write the data set, and keep them out."""
    path = _lock_path(out)
    lock = RunLock(path)
    try:
        os.makedirs(osp.dirname(osp.abspath(out)), exist_ok=True)
        if not lock.acquire():
            print_log(
                f'{out}: another run writes it ({lock.owner}); this one '
                'waits for its end', 'current', logging.WARNING)
            lock.acquire(wait=True)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        lock.release(remove=True)


def _lock_path(out: str) -> str:
    return f'{osp.normpath(out)}.lock'


def _convert(out: str, splits: Splits, settings: Settings, workers: int,
             min_frames: int) -> None:
    folders = _folders(splits)
    tasks = [
        _Task(clip, out, split, sequence, settings, _origin(clip))
        for split, clips in splits.items() if folders[split] == split
        for sequence, clip in clips.items()
    ]
    done = _start(out, tasks, settings)
    todo = [task for task in tasks if task.key not in done]
    run = _Convert(min_frames)
    if todo:
        records = (
            _run_parallel(run, todo, min(workers, len(todo)))
            if workers > 1 else track_progress(run, todo))
        print()
        done.update(zip((task.key for task in todo), records))
    _finish(out, splits, folders, settings, done)


def _run_parallel(run: '_Convert', todo: List[_Task],
                  workers: int) -> List[dict]:
    """Convert sequences in several processes.

    Raises:
        OutputError: A process was killed.
    """
    bar = ProgressBar(len(todo))
    with ProcessPoolExecutor(
            workers,
            initializer=_begin_worker,
            initargs=(_lock_path(todo[0].out), os.getpid())) as pool:
        futures = [pool.submit(run, task) for task in todo]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BrokenProcessPool as error:
            raise OutputError(
                'a process that converts was killed, as the system does '
                'when memory is short; finished files are kept: run the same '
                'command again, with fewer --workers') from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _begin_worker(lock: str, parent: int) -> None:
    """Let a worker hold a part of the lock, and end when its parent is gone.
    """
    _HELD.append(RunLock(lock))
    _HELD[-1].join()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _folders(splits: Splits) -> Dict[str, str]:
    """Return each split's folder: its own, except that a test split with val's
    frames uses val's."""
    folders = {split: split for split in splits}
    if 'val' in splits and splits.get('test') == splits['val']:
        folders['test'] = 'val'
    return folders


def _start(out: str, tasks: Sequence[_Task],
           settings: Settings) -> Dict[str, dict]:
    """Prepare the folder; return the records of the sequences that are already
    complete."""
    earlier = read_metadata(out)
    in_progress = osp.join(out, _RECORDS, 'settings.json')
    expected = settings.metadata()
    if earlier is None and osp.isfile(in_progress):
        earlier = read_json(in_progress)
    if earlier is None:
        if osp.isdir(out) and os.listdir(out):
            raise FileExistsError(
                f'{out} must be new, empty or a data set of this tool, found '
                f'{len(os.listdir(out))} entries and no metadata.json; '
                'remove it or choose another folder')
    for key in expected:
        if earlier is not None and earlier.get(key) != expected[key]:
            raise FileExistsError(
                f'{out} must be of the same settings to be completed, found '
                f'{key} {earlier.get(key)!r} instead of {expected[key]!r}; '
                'remove it or choose another folder')
    records = dict((earlier or {}).get('sequences', {}))
    strange = sorted(key
                     for key in records.keys() - {task.key
                                                  for task in tasks}
                     if key.split('/')[0] in {task.folder
                                              for task in tasks})
    if strange:
        raise FileExistsError(
            f'{out} must be of the same sequences to be completed, found '
            f'{strange[0]} there, which is not among the sources; remove it '
            'or choose another folder')
    write_whole(in_progress, to_json(expected))
    for task in tasks:
        if osp.isfile(task.record):
            try:
                records[task.key] = read_json(task.record)
            except ValueError:  # damaged: convert the sequence again
                records.pop(task.key, None)
    done = {}
    for task in tasks:
        record = records.get(task.key)
        if not record:
            continue
        # earlier versions stored no fingerprint
        if {**task.origin, **record} != {**record, **task.origin}:
            print_log(
                f'{task.key} is converted anew: it was made from other frames '
                f'than those of {task.clip.path} that are asked for now',
                'current', logging.WARNING)
            continue
        write_whole(task.origin_file, to_json(task.origin))
        if _is_whole(task, record):
            done[task.key] = record
        elif _has_all(task, record) or 'fingerprint' not in record:
            # which frames are wrong, or another source's, is not known
            os.remove(task.origin_file)
    return done


def _has_all(task: _Task, record: dict) -> bool:
    """Whether a sequence has as many frames as its record says."""
    try:
        return all(
            len(list_sequence(task.folder_of(kind), task.sequence).names) ==
            record['frames'] for kind in task.kinds)
    except (FileNotFoundError, ValueError):
        return False


def _is_whole(task: _Task, record: dict) -> bool:
    """Whether a sequence's files have the content that its record says."""
    # earlier versions stored no digest
    return _has_all(task, record) and (record.get('sha256')
                                       in (None, _digests(task)))


def _digests(task: _Task) -> Dict[str, str]:
    return {
        kind: sequence_digest(task.folder_of(kind), task.sequence)
        for kind in task.kinds
    }


def _origin(clip: Clip) -> Dict[str, Any]:
    return dict(
        source=osp.basename(osp.normpath(clip.path)),
        first_frame=clip.start,
        stop=clip.stop,
        fingerprint=_fingerprint(clip))


def _fingerprint(clip: Clip) -> str:
    """Return a digest of the sizes of a source's files, and of the beginning
    and end of the first and the last one: a moved or copied source keeps it,
    and it is quick to get."""
    check_exists(clip.path)
    paths = [clip.path]
    if osp.isdir(clip.path):
        names = list_frames(clip.path)[clip.start:clip.stop]
        paths = [osp.join(clip.path, name) for name in names]
    sizes = [osp.getsize(path) for path in paths]
    digest = hashlib.sha256(repr(sizes).encode())
    for path in paths[:1] + paths[-1:]:
        with open(path, 'rb') as file:
            digest.update(file.read(_END_BYTES))
            file.seek(max(0, osp.getsize(path) - _END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


class _Convert:
    """Writes one sequence; returns its record."""

    def __init__(self, min_frames: int) -> None:
        self.min_frames = min_frames

    def __call__(self, task: _Task) -> dict:
        settings = task.settings
        kinds = task.kinds
        self._clear(task, kinds)
        writers = [
            WRITERS[settings.storage](task.folder_of(kind), task.sequence)
            for kind in kinds
        ]
        try:
            size = self._write(task, writers)
            for writer in writers:
                writer.close()
        except BaseException:
            for writer in writers:
                writer.abort()
            raise
        record = dict(
            frames=writers[0].count,
            width=size[1],
            height=size[0],
            sha256=_digests(task),
            **task.origin)
        write_whole(task.record, to_json(record))
        return record

    @staticmethod
    def _clear(task: _Task, kinds: Sequence[str]) -> None:
        """Remove frames from another source; keep those that a stopped run has
        written."""
        expected = to_json(task.origin)
        if osp.isfile(task.origin_file):
            with open(task.origin_file, 'rb') as file:
                if file.read() == expected:
                    return
        for kind in kinds:
            folder = task.folder_of(kind)
            shutil.rmtree(osp.join(folder, task.sequence), ignore_errors=True)
            if osp.exists(memmap_path(folder, task.sequence)):
                os.remove(memmap_path(folder, task.sequence))
        write_whole(task.origin_file, expected)

    def _write(self, task: _Task, writers: List[Any]) -> Sequence[int]:
        """Write the frames; return the HR frames' shape."""
        settings = task.settings
        path, start = task.clip.path, task.clip.start
        frames, reduced = tee(self._read(task))
        if settings.crf is not None:
            reduced = compress(reduced, settings.crf)
        # compressed frames lag behind, so they are requested first
        for source, hr in zip(reduced, frames):
            for writer, image in zip(
                    writers, (hr, reduce_frame(source, settings.scale))):
                writer.write(image)
        count = writers[0].count
        if count < self.min_frames and not task.clip.exact:
            raise ValueError(
                f'{path} must have at least {self.min_frames} frames, one '
                f'window, from number {start} on, found {count}; use a '
                'longer video')
        return hr.shape

    @staticmethod
    def _read(task: _Task) -> Iterator[np.ndarray]:
        """Yield the HR frames, cropped."""
        scale, least = task.settings.scale, MIN_LR_SIZE * task.settings.scale
        for frame in read_clip(task.clip):
            height, width = frame.shape[:2]
            if min(height, width) < least:
                raise ValueError(
                    f'{task.clip.path} must be at least {least} pixels wide '
                    f'and high, found {width}x{height}; use a larger video')
            yield crop_frame(frame, scale, task.settings.crop)


def _finish(out: str, splits: Splits, folders: Dict[str, str],
            settings: Settings, records: Dict[str, dict]) -> None:
    """Write annotations and metadata, and remove the files that only resuming
    needs."""
    annotations = dict(folders)
    if 'val' in folders:
        annotations.setdefault('test', folders['val'])
    for split, folder in annotations.items():
        names = splits[split] if split in splits else splits['val']
        lines = [
            f'{name} {records[f"{folder}/{name}"]["frames"]}\n'
            for name in names
        ]
        write_whole(
            osp.join(out, f'meta_info_{split}.txt'), ''.join(lines).encode())
    metadata = dict(
        settings.metadata(),
        tool=f'dksan_mm {dksan_mm.__version__}',
        splits=annotations,
        sequences=dict(sorted(records.items())))
    earlier = read_metadata(out) or {}
    for key in ('splits', 'sequences'):
        metadata[key] = {**earlier.get(key, {}), **metadata[key]}
    write_whole(osp.join(out, 'metadata.json'), to_json(metadata))
    shutil.rmtree(osp.join(out, _RECORDS), ignore_errors=True)
