"""The processes of the play: nodes of workers, and producers; started, killed, frozen, thawed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]


class Actor:
    """One command in a session of its own; what it prints goes to a file."""

    def __init__(self, name: str, *arguments: str, host: str = "") -> None:
        self.name = name
        self.log = settings.RUN_FOLDER / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "benchmarks.chaos.settings",
                    "SIMPLETASK3_CHAOS_HOST": host,
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.is_doomed = False
        self._members: set[int] = {self.process.pid}

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def children(self) -> list[int]:
        """The processes it has forked and that live."""
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
            found = [int(word) for word in text.split()]
            self._members.update(found)
            return found
        return []

    def members(self) -> list[int]:
        """It and its children."""
        return [self.process.pid, *self.children()]

    def kill_all(self) -> list[int]:
        """As if the machine had lost its power."""
        self.is_doomed = True
        pids = self.members() if self.is_running else self.children()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return pids

    def stop(self) -> None:
        """Ask it to end in good order."""
        self.is_doomed = True
        send([self.process.pid], signal.SIGTERM)


def node(name: str, *, host: str, processes: int = 2) -> Actor:
    """A ``django-simpletask3-server`` on the machine ``host``."""
    command = ["-m", "django", "django-simpletask3-server", "--processes", str(processes)]
    return Actor(name, *command, host=host)


def producer(name: str, seed: int) -> Actor:
    """A process that makes work."""
    return Actor(name, "-m", "benchmarks.chaos.producers", str(seed))


def send(pids: Iterable[int], number: int) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
