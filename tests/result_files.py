"""Result files as tools/test.py writes them, made by hand."""
import json
import os.path as osp
from pathlib import Path
from typing import Dict, List, Tuple

import cv2
import numpy as np

from dksan_mm.results.averages import average_frames
from dksan_mm.results.files import DataFacts, Result, write_result


def make_result(frames: Dict[str, Dict[str, List[float]]],
                system: str = 'DKSAN',
                config: str = 'configs/dksan_vid3oc_x16.py',
                name: str = 'clips',
                **others: object) -> Result:
    """Return a result.

    Args:
        frames (dict): Sequence to {metric: a value for each frame}.
        system (str): Display name.
        config (str): The config's path.
        name (str): The data's name.
        **others: Further fields that replace the defaults; those of
            'dataset' are merged.
    """
    rows = {
        sequence: [{
            'frame': f'{t:08d}',
            **{
                key: values[t]
                for key, values in metrics.items()
            }
        } for t in range(len(next(iter(metrics.values()))))]
        for sequence, metrics in frames.items()
    }
    overall, sequences = average_frames(rows)
    dataset = DataFacts(
        **{
            'name': name,
            'gt_folder': 'data/val/GT',
            'lr_folder': 'data/val/BIx16',
            'annotation': 'data/meta_info_test.txt',
            'metadata': None,
            'gt_crc': '0123abcd',
            **others.pop('dataset', {})
        })
    return Result(
        **{
            'system': system,
            'named': False,
            'config': config,
            'checkpoint': 'iter_10.pth',
            'checkpoint_sha256': '00ff',
            'iterations': 10,
            'dataset': dataset,
            'scale': 16,
            'parameters': 29476220,
            'seconds_per_frame': 0.974,
            'hardware': 'NVIDIA H100',
            'software': {
                'torch': '2.11.0'
            },
            'self_ensemble': None,
            'metrics': overall,
            'sequences': sequences,
            'frames': rows,
            **others
        })


def write(folder: Path, result: Result) -> Path:
    """Write a result into a folder; return its file."""
    write_result(str(folder), result)
    return folder / f'{result.dataset.name}.json'


HARDWARE = 'INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.30GHz, 2 threads, float32'
EVIL = '<script>document.title = "broken"</script><img src=x onerror=x()>'
SYSTEMS = {'bicubic': 21., 'dksan': 24., EVIL: 22.}
# all that tools/test.py measures beside PSNR and tOF
MEASURES = ('SSIM', 'LPIPS', 'NIQE', 'PSNR_Y', 'SSIM_Y', 'PSNR_crop16',
            'SSIM_crop16', 'PSNR_Y_crop16', 'SSIM_Y_crop16')
SIZES = {'small': (48, 80), 'large': (256, 320)}


def smooth_frame(size: Tuple[int, int],
                 seed: int,
                 noise: float = 0.) -> np.ndarray:
    """Return a smooth picture with noise, (*size, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.uniform(40, 215, (4, 5, 3)), size[::-1])
    image += noise * rng.standard_normal(image.shape)
    return image.round().clip(0, 255).astype(np.uint8)


def save_frame(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def make_folders(folder: Path, pictures: bool = True) -> List[str]:
    """Write results of three systems on two sequences of 5 frames, with
    ground truth as pictures and as a memory map; return their folders."""
    for sequence, size in SIZES.items():
        frames = [smooth_frame(size, seed) for seed in range(5)]
        if sequence == 'large':
            np.save(folder / 'large.npy', np.stack(frames))
        for t, image in enumerate(frames):
            if sequence == 'small':
                save_frame(folder / f'small/{t:08d}.png', image)
    for i, (system, value) in enumerate(SYSTEMS.items()):
        values = [value + t / 4 for t in range(5)]
        values[1] = float('inf') if i == 1 else values[1]
        name = f'{system}_clips' if i < 2 else system
        result = make_result(
            {s: {'PSNR': values, 'tOF': [None, *values[1:]],
                 **{metric: [value / 30] * 5 for metric in MEASURES}}
             for s in SIZES},
            system=name, config=f'{name}.py', hardware=HARDWARE,
            dataset={'gt_folder': str(folder), 'metadata': {'crop': EVIL}}
        )  # yapf: disable
        write(folder / f'r{i}', result)
        for sequence, size in SIZES.items() if pictures else ():
            for t in range(5):
                save_frame(
                    folder / f'r{i}/frames/clips/{sequence}/{t:08d}.png',
                    smooth_frame(size, t, 30. / (i + 1)))
    return [str(folder / f'r{i}') for i in range(len(SYSTEMS))]


def payload(out: str) -> dict:
    """Return the data that a report's page holds."""
    with open(osp.join(out, 'index.html')) as file:
        text = file.read().split('id="data">')[1]
    return json.loads(text.split('</script>')[0])
