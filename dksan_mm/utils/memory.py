"""Controls how the C library handles large blocks of memory."""
import ctypes
import os

# parameters of glibc's mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for reuse.

    By default glibc requests every block of more than 32 MiB from the system,
    and returns it when it is freed. A network with large features then spends
    much of its time on page faults. Kept pages cost nothing: the process does
    not shrink before its end, and, apart from gaps between blocks, does not
    grow beyond its peak.

    Only programs should call this, not libraries: it affects the whole
    process. An environment variable has the same effect:
    ``GLIBC_TUNABLES=glibc.malloc.mmap_threshold=2147483647:glibc.malloc.``
    ``trim_threshold=2147483647``.

    Returns:
        bool: Whether the C library is glibc and accepted these settings.
    """
    if os.name == 'nt':
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return all(
        mallopt(ctypes.c_int(option), ctypes.c_int(_MOST)) == 1
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
