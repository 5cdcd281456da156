"""Files that are written whole or not at all, and their hashes."""
import hashlib
import os
import os.path as osp

from .faults import cure_of


class OutputError(OSError):
    """An output cannot be written."""


def output_error(path: str, error: Exception, after: str = '') -> OutputError:
    """Return the error to raise where an output cannot be written, with the
    cure that its cause has.

    Args:
        path (str): What could not be written.
        error (Exception): What the system says.
        after (str): What to do then. Default: run the same command again.
    """
    cure = cure_of(error, 'see to what the system says here', reading=False)
    after = after or ('then run the same command again: it goes on where it '
                      'stopped')
    return OutputError(f'{path} could not be written: {error}; {cure}, '
                       f'{after}')


def sync(path: str) -> None:
    """Have a file, or the names in a folder, on the disk before what follows,
    should the machine stop."""
    windows = os.name == 'nt'
    if windows and osp.isdir(path):
        return  # it has no such thing
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: str, data: bytes, durable: bool = False) -> None:
    """Write a file, whole or not at all.

    Args:
        path (str): Its folder is made if need be.
        data (bytes): What it is to hold.
        durable (bool): Whether that is to hold even if the machine stops, not
            this process alone. Default: False.

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
        pass  # it is not there, or what is wrong is being reported already


def file_sha256(path: str) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()
