"""Child processes: a worker, and the web server of the admin."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
TIMEOUT = 20.0


class Program:
    """A command of ``manage.py`` in its own process group; its output goes to ``log``.

    Used as a context manager, it is stopped at the end of the block.
    """

    def __init__(self, name: str, log: Path, *command: str) -> None:
        self.name = name
        self.log = log
        # The program and its children inherit the write end, which is closed when all have exited.
        self._exit_pipe, write_end = os.pipe()
        with log.open("wb") as output:
            # Its own session: Ctrl-C reaches only this process, and kill() reaches its children.
            self._process = subprocess.Popen(
                [sys.executable, str(MANAGE), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[write_end],
            )
        os.close(write_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._exit_pipe)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> int:
        """Send SIGKILL to the whole group, as a power failure would; return the exit code.

        Returns when its children have exited too, and their connections are closed.
        """
        os.killpg(self.pid, signal.SIGKILL)
        select.select([self._exit_pipe], [], [], TIMEOUT)
        return self._process.wait()

    def stop(self) -> int:
        """Send SIGTERM, and SIGKILL after ``TIMEOUT`` seconds; return the exit code."""
        if self.has_exited:
            return self._process.wait()
        self._process.terminate()
        try:
            return self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            return self.kill()

    def log_tail(self, lines: int = 20) -> str:
        """The last ``lines`` of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def worker(name: str, folder: Path) -> Program:
    """``manage.py django-simpletask3-server``."""
    log = folder / f"{name.replace(' ', '-')}.log"
    return Program(name, log, "django-simpletask3-server", "--verbosity", "2")
