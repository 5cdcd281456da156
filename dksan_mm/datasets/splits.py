"""Splits of a data set: their sequences, and which frames of these."""
import math
import os.path as osp
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from dksan_mm.utils.faults import told
from dksan_mm.video.clips import (Clip, find_numbered_sequences, list_sources,
                                  read_clip, stem_of)
from dksan_mm.video.folders import check_exists, list_frames

# one window
MIN_FRAMES = 7

# maps a split to {sequence: source of its frames}
Splits = Dict[str, Dict[str, Clip]]


class Entry(NamedTuple):
    """A line of a split file."""
    sequence: str
    start: int = 0
    frames: Optional[int] = None

    def clip(self, path: str) -> Clip:
        """Return the frames of a source that this line selects."""
        stop = None if self.frames is None else self.start + self.frames
        return Clip(path, self.start, stop, stop is not None)


@told('path')
def read_split(path: str) -> List[Entry]:
    """Read a split file. Each line has a sequence and, unless all of it is
    used, the first frame (from 0) and the number of frames. A # begins a
    comment.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line has another form, or repeats a sequence.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'the split file {path} does not exist; the '
                                'ones of the paper are in configs/splits')
    entries: Dict[str, Entry] = {}
    try:
        with open(path, encoding='utf-8-sig') as file:
            lines = file.readlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'the split file {path} must be text in UTF-8, '
                         f'found: {error}; save it as UTF-8') from error
    for number, line in enumerate(lines, 1):
        words = line.split('#')[0].split()
        if not words:
            continue
        if len(words) not in (1, 3) or not all(word.isdigit()
                                               for word in words[1:]):
            raise ValueError(
                f'{path}, line {number}, must be a sequence, or a '
                'sequence, its first frame and the number of frames, '
                f'found {line.strip()!r}; correct the line')
        if words[0] in entries:
            raise ValueError(f'{path}, line {number}, must name another '
                             f'sequence, found {words[0]} again; remove '
                             'one')
        entries[words[0]] = Entry(words[0], *map(int, words[1:]))
    if not entries:
        raise ValueError(f'{path} must name at least one sequence, found none'
                         '; choose another split file')
    return list(entries.values())


def numbered_splits(roots: Sequence[str], split_files: Dict[str,
                                                            str]) -> Splits:
    """Return the splits of a challenge's data set.

    Args:
        roots (Sequence[str]): Folders, as for
            :func:`~dksan_mm.video.clips.find_numbered_sequences`.
        split_files (dict): Maps a split to its file.

    Raises:
        ValueError: A sequence of a split is missing.
    """
    found = find_numbered_sequences(roots)
    splits: Splits = {}
    for split, path in split_files.items():
        entries = read_split(path)
        missing = [e.sequence for e in entries if e.sequence not in found]
        if missing:
            raise ValueError(
                f'the sequences of {path} must all be in {", ".join(roots)}, '
                f'found no {", ".join(missing[:8])}'
                f'{", ..." if len(missing) > 8 else ""} '
                f'({len(missing)} of {len(entries)} are missing); name their '
                'folder as well, or choose the splits by --splits')
        splits[split] = {
            entry.sequence: entry.clip(found[entry.sequence])
            for entry in entries
        }
    return splits


def expand(paths: Sequence[str]) -> List[str]:
    """Replace each folder of videos, or of folders of frames, by its contents.

    Raises:
        FileNotFoundError: There is nothing at a path.
    """
    expanded: List[str] = []
    for path in paths:
        check_exists(path)
        below = []
        if osp.isdir(path) and not list_frames(path):
            below = list_sources(path, True)
        expanded += below or [path]
    return expanded


def named_splits(sources: Dict[str, Sequence[Clip]]) -> Splits:
    """Name each split's sequences after their files, all differently."""
    splits: Splits = {}
    for split, clips in sources.items():
        names: Dict[str, Clip] = {}
        for clip in clips:
            check_exists(clip.path)
            stem = re.sub(r'\W+', '_', stem_of(clip.path))
            name, number = stem, 1
            while name in names:
                number += 1
                name = f'{stem}_{number}'
            names[name] = clip
        if names:
            splits[split] = names
    if not splits:
        raise ValueError('sources must name at least one video, found none')
    _check_apart(sources)
    return splits


