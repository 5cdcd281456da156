"""Threads joined by bounded queues: order, bounds, the first error."""
import threading
import time

import pytest

from dksan_mm.apis.threads import Crew, Stopped


def produce(channel, items):
    for item in items:
        channel.put(item)
    channel.close()


def test_order_is_kept_through_two_threads():
    with Crew() as crew:
        first, second = crew.channel(1), crew.channel(3)
        crew.start(produce, first, range(50))
        crew.start(lambda: produce(second, (2 * item for item in first)))
        found = list(second)
    assert found == [2 * item for item in range(50)]


def test_a_channel_never_holds_more_than_its_size():
    most = 0
    with Crew() as crew:
        channel = crew.channel(3)
        crew.start(produce, channel, range(40))
        for item in channel:
            if item < 5:
                time.sleep(.01)  # the other is ahead
            most = max(most, len(channel))
    assert most == 3


def test_size_must_be_positive():
    with pytest.raises(ValueError, match='size must be at least 1, got 0'):
        Crew().channel(0)


def test_an_error_of_a_thread_ends_the_reader():
    """Also of one that waits for ever otherwise."""

    def fail():
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full') as caught:
        with Crew() as crew:
            channel = crew.channel(1)
            crew.start(fail)
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
        with Crew() as crew:
            channel = crew.channel(1)
            crew.start(write, channel)
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
        with Crew() as crew:
            channel = crew.channel(1)
            crew.start(second, channel)
            crew.start(first)
            gate.set()


def test_error_after_the_body():
    """The body is through; a thread still works, and fails."""
    gate = threading.Event()

    def late():
        gate.wait()
        raise OSError('late')

    with pytest.raises(OSError, match='late'):
        with Crew() as crew:
            crew.start(late)
            gate.set()


def test_ctrl_c_while_threads_finish(monkeypatch):
    """They are waited for: what a thread writes is written before another
    run may begin."""
    begun, gate, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        gate.wait()
        done.append(True)

    original = Crew._join
    calls = []

    def interrupted(self):
        calls.append(True)
        if len(calls) == 1:
            begun.wait()
            raise KeyboardInterrupt
        gate.set()
        original(self)

    monkeypatch.setattr(Crew, '_join', interrupted)
    with pytest.raises(KeyboardInterrupt):
        with Crew() as crew:
            crew.start(work)
    assert done == [True] and isinstance(crew.error, KeyboardInterrupt)
