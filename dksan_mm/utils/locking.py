"""Locks that keep other runs away from the files of one."""
import os
import os.path as osp
import socket
from contextlib import suppress
from glob import escape, glob
from typing import Dict

from filelock import FileLock, Timeout

from . import files

_OWNER, _PART = '.owner', '.part'


class RunLock:
    """A file lock that one run, of any number of processes, holds.

    The run's first process takes it by :meth:`acquire`; each further process
    holds a part of it by :meth:`join`. It is free when no process holds it.
    The system releases what a process holds when that ends or is killed.

    Args:
        path (str): The lock file. Files for the parts, and for a note on the
            owner, are beside it; their names begin with its name.

    Attributes:
        owner (str): After :meth:`acquire` has failed, a process that holds the
            lock, such as ``process 7 on host``, or ``another process``.
    """

    def __init__(self, path: str) -> None:
        self.owner = 'another process'
        self._path = path
        self._held: Dict[str, FileLock] = {}

    def acquire(self, wait: bool = False) -> bool:
        """Take the lock; return whether that was possible.

        Args:
            wait (bool): Whether to wait until it is possible. Default: False.

        Raises:
            OSError: The file cannot be created.
        """
        if not self._take(self._path, wait):
            self.owner = _read(self._path + _OWNER)
            return False
        # processes of a run whose first one was killed may live on
        for part in glob(f'{escape(self._path)}.*{_PART}'):
            if not self._take(part, wait):
                host, _, pid = part[len(self._path) +
                                    1:-len(_PART)].rpartition('.')
                self.owner = f'process {pid} on {host}'
                self._let_go(self._path)
                return False
            self._let_go(part)
        with suppress(OSError):
            with open(self._path + _OWNER, 'w') as file:
                file.write(f'process {os.getpid()} on {socket.gethostname()}')
        return True

    def join(self) -> None:
        """Hold a part of the lock that some process of the run has taken.

        Raises:
            OSError: The file cannot be created.
        """
        self._take(f'{self._path}.{socket.gethostname()}.{os.getpid()}{_PART}',
                   True)

    def holds(self) -> bool:
        """Return whether this process has taken the lock."""
        return self._path in self._held

    def release(self, remove: bool = False) -> None:
        """Release everything that this process holds.

        Args:
            remove (bool): Whether to remove the files, if this process has
                taken the lock. Default: False.
        """
        if remove and self.holds():
            for path in glob(f'{escape(self._path)}.*'):
                if path.endswith((_OWNER, _PART)):
                    files.remove(path)
            # removed while still held, so that a waiting process notices
            files.remove(self._path)
        self._let_go()

    def _take(self, path: str, wait: bool) -> bool:
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return False
        self._held[path] = lock
        if osp.exists(path):
            return True
        # another run has removed the file
        self._let_go(path)
        return wait and self._take(path, wait)

    def _let_go(self, *paths: str) -> None:
        for path in paths or list(self._held):
            self._held.pop(path).release()


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read() or 'another process'
    except (OSError, ValueError):
        return 'another process'
