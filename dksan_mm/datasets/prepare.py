"""Videos and folders of frames made into a data set of LR and HR frames."""
import itertools
import json
import os
import os.path as osp
import re
import shutil
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

import mmcv
import numpy as np
from mmagic.datasets.transforms import MATLABLikeResize
from mmengine.utils import track_parallel_progress, track_progress

import dksan_mm

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')
# the least LR side, and the least number of frames: one window
MIN_LR_SIZE = 16
MIN_FRAMES = 7


class Clip(NamedTuple):
    """A span of a video, or of a folder of frames: frames from ``start`` to
    before ``stop``."""
    path: str
    start: int = 0
    stop: Optional[int] = None


class _Task(NamedTuple):
    clip: Clip
    folder: str  # of the split
    sequence: str
    scale: int


def hold_out(paths: Sequence[str],
             max_frames: Optional[int] = None,
             max_val_frames: Optional[int] = None) -> Dict[str, List[Clip]]:
    """Split videos into those to train on and one to validate and test on.

    The last is held out; a single one is split into its first three quarters
    and its last quarter.

    Args:
        paths (Sequence[str]): Videos or folders of frames, at least one.
        max_frames (int, optional): Train on the first so many frames of
            each. Default: None, all.
        max_val_frames (int, optional): Likewise, to validate.
            Default: None, all.

    Returns:
        dict: ``train`` and ``val``, for :func:`prepare_videos`.
    """
    if not paths:
        raise ValueError('paths must name at least one video, found none')
    if len(paths) > 1:
        return dict(
            train=[Clip(path, 0, max_frames) for path in paths[:-1]],
            val=[Clip(paths[-1], 0, max_val_frames)])
    path = paths[0]
    _check_exists(path)
    frames = sum(1 for _ in read_frames(path))
    split = frames - frames // 4
    if frames - split < MIN_FRAMES:
        raise ValueError(
            f'{path} must have at least {4 * MIN_FRAMES} frames to be split '
            f'into three quarters and one, found {frames}; use a longer video '
            'or a second one')
    train, val = split, frames - split
    return dict(
        train=[Clip(path, 0, min(train, max_frames or train))],
        val=[Clip(path, split, split + min(val, max_val_frames or val))])


def prepare_videos(out: str,
                   sources: Dict[str, Sequence[Clip]],
                   scale: int = 16,
                   workers: int = 1) -> None:
    """Write HR frames, LR frames and annotations in MMagic's layout.

    HR frames are cropped at the bottom and right to a multiple of ``scale``
    (1080 rows become 1072 at x16). LR frames are MATLAB's bicubic reduction
    of them (MMagic's MATLABLikeResize), rounded to 8 bits. What was done
    stands in ``metadata.json``. The folder gets its name when it is complete.

    Args:
        out (str): Folder to write; must not exist or be empty.
        sources (dict): Split (``train``, ``val``) to :class:`Clip` of videos,
            or of folders of frames in the order of their names. A sequence is
            named after its source.
        scale (int): Default: 16.
        workers (int): Processes. Default: 1.

    Raises:
        FileNotFoundError: A source does not exist.
        FileExistsError: ``out`` is not empty.
        ValueError: A source cannot be read, is smaller than 16 LR pixels on a
            side or shorter than 7 frames, or changes its size.
    """
    if osp.isdir(out) and os.listdir(out):
        raise FileExistsError(f'{out} must not exist or be empty, found '
                              f'{len(os.listdir(out))} entries; remove it or '
                              'choose another folder')
    partial = f'{osp.normpath(out)}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    tasks = [
        _Task(clip, osp.join(partial, split), name, scale)
        for split, clips in sources.items()
        for clip, name in zip(clips, _sequence_names(clips))
    ]
    if not tasks:
        raise ValueError('sources must name at least one video, found none')
    if workers > 1:
        counts = track_parallel_progress(_write_sequence, tasks,
                                         min(workers, len(tasks)))
    else:
        counts = track_progress(_write_sequence, tasks)
    print()
    _write_annotations(partial, tasks, counts)
    if osp.isdir(out):
        os.rmdir(out)
    os.rename(partial, out)


