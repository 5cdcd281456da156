"""Settings of the C library."""
import platform
import subprocess
import sys

import pytest

MEASURE = '''
import torch
from dksan_mm.utils.memory import keep_freed_memory

def resident():
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) // 1024 for line in file
                    if line.startswith('VmRSS'))

if {keep}:
    assert keep_freed_memory()
before = resident()
block = torch.ones(2**26)
del block
print(resident() - before)
'''


@pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='the settings are glibc\'s')
@pytest.mark.parametrize('keep', [True, False])
def test_freed_memory_is_kept_where_asked(keep):
    done = subprocess.run(
        [sys.executable, '-c', MEASURE.format(keep=keep)],
        capture_output=True,
        text=True,
        check=True)
    mebibytes = int(done.stdout)
    assert mebibytes >= 250 if keep else mebibytes < 50
