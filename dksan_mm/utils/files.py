"""Writes files completely or not at all; hashes them."""
import hashlib
import os
import os.path as osp

from .faults import cure_of


class OutputError(OSError):
    """An output cannot be written."""


def output_error(path: str, error: Exception, after: str = '') -> OutputError:
    """Return the error to raise when an output cannot be written, with a cure
    for its cause.

    Args:
        path (str): The file or folder that could not be written.
        error (Exception): The error of the system.
        after (str): What to do after the cure. Default: run the same command
            again.
    """
    cure = cure_of(error, 'remove the cause named here', reading=False)
    after = after or ('then run the same command again: it goes on where it '
                      'stopped')
    return OutputError(f'{path} could not be written: {error}; {cure}, '
                       f'{after}')


def sync(path: str) -> None:
    """Flush a file, or the names in a folder, to disk, so that they survive a
    stop of the machine."""
    windows = os.name == 'nt'
    if windows and osp.isdir(path):
        return  # Windows cannot flush a folder
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: str, data: bytes, durable: bool = False) -> None:
    """Write a file completely or not at all.

    Args:
        path (str): The file; its folder is created if need be.
        data (bytes): Content of the file.
        durable (bool): Whether this must hold even if the machine stops, not
            only this process. Default: False.

    Raises:
        OutputError: The disk is full, the folder read-only, ...
    """
    partial = f'{path}.partial'
    try:
        os.makedirs(osp.dirname(path) or '.', exist_ok=True)
        with open(partial, 'wb') as file:
            file.write(data)
        if durable:
            sync(partial)
        os.replace(partial, path)
    except OSError as error:
        remove(partial)
        raise output_error(path, error) from error


def remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # it does not exist, or the fault is being reported already


def file_sha256(*paths: str) -> str:
    """Return the SHA-256 of a file, or of several one after the other, as
    hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(2**20), b''):
                digest.update(block)
    return digest.hexdigest()
