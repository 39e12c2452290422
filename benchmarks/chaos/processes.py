"""Start, signal and kill the processes of a run: worker nodes and producers."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from benchmarks.chaos import process_pool

ROOT = Path(__file__).resolve().parents[2]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["benchmarks.chaos.process_pool"])


class ManagedProcess:
    """A process in a session of its own, whose output goes to a file."""

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
        """Return the pids of its running children."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(pid) for pid in path.read_text(encoding="ascii").split()]
        return []

    def members(self) -> list[int]:
        """Return its pid and those of its children."""
        return [self.pid, *self.children()]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, at most ``timeout`` seconds; return whether it has ended."""
        self.process.join(timeout)
        return not self.is_running

    def kill_all(self) -> list[int]:
        """Kill it and its children at once; return their pids."""
        self.is_expected_to_end = True
        pids = self.members() if self.is_running else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        send_signal(pids, signal.SIGKILL)  # it may not lead a group yet
        self.wait()
        return pids

    def stop(self) -> None:
        """Send SIGTERM."""
        self.is_expected_to_end = True
        send_signal([self.pid], signal.SIGTERM)


class EarlierProcess(ManagedProcess):
    """A process that imports the package from ``folder``, and not from this checkout.

    It loads Django itself: the fork server has loaded the package of this checkout.
    """

    def __init__(self, name: str, folder: Path, host: str, *arguments: str) -> None:
        self.name = name
        self.log = settings.RUN_FOLDER / f"{name}.log"
        code = "import sys; from benchmarks.chaos.process_pool import run_node_of_arguments as run"
        environment = {"PYTHONPATH": f"{folder}:{ROOT}", "SIMPLETASK3_CHAOS_VERSION": "1"}
        self.started = subprocess.Popen(
            [sys.executable, "-P", "-c", f"{code}; run()", str(self.log), host, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.pid = self.started.pid
        self.is_expected_to_end = False

    @property
    def is_running(self) -> bool:
        return self.started.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self.started.returncode

    def wait(self, timeout: float | None = None) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.started.wait(timeout)
        return not self.is_running


def start_node(
    name: str, *, host: str, processes: int = 2, earlier: Path | None = None
) -> ManagedProcess:
    """Start a ``django-simpletask3-server`` under the host name ``host``.

    ``earlier`` is the folder of an earlier version of the package.
    """
    arguments = ["--processes", str(processes)]
    if earlier is not None:
        return EarlierProcess(name, earlier, host, *arguments)
    return ManagedProcess(name, process_pool.run_node, host, *arguments)


def start_producer(name: str, seed: int) -> ManagedProcess:
    """Start a producer of tasks."""
    return ManagedProcess(name, process_pool.run_producer, seed)


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send a signal to the processes that still run."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
