"""The versions that DKSAN runs with, and their check."""
import importlib
import importlib.metadata
from typing import Dict, List, Optional, Tuple

from torch.torch_version import TorchVersion

# name: (minimum, first version that is too new or None, reason)
SUPPORTED: Dict[str, Tuple[str, Optional[str], str]] = {
    'torch': ('2.6', None, 'the first to load checkpoints without running '
              'code that they carry'),
    'mmengine': ('0.10.3', '1.0', 'the first whose training loop moves the '
                 'data on when it resumes; below 1.0 as MMagic demands'),
    'mmcv': ('2.0.0', '2.2', 'as MMagic 1.2 demands'),
    'mmagic': ('1.2.0', '2.0', 'the release whose API is used'),
}


def installed_version(name: str) -> Optional[str]:
    """Return the installed version of a distribution, None if there is none.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def required(name: str) -> str:
    """Return the supported range of a package, such as ``>=2.0.0,<2.2``."""
    least, beyond, _ = SUPPORTED[name]
    return f'>={least}' + (f',<{beyond}' if beyond else '')


def _in_range(version: str, least: str, beyond: Optional[str]) -> bool:
    version = TorchVersion(version)
    return version >= least and (beyond is None or version < beyond)


def find_faults() -> List[str]:
    """Return a line, with the cure, for each package that is missing or out of
    range, and for an mmcv without its operators."""
    faults = []
    for name, (least, beyond, reason) in SUPPORTED.items():
        version = installed_version(name)
        if version is None:
            faults.append(f'{name} must be {required(name)}, found none: '
                          'install it; "source tools/setup_env.sh" brings '
                          'up an environment with all of them')
        elif not _in_range(version, least, beyond):
            faults.append(f'{name} must be {required(name)} ({reason}), found '
                          f"{version}: pip install '{name}{required(name)}'")
    if installed_version('mmcv') is not None:
        try:
            importlib.import_module('mmcv._ext')
        except ImportError as error:
            faults.append(
                'mmcv must have its operators, built against the installed '
                f'torch, found {error}: pip install \'setuptools<80\' '
                'wheel ninja, then MMCV_WITH_OPS=1 pip install '
                '--force-reinstall --no-deps --no-cache-dir '
                '--no-build-isolation --no-binary mmcv '
                f"'mmcv{required('mmcv')}'")
    return faults


def check_environment() -> None:
    """Raise ImportError, with faults and cures, if DKSAN cannot run here."""
    faults = find_faults()
    if faults:
        raise ImportError('dksan_mm cannot run in this environment:\n- ' +
                          '\n- '.join(faults))
