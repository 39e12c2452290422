"""Wake a waiting process by signals: the handler only writes into a pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signal_pipe(handler: Callable[[], None]) -> Iterator[int]:
    """Call ``handler`` on SIGTERM, SIGINT and SIGHUP; yield a pipe that a signal makes readable.

    SIGHUP stays ignored if it was: ``nohup`` does that.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handled = {signal.SIGTERM: handler, signal.SIGINT: handler, signal.SIGCHLD: lambda: None}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled[signal.SIGHUP] = handler
    before = {n: signal.signal(n, lambda *_, call=call: call()) for n, call in handled.items()}
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        for number, previous in before.items():
            signal.signal(number, previous)
        os.close(reader)
        os.close(writer)


def drain(pipe: int) -> None:
    """Empty the pipe, so that the next signal makes it readable again."""
    try:
        while os.read(pipe, 512):
            pass
    except BlockingIOError:
        return
