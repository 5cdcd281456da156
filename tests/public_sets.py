"""Public x4 sets in the layouts that MMagic's configs read, tiny: LR frames
of 16x20 pixels. Real sets have more and longer sequences."""
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import mmcv
import numpy as np

SIZE = (16, 20)
VID4 = dict(calendar=8, city=9)


def write_frames(folder: Path,
                 pairs: Dict[str, Sequence[str]],
                 rng: np.random.Generator,
                 size: Tuple[int, int] = SIZE) -> None:
    """Write a moving scene: ``{HR file below folder: LR files}``."""
    height, width = (4 * side for side in size)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    scene = mmcv.imresize(coarse, (width + len(pairs), height))
    for t, (hr_file, lr_files) in enumerate(pairs.items()):
        hr = np.ascontiguousarray(scene[:, t:t + width])
        lr = hr.reshape(size[0], 4, size[1], 4, 3).mean((1, 3))
        mmcv.imwrite(hr, str(folder / hr_file))
        for lr_file in lr_files:
            mmcv.imwrite(lr.round().astype(np.uint8), str(folder / lr_file))


def write_sequence(folder: Path,
                   name: str,
                   frames: int,
                   gt: str = 'GT',
                   lr: Tuple[str, ...] = ('BIx4', 'BDx4'),
                   first: int = 0,
                   digits: int = 8,
                   seed: int = 0,
                   size: Tuple[int, int] = SIZE) -> None:
    """Write a sequence of numbered frames."""
    names = [f'{first + t:0{digits}d}.png' for t in range(frames)]
    write_frames(
        folder, {
            f'{gt}/{name}/{file}': [f'{kind}/{name}/{file}' for kind in lr]
            for file in names
        }, np.random.default_rng(seed), size)


def write_reds(folder: Path, frames: int = 7) -> None:
    """REDS, one sequence to train on and two of REDS4; real ones have 100
    frames."""
    for seed, name in enumerate(('000', '001', '011')):
        write_sequence(
            folder,
            name,
            frames,
            gt='train_sharp',
            lr=('train_sharp_bicubic/X4', ),
            seed=seed)
    for split, names in (('train', ['001']), ('val', ['000', '011'])):
        (folder / f'meta_info_reds4_{split}.txt').write_text('\n'.join(
            f'{name}/{t:08d}.png (720, 1280, 3)' for name in names
            for t in range(frames)))


def write_vimeo90k(folder: Path) -> None:
    """Vimeo-90K: clips of seven frames."""
    clips = ['00001/0266', '00001/0268', '00002/0266']
    for seed, clip in enumerate(clips):
        write_frames(
            folder, {
                f'GT/{clip}/im{i}.png':
                [f'{kind}/{clip}/im{i}.png' for kind in ('BIx4', 'BDx4')]
                for i in range(1, 8)
            }, np.random.default_rng(seed))
    for split in ('train', 'test'):
        (folder / f'meta_info_Vimeo90K_{split}_GT.txt').write_text(''.join(
            f'{clip} 7 (256, 448, 3)\n' for clip in clips))


def write_listed(folder: Path, annotation: str, sequences: Dict[str, int],
                 **how: Any) -> None:
    """Vid4 or SPMCS: sequences that an annotation lists."""
    for seed, (name, frames) in enumerate(sequences.items()):
        write_sequence(folder, name, frames, seed=seed, **how)
    (folder / annotation).write_text(''.join(
        f'{name} {frames}\n' for name, frames in sequences.items()))


def write_all(folder: Path) -> None:
    """Write all sets, below ``folder/data`` as the configs say."""
    data = folder / 'data'
    write_reds(data / 'REDS')
    write_vimeo90k(data / 'vimeo90k')
    write_listed(data / 'Vid4', 'meta_info_Vid4_GT.txt', VID4, first=1)
    write_listed(data / 'SPMCS', 'meta_info_SPMCS_GT.txt', dict(car05_001=7))
    for number in range(10):
        write_sequence(data / 'UDM10', f'u{number}', 7, digits=4, seed=number)
