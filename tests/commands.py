"""The repository's folder, and its commands, run as a user runs them."""
import glob
import json
import os
import os.path as osp
import shutil
import socket
import subprocess
import sys

import torch

from dksan_mm.engine import allow_mmengine_checkpoints

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))


def free_port():
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def run(*command, check=True, **env):
    """Run a command as a user does; several processes meet at a port of their
    own."""
    env = {
        **os.environ, 'PORT': str(free_port()),
        'PYTHONWARNINGS': 'ignore',
        'CUDA_VISIBLE_DEVICES': '',
        **env
    }
    result = subprocess.run([str(part) for part in command],
                            cwd=ROOT,
                            env=env,
                            capture_output=True,
                            text=True,
                            timeout=1200)
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


def train(config, work_dir, *args, **kwargs):
    return run(sys.executable, 'tools/train.py', config, '--work-dir',
               work_dir, *args, **kwargs)


def weights(path):
    allow_mmengine_checkpoints()
    return torch.load(path)['state_dict']


def logged(work_dir, key):
    """Return what was logged during training, in order."""
    path = glob.glob(osp.join(work_dir, '*', 'vis_data', 'scalars.json'))[0]
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    return [line[key] for line in lines if key in line]


def train_again(config, whole, parts, number, *args):
    """Resume a training from one of the checkpoints of a whole one, in a
    folder of its own."""
    parts.mkdir()
    shutil.copy(whole / f'iter_{number}.pth', parts)
    (parts / 'last_checkpoint').write_text(str(parts / f'iter_{number}.pth'))
    result = train(config, parts, '--resume', *args)
    assert f'resumed epoch: 0, iter: {number}' in (result.stdout +
                                                   result.stderr)
    return result


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], **tolerance, msg=key)
