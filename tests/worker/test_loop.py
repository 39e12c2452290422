"""A stop can be requested from any thread and from a signal handler."""

import signal
import threading
from typing import Any

import pytest

from django_simpletask3.worker.loop import StopRequest


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
