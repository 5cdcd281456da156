"""Print what DKSAN needs and what is here; exit with 1 if it cannot run.

    python tools/check_env.py
"""
import argparse
import importlib
import platform
import sys
from typing import Optional

from . import add_debug_argument, imports

# no processor should take so many times float32's time in bfloat16
SLOW = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--device',
        choices=('cpu', 'cuda'),
        help='device to time bfloat16 on; default: cuda if available')
    add_debug_argument(parser)
    return parser.parse_args()


def show(name: str, value: object) -> None:
    print(f'{name:<22}{value}')


def find_import_faults() -> list:
    """Import what the tools import; return a line for each failure."""
    faults = []
    for name in ('mmagic.models', 'mmagic.datasets', 'mmagic.evaluation',
                 'dksan_mm.models', 'dksan_mm.datasets'):
        try:
            with imports():
                importlib.import_module(name)
        except Exception as error:  # whatever a broken package raises
            faults.append(f'{name} must import, found {type(error).__name__}: '
                          f'{error}. Install the versions of '
                          'requirements/runtime.txt, or by '
                          'tools/setup_env.sh')
            break
    return faults


def operator_devices() -> str:
    """Return the devices that mmcv's operators are built for."""
    import torch
    from mmcv.ops import get_compiling_cuda_version
    built = get_compiling_cuda_version()
    devices = ['CPU']
    if built != 'not available':
        devices.append(f'CUDA {built}')
        if not torch.cuda.is_available():
            devices[-1] += ' (no GPU here)'
    return ', '.join(devices)


def show_backends() -> None:
    """Print the backend of the operator for each device."""
    from dksan_mm.ops import _library
    if _library.cpp_fault is None:
        from dksan_mm.ops import _C
        show('DKC on the CPU', f'C++ kernels, {_C.cpu_capability()}')
    else:
        show(
            'DKC on the CPU', 'portable PyTorch, many times slower: the C++ '
            f'kernels are not there ({_library.cpp_fault}). With a C++ '
            'compiler: pip install --no-build-isolation --no-deps -e .')
    show(
        'DKC on CUDA', 'Triton kernels'
        if 'triton' in _library.backends() else 'needs triton: it comes with '
        'PyTorch for CUDA')
    show('DKC elsewhere', 'portable PyTorch')


def show_speed(name: Optional[str]) -> None:
    """Print the result of restoration's self-test on a device, and warn of a
    slow or wrong PyTorch."""
    import torch

    from dksan_mm.utils import precision
    device = torch.device(
        name or ('cuda' if torch.cuda.is_available() else 'cpu'))
    found = precision.self_test(device)
    show(f'restoration, {device.type}', f'--dtype {found.dtype}: {found}')
    if not found.is_right:
        show(
            '', 'warning: this PyTorch computes convolutions in bfloat16 '
            'wrongly on this machine; use another version, or fp32')
    elif found.bf16_ms > SLOW * found.fp32_ms:
        show(
            '', 'warning: bfloat16 is many times slower than float32 here, by '
            "a processor without it, or as in PyTorch's issue 183815; use "
            'another version, or fp32 (also in training: no --amp)')


def main(args: argparse.Namespace) -> None:
    """Print the report; exit with 1 if DKSAN cannot run."""
    show('Python', platform.python_version())
    try:
        import torch
    except ImportError as error:
        show('torch', 'missing')
        print(f'\nDKSAN cannot run here:\n- torch must be installed, found '
              f'{error}: see the README, "Installation"')
        sys.exit(1)
    from dksan_mm import __version__, _compat
    from dksan_mm.video import AV_RANGE, av_fault
    show('dksan_mm', __version__)
    for name in _compat.SUPPORTED:
        found = _compat.installed_version(name) or 'missing'
        show(name, f'{found} (supported: {_compat.required(name)})')
    found = _compat.installed_version('av') or 'missing'
    show('av', f'{found} (for videos; supported: {AV_RANGE[2:]})')
    if av_fault():
        show('', f'warning: no video can be read or written: {av_fault()}')
    show(
        'GPU',
        torch.cuda.get_device_name()
        if torch.cuda.is_available() else 'none: everything runs on the CPU')

    faults = _compat.find_faults()
    if any('operators' in fault for fault in faults):
        show('mmcv operators', 'missing')
    elif _compat.installed_version('mmcv'):
        show('mmcv operators', operator_devices())
    show_backends()
    show_speed(args.device)
    faults = faults or find_import_faults()
    if faults:
        print('\nDKSAN cannot run here:')
        for fault in faults:
            print(f'- {fault}')
        sys.exit(1)
    print('\nDKSAN can run here.')
