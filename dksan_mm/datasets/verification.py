"""Verifies a finished data set frame by frame."""
import os
import os.path as osp
from typing import Any, Dict, List, NamedTuple

import numpy as np
from mmengine.utils import track_parallel_progress, track_progress

from dksan_mm.utils.faults import told
from dksan_mm.video.storage import (Listing, list_sequence, read_frame,
                                    sequence_digest)
from .layout import lr_folder, read_metadata
from .reduction import reduce_frame


class _Task(NamedTuple):
    root: str
    folder: str
    sequence: str
    scale: int
    record: Dict[str, Any]
    compressed: bool

    def folder_of(self, kind: str) -> str:
        return osp.join(self.root, self.folder, kind)


@told('root')
def verify(root: str, workers: int = 1) -> List[str]:
    """Verify a data set that the converter wrote: the number, names and sizes
    of frames, every LR frame against its HR frame (or, if HR frames were
    compressed first, all files against their SHA-256), the annotations, and
    that there are no other files.

    Args:
        root (str): The data set's folder.
        workers (int): Processes. Default: 1.

    Returns:
        list[str]: A line for each fault, naming the file; empty if there is
        none.

    Raises:
        FileNotFoundError: ``root`` has no metadata: its conversion was not
            finished.
    """
    metadata = read_metadata(root)
    if metadata is None:
        raise FileNotFoundError(
            f'{root} must be a finished data set, found no metadata.json in '
            'it; run the converter (again)')
    tasks = [
        _Task(root, *key.split('/', 1), metadata['scale'], record,
              bool(metadata.get('compression')))
        for key, record in metadata['sequences'].items()
    ]
    faults = _verify_names(root, metadata)
    if workers > 1:
        found = track_parallel_progress(_verify_sequence, tasks,
                                        min(workers, len(tasks)))
    else:
        found = track_progress(_verify_sequence, tasks)
    print()
    return faults + [fault for some in found for fault in some]


def _verify_names(root: str, metadata: Dict[str, Any]) -> List[str]:
    """Check annotations, and that there is no sequence without a record."""
    faults = []
    records = metadata['sequences']
    for split, folder in metadata['splits'].items():
        path = osp.join(root, f'meta_info_{split}.txt')
        if not osp.isfile(path):
            faults.append(f'{path}: missing')
            continue
        with open(path) as file:
            lines = [line.split() for line in file if line.strip()]
        for line in lines:
            record = records.get(f'{folder}/{line[0]}')
            if record is None or line[1:] != [str(record['frames'])]:
                faults.append(f'{path}: "{" ".join(line)}", but metadata.json '
                              f'has {record and record["frames"]} frames')
    for folder in sorted(set(metadata['splits'].values())):
        for kind in ('GT', lr_folder(metadata['scale'])):
            path = osp.join(root, folder, kind)
            names = os.listdir(path) if osp.isdir(path) else []
            for name in sorted(names):
                sequence = name[:-4] if name.endswith('.npy') else name
                if f'{folder}/{sequence}' not in records:
                    faults.append(f'{osp.join(path, name)}: not in '
                                  'metadata.json')
    return faults


def _verify_sequence(task: _Task) -> List[str]:
    """Check one sequence."""
    count = task.record['frames']
    expected = [f'{index:08d}.png' for index in range(count)]
    faults: List[str] = []
    common = set(expected)
    for kind in ('GT', lr_folder(task.scale)):
        try:
            listing: Listing = list_sequence(
                task.folder_of(kind), task.sequence)
        except (OSError, ValueError) as error:
            return faults + [str(error)]
        common &= set(listing.names)
        missing = sorted(set(expected) - set(listing.names))
        extra = sorted(set(listing.names) - set(expected))
        faults += [f'{osp.join(listing.path, n)}: missing' for n in missing]
        faults += [f'{osp.join(listing.path, n)}: too much' for n in extra]
    for name in sorted(common):
        faults += _verify_frame(task, name[:-4])
    if task.compressed and not faults:
        faults += _verify_digests(task)
    return faults


def _verify_digests(task: _Task) -> List[str]:
    """Check a sequence's files against their SHA-256: compressing again with
    another version of x264 may give other bits."""
    return [
        f'{osp.join(task.folder_of(kind), task.sequence)}: not as the '
        'converter wrote it, by the SHA-256 of its files'
        for kind, digest in task.record['sha256'].items()
        if sequence_digest(task.folder_of(kind), task.sequence) != digest
    ]


def _verify_frame(task: _Task, frame: str) -> List[str]:
    """Check one frame's sizes, and its LR against its HR frame."""
    gt, lr = task.folder_of('GT'), task.folder_of(lr_folder(task.scale))
    try:
        hr = read_frame(gt, task.sequence, frame)
        found = read_frame(lr, task.sequence, frame)
    except ValueError as error:
        return [str(error)]
    name = osp.join(gt, task.sequence, frame)
    size = task.record['height'], task.record['width']
    if hr.shape[:2] != size:
        return [
            f'{name}: {hr.shape[1]}x{hr.shape[0]} instead of '
            f'{size[1]}x{size[0]}'
        ]
    expected = reduce_frame(hr, task.scale)
    name = osp.join(lr, task.sequence, frame)
    if found.shape != expected.shape:
        return [
            f'{name}: {found.shape[1]}x{found.shape[0]} instead of '
            f'{expected.shape[1]}x{expected.shape[0]}'
        ]
    if task.compressed:
        return []
    difference = np.abs(found.astype(int) - expected).max()
    if difference:
        return [
            f'{name}: not the reduction of its HR frame, differs by up to '
            f'{difference} grey levels'
        ]
    return []
