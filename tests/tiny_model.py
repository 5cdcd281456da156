"""A small DKSAN x2 with weights, and what restores videos with it."""
import os

import numpy as np
import pytest
import torch
from commands import ROOT
from mmagic.registry import MODELS
from mmengine.config import Config

from dksan_mm.apis import outputs, probe, read_frames
from dksan_mm.apis.restore_video import restore_video
from dksan_mm.apis.window_restorer import WindowRestorer

CONFIG = f'''
_base_ = '{ROOT}/configs/dksan_vid3oc_x16.py'
model = dict(
    generator=dict(
        mid_channels=8, num_frames=5, num_blocks=(1, ),
        num_extraction_blocks=1, num_align_layers=1, deform_groups=2,
        num_dksa_layers=1, reduction=2))
'''
SIZE = (18, 26)  # height and width of the video in test_apis
LOSSLESS = dict(codec='ffv1', lossless=True)


def write_tiny(folder):
    """Write a config and a checkpoint in which nothing is trivial; return
    their names."""
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(str(config)).model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(.03 * torch.randn_like(parameter))
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return str(config), str(checkpoint)


def restore(model, source, output, **options):
    """Restore in segments of 5 frames, without loss. The clips of the tests
    move so fast that each frame would be a scene."""
    options = {
        'dtype': 'fp32',  # the same bits in every run
        'segment': 5,
        'progress': False,
        'scene_threshold': None,
        **LOSSLESS,
        **options
    }
    return restore_video(model, str(source), str(output), **options)


def restore_unjoined(monkeypatch, model, source, output):
    """Restore all segments, and stop before they are joined."""
    kind = outputs.VideoOutput if outputs.is_video_path(
        str(output)) else outputs.FolderOutput
    with monkeypatch.context() as patch:
        patch.setattr(kind, 'join', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            restore(model, source, output)


def decode(path):
    """Return all frames of a video or folder, (T, H, W, 3)."""
    return np.stack(list(read_frames(probe(str(path)))))


def listing(folder):
    return sorted(os.listdir(folder))


def restore_at_once(model, source, **options):
    """Return all restored frames, without threads, segments and files."""
    info = probe(source)
    frames = iter(list(read_frames(info)))
    options.setdefault('scene_threshold', None)
    restored = WindowRestorer(model,
                              **options).restore(frames, 0, info.num_frames,
                                                 info.num_frames, 0)
    return np.stack(list(restored))


def data(path):
    with open(path, 'rb') as file:
        return file.read()
