"""How far a job is, on one line of the error output."""
import sys
import threading

from tqdm import tqdm

# seconds between updates on a terminal, and between lines in a log
_INTERVAL, _LOG_INTERVAL = .5, 30.


class Bar(tqdm):
    """tqdm's bar."""


# tqdm's own lock is shared with forked processes, and one that is killed
# while it holds it would stop all others
Bar.set_lock(threading.RLock())


def show_progress(total: int,
                  done: int = 0,
                  enabled: bool = True,
                  label: str = 'restored') -> Bar:
    """Return a bar of frames done, frames per second and time left;
    ``update()`` counts a frame, ``close()`` ends the line.

    Frames that an earlier run restored count as done, but neither into the
    speed nor, so, into the time left.

    Args:
        total (int): Frames of the whole job.
        done (int): Of these, frames that are there already. Default: 0.
        enabled (bool): Whether to show anything. Default: True.
        label (str): Before the numbers. Default: 'restored'.
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
