"""Render short clips from photographs that installed packages ship.

    python tools/dataset_converters/render_demo_clips.py OUT

A camera moves over each photograph, as in PhotoWindowDataset; every clip
becomes a folder of PNG frames OUT/{train,val}/<name>. Nothing is downloaded.
"""
import argparse
import os.path as osp
from typing import Iterator

import mmcv
import numpy as np
import skimage
import sklearn

from dksan_mm.cli import add_debug_argument, run_tool
from dksan_mm.datasets.camera import CameraMotion, Scaled, render

NUM_FRAMES = 24
WIDTH, HEIGHT = 384, 288
CLIPS = {
    'train': ('skimage/data/astronaut.png', 'skimage/data/chelsea.png',
              'skimage/data/rocket.jpg', 'skimage/data/motorcycle_left.png',
              'sklearn/datasets/images/china.jpg',
              'skimage/data/hubble_deep_field.jpg'),
    'val': ('skimage/data/coffee.png', 'sklearn/datasets/images/flower.jpg'),
}
# a hand-held camera that is never still
MOTION = dict(speed=3, zoom=0.003, shakes=(0.3, ), still_ratio=0)
PACKAGES = dict(skimage=skimage, sklearn=sklearn)


def read_photograph(path: str) -> np.ndarray:
    """Read a file named relative to site-packages, (H, W, 3) BGR."""
    package, rest = path.split('/', 1)
    path = osp.join(osp.dirname(PACKAGES[package].__file__), rest)
    image = mmcv.imread(path)
    if image is None:
        raise SystemExit(f'render_demo_clips.py: {path} must be a photograph '
                         f'that {package} ships, found none; install the '
                         'pinned requirements (requirements/runtime.txt)')
    return image


def render_clip(image: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield the frames of one clip, (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    # photograph pixels per frame pixel: from close up to nearly all of it
    widest = 0.95 * min(width / WIDTH, height / HEIGHT)
    step = rng.uniform(0.75, 0.9) * widest
    return render(rng, Scaled(image, step), (WIDTH, HEIGHT), NUM_FRAMES,
                  CameraMotion(**MOTION))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Render short clips from photographs that installed '
        'packages ship')
    parser.add_argument('out', help='folder to write')
    add_debug_argument(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    seed = 0
    for split, paths in CLIPS.items():
        for path in paths:
            seed += 1
            name = osp.splitext(osp.basename(path))[0]
            for index, frame in enumerate(
                    render_clip(read_photograph(path), seed)):
                mmcv.imwrite(
                    frame, osp.join(args.out, split, name, f'{index:08d}.png'))


if __name__ == '__main__':
    run_tool(parse_args, main)
