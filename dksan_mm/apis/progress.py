"""Shows a job's progress on one line of the error output."""
import sys
import threading

from tqdm import tqdm

# seconds between updates on a terminal, and between lines in a log
_INTERVAL, _LOG_INTERVAL = .5, 30.


class Bar(tqdm):
    """tqdm's bar."""


# tqdm's own lock is shared with forked processes: a process that is killed
# while holding it would block all others
Bar.set_lock(threading.RLock())


def show_progress(total: int,
                  done: int = 0,
                  enabled: bool = True,
                  label: str = 'restored') -> Bar:
    """Return a bar of frames done, frames per second and time left;
    ``update()`` counts a frame, ``close()`` ends the line.

    Frames that an earlier run restored count as done, but not for the speed
    and the time left.

    Args:
        total (int): Frames of the whole job.
        done (int): Number of these that are there already. Default: 0.
        enabled (bool): Whether to show anything. Default: True.
        label (str): Text before the numbers. Default: 'restored'.
    """
    terminal = sys.stderr.isatty()
    return Bar(
        total=total,
        initial=done,
        desc=label,
        unit='frame',
        file=sys.stderr,
        disable=not enabled,
        dynamic_ncols=terminal,
        mininterval=_INTERVAL if terminal else _LOG_INTERVAL)
