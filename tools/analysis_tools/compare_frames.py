"""Write a picture of LR, restored frames and ground truth side by side.

    python tools/analysis_tools/compare_frames.py OUT.png \
        bicubic=CONFIG DKSAN=CONFIG:CHECKPOINT [--sequence dog --frame 30]

The first config's test set gives the frames.
"""
import argparse
import os.path as osp
from typing import List, Optional, Tuple

import cv2
import mmcv
import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from dksan_mm.engine.checkpoint import check_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a picture of LR, restored frames and ground truth')
    parser.add_argument('out', help='picture to write, .png')
    parser.add_argument(
        'systems', nargs='+', help='NAME=CONFIG or NAME=CONFIG:CHECKPOINT')
    parser.add_argument('--sequence', help='default: the first')
    parser.add_argument(
        '--frame', type=int, help='number in the sequence; default: middle')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of all configs')
    return parser.parse_args()


def read_config(path: str, options: Optional[dict]) -> Config:
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options or {})
    return cfg


def load_sample(cfg: Config, sequence: Optional[str],
                frame: Optional[int]) -> Tuple[dict, str]:
    """Return a sample of the test set and its key."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    keys = [dataset.get_data_info(i)['key'] for i in range(len(dataset))]
    names = sorted({osp.dirname(key) for key in keys})
    sequence = sequence or names[0]
    keys_here = [key for key in keys if osp.dirname(key) == sequence]
    if not keys_here:
        raise SystemExit(f'--sequence must be one of {names}, '
                         f'found {sequence!r}')
    frame = len(keys_here) // 2 if frame is None else frame
    if not 0 <= frame < len(keys_here):
        raise SystemExit(f'--frame must be from 0 to {len(keys_here) - 1}, '
                         f'found {frame}')
    key = keys_here[frame]
    return dataset[keys.index(key)], key


def restore(cfg: Config, checkpoint: str, sample: dict) -> np.ndarray:
    """Return the restored frame, (H, W, 3) uint8 BGR."""
    model = MODELS.build(cfg.model).eval()
    if checkpoint:
        check_checkpoint(checkpoint)
        load_checkpoint(model, checkpoint, map_location='cpu')
    with torch.inference_mode():
        result = model.test_step(pseudo_collate([sample]))[0]
    image = result.output.pred_img.permute(1, 2, 0).numpy()
    return image.round().clip(0, 255).astype(np.uint8)


def labelled(image: np.ndarray, label: str) -> np.ndarray:
    """Return the image with a label above it."""
    height = max(image.shape[1] // 12, 24)
    bar = np.full((height, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, label, (height // 4, height * 3 // 4),
                cv2.FONT_HERSHEY_SIMPLEX, height / 48, (0, 0, 0),
                max(height // 24, 1), cv2.LINE_AA)
    return np.vstack([bar, image])


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    error = np.mean((image.astype(np.float64) - truth)**2)
    return float('inf') if error == 0 else 10 * np.log10(255**2 / error)


def main() -> None:
    args = parse_args()
    panels: List[np.ndarray] = []
    sample = truth = None
    for system in args.systems:
        name, _, source = system.partition('=')
        config, _, checkpoint = source.partition(':')
        cfg = read_config(config, args.cfg_options)
        init_default_scope(cfg.default_scope)
        if sample is None:
            sample, key = load_sample(cfg, args.sequence, args.frame)
            truth = sample['data_samples'].gt_img.permute(1, 2,
                                                          0).numpy()[..., ::-1]
            middle = sample['inputs'][len(sample['inputs']) // 2]
            lr = middle.permute(1, 2, 0).numpy()[..., ::-1]
            size = f'{lr.shape[1]}x{lr.shape[0]}'
            lr = cv2.resize(
                np.ascontiguousarray(lr),
                truth.shape[1::-1],
                interpolation=cv2.INTER_NEAREST)
            panels.append(labelled(lr, f'LR {size}'))
        image = restore(cfg, checkpoint, sample)
        panels.append(labelled(image, f'{name} {psnr(image, truth):.2f} dB'))
    panels.append(labelled(truth, 'ground truth'))

    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    if not mmcv.imwrite(np.hstack(row), args.out):
        raise SystemExit(f'{args.out} could not be written')
    print(f'{args.out}: frame {key}')


if __name__ == '__main__':
    main()