def _check_exists(path: str) -> None:
    if not osp.exists(path):
        raise FileNotFoundError(
            f'{path} must be a video or a folder of frames, found nothing '
            'there; check the path')


def _sequence_names(clips: Sequence[Clip]) -> List[str]:
    """Return a folder name for each source, all different."""
    names: List[str] = []
    for clip in clips:
        _check_exists(clip.path)
        stem = osp.splitext(osp.basename(osp.normpath(clip.path)))[0]
        stem = re.sub(r'\W+', '_', stem)
        name, number = stem, 1
        while name in names:
            number += 1
            name = f'{stem}_{number}'
        names.append(name)
    return names


def read_frames(source: str) -> Iterator[np.ndarray]:
    """Yield the frames of a video or of a folder, (H, W, 3) uint8, BGR.

    Raises:
        ValueError: There is no frame, or one cannot be decoded.
    """
    if osp.isdir(source):
        names = sorted(
            name for name in os.listdir(source)
            if name.lower().endswith(IMAGE_SUFFIXES))
        frames = ((osp.join(source, name), mmcv.imread(osp.join(source, name)))
                  for name in names)
    else:
        frames = ((source, frame) for frame in mmcv.VideoReader(source))
    empty = True
    for path, frame in frames:
        if frame is None:
            raise ValueError(f'{path} must be readable, found a frame that '
                             'cannot be decoded; restore the file')
        empty = False
        yield frame
    if empty:
        raise ValueError(
            f'{source} must be a video, or a folder of frames '
            f'({", ".join(IMAGE_SUFFIXES)}), found no frame in it')


def _write_sequence(task: _Task) -> int:
    """Write one sequence; return the number of its frames."""
    resize = MATLABLikeResize(keys=['image'], scale=1 / task.scale)
    source, start, stop = task.clip
    size = None
    count = 0
    for frame in itertools.islice(read_frames(source), start, stop):
        if size is None:
            size = frame.shape
            if min(size[:2]) < MIN_LR_SIZE * task.scale:
                raise ValueError(
                    f'{source} must be at least '
                    f'{MIN_LR_SIZE * task.scale} pixels wide and high, found '
                    f'{size[1]}x{size[0]}; use a larger video')
        if frame.shape != size:
            raise ValueError(
                f'{source} must have frames of one size, found '
                f'{frame.shape[1::-1]} after {size[1::-1]}; split it')
        height, width = (side - side % task.scale for side in size[:2])
        hr = np.ascontiguousarray(frame[:height, :width])
        lr = resize(dict(image=hr))['image']
        lr = np.clip(np.around(lr), 0, 255).astype(np.uint8)
        for kind, image in (('GT', hr), (f'BIx{task.scale}', lr)):
            path = osp.join(task.folder, kind, task.sequence,
                            f'{count:08d}.png')
            if not mmcv.imwrite(image, path):
                raise OSError(f'{path} could not be written; is the disk '
                              'full, or the folder read-only?')
        count += 1
    if count < MIN_FRAMES:
        raise ValueError(f'{source} must have at least {MIN_FRAMES} '
                         f'frames, one window, found {count}')
    return count


def _write_annotations(folder: str, tasks: Sequence[_Task],
                       counts: Sequence[int]) -> None:
    for split in dict.fromkeys(task.folder for task in tasks):
        lines = [
            f'{task.sequence} {count}\n' for task, count in zip(tasks, counts)
            if task.folder == split
        ]
        name = f'meta_info_{osp.basename(split)}.txt'
        with open(osp.join(folder, name), 'w') as file:
            file.writelines(sorted(lines))
    metadata = dict(
        scale=tasks[0].scale,
        crop='bottom and right, to a multiple of the scale',
        lr='MATLAB bicubic (antialiased), rounded to 8 bits',
        tool=f'dksan_mm {dksan_mm.__version__}',
        sources={
            f'{osp.basename(task.folder)}/{task.sequence}':
            dict(
                task.clip._asdict(),
                path=osp.basename(osp.normpath(task.clip.path)))
            for task in tasks
        })
    with open(osp.join(folder, 'metadata.json'), 'w') as file:
        json.dump(metadata, file, indent=2)
