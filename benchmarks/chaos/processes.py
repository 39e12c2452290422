"""The processes of the play: nodes of workers, and producers; started, killed, frozen, thawed."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from benchmarks.chaos import process_pool

ROOT = Path(__file__).resolve().parents[2]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["benchmarks.chaos.process_pool"])


class ManagedProcess:
    """One process in a session of its own; what it prints goes to a file."""

    def __init__(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.log = settings.RUN_FOLDER / f"{name}.log"
        self.process = _FORKS.Process(target=target, args=(self.log, *arguments), daemon=True)
        self.process.start()
        self.pid = int(self.process.pid or 0)
        self.is_expected_to_end = False

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
        self.is_expected_to_end = True
        pids = self.members() if self.is_running else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        send_signal(pids, signal.SIGKILL)  # it may be too young to lead a group
        self.wait()
        return pids

    def stop(self) -> None:
        """Ask it to end in good order."""
        self.is_expected_to_end = True
        send_signal([self.pid], signal.SIGTERM)


def start_node(name: str, *, host: str, processes: int = 2) -> ManagedProcess:
    """A ``django-simpletask3-server`` on the machine ``host``."""
    return ManagedProcess(name, process_pool.run_node, host, "--processes", str(processes))


def start_producer(name: str, seed: int) -> ManagedProcess:
    """A process that makes work."""
    return ManagedProcess(name, process_pool.run_producer, seed)


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
