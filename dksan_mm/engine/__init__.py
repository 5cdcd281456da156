"""Additions to mmengine: safe checkpoints, hooks, CPU processes."""
from dksan_mm import _compat

_compat.check_environment()

# isort: split
from .checkpoint import allow_mmengine_checkpoints  # noqa: E402
from .checkpoint import check_checkpoint  # noqa: E402
from .checkpoint import load_checkpoint_file  # noqa: E402
from .checkpoint import register_checkpoint_loaders  # noqa: E402
from .checkpoint_hook import WholeCheckpointHook  # noqa: E402
from .distributed import InferenceWrapper  # noqa: E402
from .distributed import finish_launcher, prepare_launcher  # noqa: E402
from .health_hook import HealthHook  # noqa: E402
from .loops import ResumableTrainLoop  # noqa: E402
from .max_time import MaxTimeHook  # noqa: E402
from .optim import CPUAmpOptimWrapper  # noqa: E402
from .schedule_hook import ScheduleHook  # noqa: E402

__all__ = [
    'CPUAmpOptimWrapper', 'HealthHook', 'InferenceWrapper', 'MaxTimeHook',
    'ResumableTrainLoop', 'ScheduleHook', 'WholeCheckpointHook',
    'allow_mmengine_checkpoints', 'check_checkpoint', 'finish_launcher',
    'load_checkpoint_file', 'prepare_launcher', 'register_checkpoint_loaders'
]

# so that any tool that imports this by name can test and resume
allow_mmengine_checkpoints()
register_checkpoint_loaders()
