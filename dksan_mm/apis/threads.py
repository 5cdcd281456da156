"""Threads that work beside the main one, joined by bounded queues."""
import threading
from collections import deque
from typing import Any, Callable, Deque, Iterator, List, Optional


class Stopped(Exception):
    """Another thread has failed: this one's work is not wanted any more."""


class Threads:
    """Threads of one job: the first error, of whichever thread, ends all.

    As a context manager it waits at its end for all threads, and raises the
    first error where it happened. An error (or Ctrl-C) in the body ends the
    threads: whoever puts to or takes from a channel gets :class:`Stopped`.

    Attributes:
        error (BaseException, optional): The first error.
    """

    def __init__(self) -> None:
        self.error: Optional[BaseException] = None
        # one condition for all channels: there are few, with long work
        # between their calls
        self._changed = threading.Condition()
        self._threads: List[threading.Thread] = []

    def channel(self, size: int) -> 'Channel':
        """Return a queue for at most ``size`` items."""
        return Channel(size, self, self._changed)

    def start(self, work: Callable[..., None], *args: Any) -> None:
        """Run ``work(*args)`` in a thread of its own."""

        def run() -> None:
            try:
                work(*args)
            except BaseException as error:  # it belongs to the main thread
                self.stop(error)

        # a daemon: a second Ctrl-C is not kept waiting
        thread = threading.Thread(target=run, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, error: BaseException) -> None:
        """End all work because of an error; only the first one counts."""
        with self._changed:
            if self.error is None and not isinstance(error, Stopped):
                self.error = error
            self._changed.notify_all()

    def __enter__(self) -> 'Threads':
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException],
                 trace: Any) -> None:
        if error is not None:
            self.stop(error)
        try:
            self._join()
        except BaseException as interrupt:  # Ctrl-C
            self.stop(interrupt)
            self._join()  # what they are at would go on without us
            raise
        if self.error is not None and self.error is not error:
            # not as a consequence of the Stopped that it caused here
            raise self.error from self.error.__cause__

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


class Channel:
    """A bounded queue from one thread to another.

    Args:
        size (int): Most items in it, at least 1.
        threads (Threads): Whose errors end the waiting.
        changed (threading.Condition): Theirs.
    """

    def __init__(self, size: int, threads: Threads,
                 changed: threading.Condition) -> None:
        if size < 1:
            raise ValueError(f'size must be at least 1, got {size}')
        self._size = size
        self._threads = threads
        self._changed = changed
        self._items: Deque[Any] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """Add an item, when there is room for it.

        Raises:
            Stopped: A thread has failed.
        """
        self._wait(lambda: len(self._items) < self._size)
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """Tell the reader that there is no more to come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Any]:
        """Yield the items until the channel is closed.

        Raises:
            Stopped: A thread has failed.
        """
        while True:
            self._wait(lambda: self._items or self._closed)
            with self._changed:
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # or it would live until the next one is there

    def check(self) -> None:
        """Raise :class:`Stopped` if a thread has failed."""
        if self._threads.error is not None:
            raise Stopped()

    def _wait(self, ready: Callable[[], Any]) -> None:
        """Wait until ``ready`` (only this thread can undo it)."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._threads.error is not None or ready())
            self.check()