def _check_apart(sources: Dict[str, Sequence[Clip]]) -> None:
    """Raise ValueError if two splits share frames: a test on training frames
    says nothing."""
    seen: Dict[str, Tuple[str, Clip]] = {}
    for split, clips in sources.items():
        for clip in clips:
            path = osp.realpath(clip.path)
            other, before = seen.setdefault(path, (split, clip))
            ends = [part.stop or math.inf for part in (clip, before)]
            if other != split and max(clip.start, before.start) < min(ends):
                raise ValueError(
                    f'{clip.path} must be in one split, found in {other} and '
                    f'in {split}: a network that was trained on it would be '
                    'tested on it; leave it out of one')


def split_by_file(paths: Sequence[str], val_file: str) -> Splits:
    """Split sources by a split file that names those for validation; the
    others are for training.

    Raises:
        ValueError: The file names a source that is missing.
    """
    splits = named_splits(dict(train=[Clip(path) for path in paths]))
    entries = {entry.sequence: entry for entry in read_split(val_file)}
    missing = entries.keys() - splits['train'].keys()
    if missing:
        raise ValueError(f'{val_file} must name videos that are there, found '
                         f'{", ".join(sorted(missing))}; there are '
                         f'{", ".join(splits["train"])}')
    train = {
        name: clip
        for name, clip in splits['train'].items() if name not in entries
    }
    val = {
        name: entry.clip(splits['train'][name].path)
        for name, entry in entries.items()
    }
    return dict(train=train, val=val) if train else dict(val=val)


def split_by_ratio(paths: Sequence[str],
                   ratio: float = 0.25,
                   count: Optional[int] = None) -> Splits:
    """Hold out the last ones of several sources, or the last frames of a
    single source.

    Args:
        paths (Sequence[str]): Videos or folders of frames.
        ratio (float): Share to hold out, above 0 and below 1; with several
            sources, their number is rounded up. Default: 0.25.
        count (int, optional): Number of sources to hold out instead, if
            there are several. Default: None.
    """
    if not 0 < ratio < 1:
        raise ValueError(
            f'ratio (--val-ratio) must be above 0 and below 1, got {ratio}')
    if not paths:
        raise ValueError('paths must name at least one video, found none')
    if len(paths) == 1:
        return named_splits(_split_in_time(paths[0], ratio))
    held = math.ceil(ratio * len(paths)) if count is None else count
    if not 0 < held < len(paths):
        raise ValueError(
            f'from 1 to {len(paths) - 1} of {len(paths)} videos must be held '
            f'out (--val-count, --val-ratio), got {held}')
    return named_splits(
        dict(
            train=[Clip(path) for path in paths[:-held]],
            val=[Clip(path) for path in paths[-held:]]))


def _split_in_time(path: str, ratio: float) -> Dict[str, List[Clip]]:
    frames = sum(1 for _ in read_clip(Clip(path)))
    split = frames - math.floor(ratio * frames)
    if min(split, frames - split) < MIN_FRAMES:
        least = math.ceil(MIN_FRAMES / min(ratio, 1 - ratio))
        raise ValueError(
            f'{path} must have at least {least} frames to be split in time, '
            f'found {frames}; use a longer video or a second one')
    return dict(train=[Clip(path, 0, split)], val=[Clip(path, split, frames)])


def limit(splits: Splits, frames: Dict[str, Optional[int]]) -> Splits:
    """Keep only the first frames of each sequence; each split has its limit.
    """

    def first(clip: Clip, most: Optional[int]) -> Clip:
        if most is None:
            return clip
        stop = clip.start + most
        return clip._replace(
            stop=stop if clip.stop is None else min(stop, clip.stop))

    return {
        split: {
            name: first(clip, frames.get(split))
            for name, clip in clips.items()
        }
        for split, clips in splits.items()
    }
