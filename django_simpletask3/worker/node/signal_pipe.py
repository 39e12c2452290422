"""Signals that end a wait: a handler only counts, whoever waits obeys."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signal_pipe(asked: Callable[[], None]) -> Iterator[int]:
    """Within the block, SIGTERM and SIGINT call ``asked``; every signal makes the pipe readable."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handled = {signal.SIGTERM: asked, signal.SIGINT: asked, signal.SIGCHLD: lambda: None}
    before = {
        number: signal.signal(number, lambda *_, call=call: call())
        for number, call in handled.items()
    }
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def drain(pipe: int) -> None:
    """Read what is in the pipe, so that the next signal wakes again."""
    try:
        while os.read(pipe, 512):
            pass
    except BlockingIOError:
        return
