"""Reports errors of the system and of libraries with file and cure."""
import errno
import functools
import inspect
import os
import stat
from contextlib import contextmanager
from typing import Any, Callable, Iterator

DAMAGED = 'copy or convert the file again'
# cures for errors of the system
_CURES = {
    errno.ENOSPC: 'free disk space',
    errno.EDQUOT: 'free disk space: a quota is used up',
    errno.EFBIG: 'choose a file system that takes larger files',
    errno.EROFS: 'choose a folder that can be written to',
    errno.EACCES: 'choose a folder that can be written to',
    errno.EPERM: 'choose a folder that can be written to',
    errno.EEXIST: 'a file is where a folder must be: remove it, or choose '
    'another name',
    errno.ENOTDIR: 'a file is where a folder must be: remove it, or choose '
    'another name',
    errno.EISDIR: 'a folder is where a file must be: remove it, or choose '
    'another name',
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.EMFILE: 'let a process have more files open (ulimit -n)',
}
# cures when reading, or when it is unknown whether reading failed
_READING_CURES = {
    **_CURES,
    errno.EACCES: 'let this user read it, and write to what is an output',
    errno.EPERM: 'let this user read it, and write to what is an output',
    errno.ENOENT: 'check the path',
}
_KINDS = {
    stat.S_IFIFO: 'a pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device'
}


def cure_of(error: Exception, otherwise: str, reading: bool = True) -> str:
    """Return what to do about an error of the system or of FFmpeg.

    Args:
        error (Exception): The error.
        otherwise (str): The cure for errors without an error number, or with
            one that has no cure here.
        reading (bool): Whether reading may have caused the error. Default:
            True.
    """
    cures = _READING_CURES if reading else _CURES
    return cures.get(getattr(error, 'errno', None), otherwise)


def is_write_error(error: OSError) -> bool:
    """Whether writing failed for a reason that has a cure here."""
    return error.errno in _CURES


@contextmanager
def telling(path: str) -> Iterator[None]:
    """Turn errors of the system, PyAV and OpenCV, whose messages lack the file
    or the cure, into an OSError that has both. Errors of this package, which
    have no error number, pass unchanged.

    Args:
        path (str): The file or folder to name, unless the error names one.

    Raises:
        OSError: Instead of such an error.
    """
    try:
        yield
    except Exception as error:
        of_system = isinstance(error, OSError) and error.errno is not None
        if not of_system and not is_of_library(error):
            raise
        name = getattr(error, 'filename', None) or path
        text = getattr(error, 'strerror', None) or error
        raise OSError(
            f'{os.fsdecode(name)} could not be read or written: {text}; '
            f'{cure_of(error, DAMAGED)}') from error


def is_of_library(error: BaseException) -> bool:
    """Return whether PyAV or OpenCV raised an error, of whatever class."""
    if type(error).__module__.split('.')[0] in ('av', 'cv2'):
        return True
    trace, raised_in = error.__traceback__, ''
    while trace is not None:
        raised_in = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    # PyAV is compiled: its traces name files relative to its sources
    return raised_in.replace('\\', '/').startswith('av/')


def told(argument: str) -> Callable:
    """Return a decorator that runs a function in :func:`telling`, with the
    path from the named argument."""

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            path = signature.bind(*args, **kwargs).arguments[argument]
            with telling(path):
                return function(*args, **kwargs)

        return run

    return decorate


@contextmanager
def reading_image(path: str, what: str = 'image') -> Iterator[None]:
    """Turn whatever Pillow raises for a damaged image into a ValueError.

    Raises:
        ValueError: The image is damaged, or the path is no file.
    """
    try:
        check_kind(path)
        yield
    except Exception as error:
        if isinstance(error, NotAFile):
            raise
        raise ValueError(
            f'{path} must be a readable {what}, found: '
            f'{str(error) or type(error).__name__}; '
            f'{cure_of(error, "restore or convert the file again")}'
        ) from error


class NotAFile(ValueError):
    """The path to read is neither a file nor a folder."""


def check_kind(path: str) -> None:
    """Check that a path is a file or a folder: reading a pipe would wait for a
    writer, and a pipe cannot be read twice.

    Raises:
        NotAFile: The path is neither.
        OSError: There is nothing there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), 'something else')
        raise NotAFile(
            f'{path} must be a file or a folder, which can be read more than '
            f'once, found {kind}; write what comes from it to a file first')


class CheckpointMismatchError(ValueError):
    """A checkpoint does not fit the model that should load it."""
