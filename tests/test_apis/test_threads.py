"""Threads joined by bounded queues: order, bounds, the first error."""
import threading
import time

import pytest

from dksan_mm.apis.threads import Stopped, Threads


def produce(channel, items):
    for item in items:
        channel.put(item)
    channel.close()


def test_order_is_kept_through_two_threads():
    with Threads() as threads:
        first, second = threads.channel(1), threads.channel(3)
        threads.start(produce, first, range(50))
        threads.start(lambda: produce(second, (2 * item for item in first)))
        found = list(second)
    assert found == [2 * item for item in range(50)]


def test_a_channel_never_holds_more_than_its_size():
    most = 0
    with Threads() as threads:
        channel = threads.channel(3)
        threads.start(produce, channel, range(40))
        for item in channel:
            if item < 5:
                time.sleep(.01)  # the other is ahead
            most = max(most, len(channel))
    assert most == 3


def test_size_must_be_positive():
    with pytest.raises(ValueError, match='size must be at least 1, got 0'):
        Threads().channel(0)


def test_an_error_of_a_thread_ends_the_reader():
    """Also of one that waits for ever otherwise."""

    def fail():
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full') as caught:
        with Threads() as threads:
            channel = threads.channel(1)
            threads.start(fail)
            list(channel)
    # as it happened, not as something that happened while Stopped was raised
    assert caught.value.__suppress_context__
    assert threading.active_count() == 1 or not any(
        thread.name == 'fail' for thread in threading.enumerate())


def test_an_error_of_the_reader_ends_the_writers():
    stopped = []

    def write(channel):
        try:
            produce(channel, range(100))
        except Stopped:
            stopped.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        with Threads() as threads:
            channel = threads.channel(1)
            threads.start(write, channel)
            next(iter(channel))
            raise KeyboardInterrupt
    assert stopped == [True]


def test_the_first_error_counts():
    gate = threading.Event()

    def first():
        gate.wait()
        raise ValueError('first')

    def second(channel):
        try:
            for _ in channel:
                pass
        except Stopped:
            raise ValueError('second') from None

    with pytest.raises(ValueError, match='first'):
        with Threads() as threads:
            channel = threads.channel(1)
            threads.start(second, channel)
            threads.start(first)
            gate.set()


def test_error_after_the_body():
    """The body is through; a thread still works, and fails."""
    gate = threading.Event()

    def late():
        gate.wait()
        raise OSError('late')

    with pytest.raises(OSError, match='late'):
        with Threads() as threads:
            threads.start(late)
            gate.set()


def test_ctrl_c_while_threads_finish(monkeypatch):
    """They are waited for: what a thread writes is written before another
    run may begin."""
    begun, gate, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        gate.wait()
        done.append(True)

    original = Threads._join
    calls = []

    def interrupted(self):
        calls.append(True)
        if len(calls) == 1:
            begun.wait()
            raise KeyboardInterrupt
        gate.set()
        original(self)

    monkeypatch.setattr(Threads, '_join', interrupted)
    with pytest.raises(KeyboardInterrupt):
        with Threads() as threads:
            threads.start(work)
    assert done == [True] and isinstance(threads.error, KeyboardInterrupt)
