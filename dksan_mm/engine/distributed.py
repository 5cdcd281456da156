"""Distributed runs without a GPU, or of models without parameters."""
import atexit
import os
import sys
from typing import Any, List

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


def prepare_launcher(cfg: Config) -> None:
    """Make ``launcher='pytorch'`` work without a GPU, with gloo.

    mmengine's launcher always chooses a CUDA device, and its wrapper names
    one. If there is none, this sets up the process group before the runner,
    which then keeps it, and configures the wrapper without a device. With a
    GPU, or without a launcher, nothing is done.

    Args:
        cfg (Config): The whole config; ``model_wrapper_cfg`` may be changed.

    Raises:
        RuntimeError: There is no GPU, and the launcher is not ``'pytorch'``.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise RuntimeError(
            f'launcher {cfg.launcher!r} needs GPUs, found none; use '
            "tools/dist_train.sh (launcher 'pytorch'), which runs on CPUs")
    dist.init_process_group('gloo')
    print_log('No GPU found: running on CPUs, with gloo.', 'current')
    if cfg.get('model_wrapper_cfg') is None:
        # as in mmengine's runner, but without a device
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))
    elif cfg.model_wrapper_cfg.get('type', '').endswith('DataParallel'):
        cfg.model_wrapper_cfg.device_ids = None


def finish_launcher() -> None:
    """Wait for all processes, and end a distributed run. This must be the last
    call of a tool.

    With gloo the process exits here, with success. Gloo's threads may outlive
    the objects that they use, and would now and then abort a finished process
    while the interpreter shuts down, even after ``destroy_process_group``.
    """
    if not dist.is_initialized():
        return
    dist.barrier()
    if dist.get_backend() != 'gloo':
        dist.destroy_process_group()
        return
    atexit._run_exitfuncs()  # loggers, workers of data loaders
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@MODEL_WRAPPERS.register_module()
class InferenceWrapper(nn.Module):
    """Model wrapper for tests only. DistributedDataParallel refuses models
    without parameters, such as bicubic interpolation, which do not need it.

    Args:
        module (nn.Module): A restorer.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's ``forward``."""
        return self.module(*args, **kwargs)

    def val_step(self, data: Any) -> List:
        """Call the module's ``val_step``."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> List:
        """Call the module's ``test_step``."""
        return self.module.test_step(data)
