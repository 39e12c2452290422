"""The processes of the play: nodes of workers, and producers; started, killed, frozen, thawed."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from benchmarks.chaos import nursery

ROOT = Path(__file__).resolve().parents[2]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["benchmarks.chaos.nursery"])


class Actor:
    """One process in a session of its own; what it prints goes to a file."""

    def __init__(self, name: str, live: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.log = settings.RUN_FOLDER / f"{name}.log"
        self.process = _FORKS.Process(target=live, args=(self.log, *arguments), daemon=True)
        self.process.start()
        self.pid = int(self.process.pid or 0)
        self.is_doomed = False

    @property
    def is_running(self) -> bool:
        return self.process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self.process.exitcode

    def children(self) -> list[int]:
        """The processes it has forked and that live."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(word) for word in path.read_text(encoding="ascii").split()]
        return []

    def members(self) -> list[int]:
        """It and its children."""
        return [self.pid, *self.children()]

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended, ``timeout`` seconds from now at the latest."""
        self.process.join(timeout)
        return not self.is_running

    def kill_all(self) -> list[int]:
        """As if the machine had lost its power."""
        self.is_doomed = True
        pids = self.members() if self.is_running else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        send(pids, signal.SIGKILL)  # it may be too young to lead a group
        self.wait()
        return pids

    def stop(self) -> None:
        """Ask it to end in good order."""
        self.is_doomed = True
        send([self.pid], signal.SIGTERM)


def node(name: str, *, host: str, processes: int = 2) -> Actor:
    """A ``django-simpletask3-server`` on the machine ``host``."""
    return Actor(name, nursery.node, host, "--processes", str(processes))


def producer(name: str, seed: int) -> Actor:
    """A process that makes work."""
    return Actor(name, nursery.producer, seed)


def send(pids: Iterable[int], number: int) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
