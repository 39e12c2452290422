"""Asking to stop, from wherever one is."""

import signal
import threading

from django_simpletask3.worker.loop import StopRequest


def test_a_signal_that_comes_while_its_own_thread_waits_is_received() -> None:
    stop = StopRequest()
    before = signal.signal(signal.SIGUSR1, lambda *_: stop.force())
    try:
        # As if the signal came in the middle of wait(): its lock is held by this very thread.
        with stop._changed:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert (stop.is_requested, stop.is_forced) == (True, True)


def test_who_waits_is_woken() -> None:
    stop, woken = StopRequest(), threading.Event()
    thread = threading.Thread(target=lambda: stop.wait(60) and woken.set(), daemon=True)
    thread.start()

    stop.request()

    assert woken.wait(30)
    assert stop.wait(60)
