"""Threads beside the main one, connected by bounded queues."""
import threading
from collections import deque
from typing import Any, Callable, Deque, Iterator, List, Optional


class Stopped(Exception):
    """Another thread has failed, so this one must stop."""


class Threads:
    """Threads of one job: the first error in any thread stops all.

    As a context manager it waits at its end for all threads, and raises the
    first error. An error (or Ctrl-C) in the body stops the threads: each gets
    :class:`Stopped` when it puts to or takes from a channel.

    Attributes:
        error (BaseException, optional): The first error.
    """

    def __init__(self) -> None:
        self.error: Optional[BaseException] = None
        # one condition serves all channels: they are few and seldom used
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
            except BaseException as error:  # the main thread raises it
                self.stop(error)

        # a daemon, so that a second Ctrl-C ends the process at once
        thread = threading.Thread(target=run, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, error: BaseException) -> None:
        """Stop all threads because of an error; only the first one counts."""
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
            self._join()  # otherwise they would work on without us
            raise
        if self.error is not None and self.error is not error:
            # not chained to the Stopped that it caused here
            raise self.error from self.error.__cause__

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


class Channel:
    """A bounded queue from one thread to another.

    Args:
        size (int): Capacity, at least 1.
        threads (Threads): Threads whose errors end the waiting.
        changed (threading.Condition): Their condition.
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
        """Add an item; wait until there is room for it.

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
            del item  # or it would stay in memory until the next one is there

    def check(self) -> None:
        """Raise :class:`Stopped` if a thread has failed."""
        if self._threads.error is not None:
            raise Stopped()

    def _wait(self, ready: Callable[[], Any]) -> None:
        """Wait until ``ready`` is true; only this thread can undo it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._threads.error is not None or ready())
            self.check()
