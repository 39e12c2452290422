"""A stop can be requested from any thread and from a signal handler; a pause can be ended."""

import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.worker.loop import Loop, StopRequest
from tests.eventually import eventually


def test_a_signal_that_comes_while_its_own_thread_waits_is_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = StopRequest()
    wait_for = threading.Condition.wait_for

    def wait_and_be_interrupted(condition: threading.Condition, *arguments: Any) -> Any:
        # In the middle of wait(): this very thread holds the lock.
        signal.raise_signal(signal.SIGUSR1)
        return wait_for(condition, *arguments)

    monkeypatch.setattr(threading.Condition, "wait_for", wait_and_be_interrupted)
    before = signal.signal(signal.SIGUSR1, lambda *_: stop.force())
    try:
        is_requested = stop.wait(60)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert (is_requested, stop.is_requested, stop.is_forced) == (True, True, True)


def test_a_thread_that_waits_is_woken() -> None:
    stop, woken = StopRequest(), threading.Event()
    thread = threading.Thread(target=lambda: stop.wait(60) and woken.set(), daemon=True)
    thread.start()

    stop.request()

    assert woken.wait(30)
    assert stop.wait(60)


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """For loops of the test, which end with it."""
    stop = StopRequest()
    yield stop
    stop.request()


def test_a_loop_that_pauses_is_woken(stop: StopRequest) -> None:
    calls: queue.Queue[None] = queue.Queue()
    loop = Loop("loop", stop, lambda: calls.put(None) or 600.0)
    loop.start()
    calls.get(timeout=30)

    loop.wake()

    calls.get(timeout=30)


def test_a_loop_that_is_woken_while_it_works_works_once_more(stop: StopRequest) -> None:
    calls: queue.Queue[None] = queue.Queue()

    def work() -> float:
        if calls.qsize() == 0:
            loop.wake()
        calls.put(None)
        return 600.0

    loop = Loop("loop", stop, work)
    loop.start()

    eventually(lambda: calls.qsize() == 2)


def test_a_loop_that_is_woken_wakes_no_other(stop: StopRequest) -> None:
    woken, calls = queue.Queue[None](), queue.Queue[None]()
    other = Loop("other", stop, lambda: calls.put(None) or 600.0)
    loop = Loop("loop", stop, lambda: woken.put(None) or 600.0)
    for thread in (other, loop):
        thread.start()
    for each in (calls, woken):
        each.get(timeout=30)

    loop.wake()

    woken.get(timeout=30)
    with pytest.raises(queue.Empty):
        calls.get(timeout=0.2)


def test_a_loop_that_failed_keeps_its_pause(
    stop: StopRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_simpletask3.worker.loop._BACKOFF", lambda failures: 600.0)
    calls: queue.Queue[None] = queue.Queue()

    def fail() -> float:
        calls.put(None)
        raise QueueUnavailable("gone")

    loop = Loop("loop", stop, fail)
    loop.start()
    calls.get(timeout=30)

    loop.wake()

    with pytest.raises(queue.Empty):
        calls.get(timeout=0.2)
