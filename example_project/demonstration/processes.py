"""Processes of our own: a worker, and the server of the admin."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
PATIENCE = 20.0


class Program:
    """A command of ``manage.py`` in a process group of its own; its output is in ``log``.

    As a context manager it is stopped at the end of the block, whatever happens in it.
    """

    def __init__(self, name: str, log: Path, *command: str) -> None:
        self.name = name
        self.log = log
        # Whatever belongs to the program holds the other end: it is closed when all of it is gone.
        self._life, held = os.pipe()
        with log.open("wb") as output:
            # Of its own: Ctrl-C on the terminal is ours to hear, and what it started dies with it.
            self._process = subprocess.Popen(
                [sys.executable, str(MANAGE), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[held],
            )
        os.close(held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._life)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> int:
        """SIGKILL to all of it at once, as when the machine loses power; the exit code.

        Returns when its children, too, are gone, with the connections they had.
        """
        os.killpg(self.pid, signal.SIGKILL)
        select.select([self._life], [], [], PATIENCE)
        return self._process.wait()

    def stop(self) -> int:
        """Ask it to end; the exit code."""
        if self.is_over:
            return self._process.wait()
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return self.kill()

    def log_tail(self, lines: int = 20) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def worker(name: str, folder: Path) -> Program:
    """``manage.py django-simpletask3-server``."""
    log = folder / f"{name.replace(' ', '-')}.log"
    return Program(name, log, "django-simpletask3-server", "--verbosity", "2")
