"""How the C library deals with large blocks of memory."""
import ctypes
import os

# of mallopt(3) in glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, to use it again.

    By default glibc takes every block of more than 32 MiB from the system and
    gives it back when it is freed. A network with large features then spends
    much of its time on pages that it sees for the first time. Kept, they cost
    nothing; the process does not become smaller before its end, nor larger
    than it was at its peak, but for gaps between blocks.

    For programs, not for libraries to call: it holds for the whole process.
    The same from outside, without a program's help: the environment variable
    ``GLIBC_TUNABLES=glibc.malloc.mmap_threshold=2147483647:glibc.malloc.``
    ``trim_threshold=2147483647``.

    Returns:
        bool: Whether the C library knows these settings (that is, is glibc)
        and took them.
    """
    if os.name == 'nt':
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return all(
        mallopt(ctypes.c_int(option), ctypes.c_int(_MOST)) == 1
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
