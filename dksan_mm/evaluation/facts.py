"""Facts that a result depends on: data, hardware, software."""
import platform
from typing import Dict

import mmagic
import mmcv
import torch
from torch.utils.data import Dataset

import dksan_mm
from dksan_mm.datasets.layout import read_metadata
from dksan_mm.results.files import DataFacts
from dksan_mm.utils.benchmark import cpu_name


def describe_dataset(dataset: Dataset, name: str, gt_crc: str) -> DataFacts:
    """Return where a data set is and, if it says so, how it was made."""
    return DataFacts(
        name=name,
        gt_folder=dataset.data_prefix['gt'],
        lr_folder=dataset.data_prefix['img'],
        annotation=dataset.ann_file,
        metadata=read_metadata(dataset.data_root),
        gt_crc=gt_crc)


def describe_hardware(device: torch.device) -> str:
    """Return the name of the GPU, or of the CPU with its threads."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f'{cpu_name()}, {count} thread' + ('s' if count > 1 else '')


def describe_software() -> Dict[str, str]:
    """Return the versions of the software that computes."""
    return dict(
        dksan_mm=dksan_mm.__version__,
        torch=torch.__version__,
        mmcv=mmcv.__version__,
        mmagic=mmagic.__version__,
        python=platform.python_version())
