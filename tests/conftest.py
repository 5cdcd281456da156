"""Shared by all tests."""
import os
import os.path as osp

import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))

# Triton reads this when it is imported: without a GPU its kernels are run by
# its interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')
# Two cores serve tiny networks best one by one.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def _scope():
    init_default_scope('mmagic')


@pytest.fixture
def root():
    """Return the repository's folder."""
    return ROOT


def write_dataset(folder, splits, scale=2, size=(16, 24), gain=1., seed=0):
    """Write a set in the configs' layout: smooth noise that moves.

    Args:
        folder (Path): Where to.
        splits (dict): Split to {sequence: number of frames}.
        scale (int): HR size divided by LR size.
        size (tuple[int]): LR height and width.
        gain (float): LR brightness divided by HR brightness.
    """
    rng = np.random.default_rng(seed)
    height, width = size[0] * scale, size[1] * scale
    for split, sequences in splits.items():
        lines = []
        for sequence, frames in sequences.items():
            coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            scene = mmcv.imresize(coarse, (width + frames, height))
            for t in range(frames):
                hr = np.ascontiguousarray(scene[:, t:t + width])
                lr = hr.reshape(size[0], scale, size[1], scale, 3)
                lr = (lr.mean((1, 3)) * gain).round().astype(np.uint8)
                for kind, image in (('GT', hr), (f'BIx{scale}', lr)):
                    mmcv.imwrite(
                        image,
                        str(folder / split / kind / sequence / f'{t:08d}.png'))
            lines.append(f'{sequence} {frames}\n')
        (folder / f'meta_info_{split}.txt').write_text(''.join(lines))
