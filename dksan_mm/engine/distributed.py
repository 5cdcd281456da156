"""Several processes on a machine without a GPU."""
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import print_log


def prepare_launcher(cfg: Config) -> None:
    """Make ``launcher='pytorch'`` work without a GPU, with gloo.

    mmengine's launcher chooses a CUDA device in any case, and its wrapper
    names one. Where there is none, the process group is set up here, before
    the runner (which then leaves it), and the wrapper is told to name none.
    With a GPU, or without a launcher, nothing is done.

    Args:
        cfg (Config): The whole config; ``model_wrapper_cfg`` may be changed.

    Raises:
        RuntimeError: The launcher is another one, and there is no GPU.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise RuntimeError(
            f'launcher {cfg.launcher!r} needs GPUs, found none; use '
            "tools/dist_train.sh (launcher 'pytorch'), which runs on CPUs")
    dist.init_process_group('gloo')
    print_log('No GPU found: running on CPUs, with gloo.', 'current')
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel')
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
