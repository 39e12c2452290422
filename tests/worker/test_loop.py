"""Asking to stop, from wherever one is."""

import signal
import threading

from django_simpletask3.worker.loop import Stopping


def test_a_signal_that_comes_while_its_own_thread_waits_is_heard() -> None:
    stopping = Stopping()
    before = signal.signal(signal.SIGUSR1, lambda *_: stopping.insist())
    try:
        # As if the signal came in the middle of wait(): its lock is held by this very thread.
        with stopping._changed:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert (stopping.is_asked, stopping.is_urgent) == (True, True)


def test_who_waits_is_woken() -> None:
    stopping, woken = Stopping(), threading.Event()
    thread = threading.Thread(target=lambda: stopping.wait(60) and woken.set(), daemon=True)
    thread.start()

    stopping.ask()

    assert woken.wait(30)
    assert stopping.wait(60)
