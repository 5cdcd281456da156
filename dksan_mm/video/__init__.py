"""Videos and folders of frames, in and out. Needs no PyTorch."""
import re
from importlib import metadata
from typing import Optional

# first version, and first that is too new
AV = (17, 1), (19, 0)
AV_RANGE = 'av>=17.1,<19'


def av_fault() -> Optional[str]:
    """Return what is wrong with the installed PyAV, with the cure; None if
    nothing is."""
    try:
        found = metadata.version('av')
    except metadata.PackageNotFoundError:
        found = 'none'
    version = tuple(map(int, re.findall(r'\d+', found)[:2]))
    if AV[0] <= version < AV[1]:
        return None
    return ('PyAV must be at least 17.1, the first that writes rotations, and '
            "below 19, whose av.open has no 'metadata_errors', found "
            f"{found}: pip install '{AV_RANGE}'")


def check_av() -> None:
    """Raise ImportError if videos cannot be read and written; called by the
    modules that need PyAV: others do without it."""
    fault = av_fault()
    if fault:
        raise ImportError(fault)
