"""Render short clips from photographs that installed packages ship.

    python tools/dataset_converters/render_demo_clips.py OUT

A camera moves over each photograph, zooming and turning; every clip becomes
a folder of PNG frames OUT/{train,val}/<name>. Nothing is downloaded.
"""
import argparse
import math
import os.path as osp
from typing import Iterator, Tuple

import cv2
import mmcv
import numpy as np
import skimage
import sklearn

NUM_FRAMES = 24
WIDTH, HEIGHT = 384, 288
CLIPS = {
    'train': ('skimage/data/astronaut.png', 'skimage/data/chelsea.png',
              'skimage/data/rocket.jpg', 'skimage/data/motorcycle_left.png',
              'sklearn/datasets/images/china.jpg',
              'skimage/data/hubble_deep_field.jpg'),
    'val': ('skimage/data/coffee.png', 'sklearn/datasets/images/flower.jpg'),
}
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


def camera(seed: int) -> Iterator[Tuple[float, float, float, float]]:
    """Yield, per frame, the view's centre in [-1, 1]^2, zoom and angle."""
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(-1, 1, (2, 2))
    zoom = rng.permutation([0.0, 1.0])
    turn = rng.uniform(-3, 3)
    for frame in range(NUM_FRAMES):
        t = frame / (NUM_FRAMES - 1)
        sway = 0.1 * np.array(
            [math.sin(2 * math.pi * 2 * t),
             math.cos(2 * math.pi * 3 * t)])
        x, y = np.clip(start + (end - start) * t + sway, -1, 1)
        yield x, y, zoom[0] + (zoom[1] - zoom[0]) * t, turn * (t - 0.5)


def render(image: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield the frames of one clip, (HEIGHT, WIDTH, 3)."""
    height, width = image.shape[:2]
    # photograph pixels per frame pixel: from close up to nearly all of it
    widest = 0.95 * min(width / WIDTH, height / HEIGHT)
    closest = 0.75 * widest
    for x, y, zoom, angle in camera(seed):
        step = closest + (widest - closest) * zoom
        centre = (width / 2 + x * (width - step * WIDTH) / 2,
                  height / 2 + y * (height - step * HEIGHT) / 2)
        matrix = cv2.getRotationMatrix2D(centre, angle, 1 / step)
        matrix[:, 2] += np.array([WIDTH, HEIGHT]) / 2 - centre
        yield cv2.warpAffine(
            image,
            matrix, (WIDTH, HEIGHT),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101)


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Render short clips from photographs that installed '
        'packages ship')
    parser.add_argument('out', help='folder to write')
    args = parser.parse_args()
    seed = 0
    for split, paths in CLIPS.items():
        for path in paths:
            seed += 1
            name = osp.splitext(osp.basename(path))[0]
            for index, frame in enumerate(render(read_photograph(path), seed)):
                mmcv.imwrite(
                    frame, osp.join(args.out, split, name, f'{index:08d}.png'))


if __name__ == '__main__':
    main()
