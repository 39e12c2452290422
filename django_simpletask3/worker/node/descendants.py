"""Processes that task functions started: their signals, and their end with the node."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36

#: The signals that a worker handles in its own way.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_masks = threading.local()


def restore_signals_after_fork() -> None:
    """Let every process that this one forks handle signals as Python does by default.

    Else ``Process.terminate()`` would ask the fork to stop as a worker does, which it never reads.
    """
    # Blocked until then: a signal that reaches a new fork too early is lost.
    os.register_at_fork(
        before=_block_signals,
        after_in_parent=_unblock_signals,
        after_in_child=_restore_signals,
    )


def ignore_interrupts() -> None:
    """Ignore SIGINT and SIGHUP in this process, but not in the programs that it starts."""
    # A handler, not SIG_IGN: a program inherits what is ignored.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def _block_signals() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    _unblock_signals()


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends (Linux)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants(number: int, spared: Collection[int] = ()) -> int:
    """Send ``number`` to the processes below this one; returns how many there are (Linux).

    Children in ``spared`` are left alone, with all below them; so are processes that made a
    session of their own: they are to outlive the node.
    """
    pids = list(_descendants(os.getpid(), spared))
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return len(pids)


def children_of(parent: int) -> list[int]:
    """The children of the process ``parent`` (Linux)."""
    return [pid for pid, parent_pid, _ in _processes() if parent_pid == parent]


def _descendants(parent: int, spared: Collection[int]) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for pid, parent_pid, session in _processes():
        if session == os.getsid(0):
            children.setdefault(parent_pid, []).append(pid)
    waiting = [pid for pid in children.get(parent, []) if pid not in spared]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def _processes() -> Iterator[tuple[int, int, int]]:
    """The living processes: number, parent and session."""
    for path in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has ended
            state, parent, _group, session = path.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield int(path.parent.name), int(parent), int(session)
