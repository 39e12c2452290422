"""Start commands of Django in forks of one process that has set it up: see tests.fork_server."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache

_POLL_SECONDS = 0.05
#: Settings of the package are read when it needs them; other variables may be read at the start.
_READ_LATER = ("DJANGO_SIMPLETASK3_", "PYTEST_CURRENT_TEST")


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **more}


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process only reads when it starts."""
    return {k: v for k, v in environment.items() if not k.startswith(_READ_LATER)}


#: As it was before any test.
_AT_START = _read_at_start(_environment())


class ForkServer:
    """The fork server of this session; it ends with the session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.fork_server"]
        with theirs:
            self._process = subprocess.Popen(
                command, env=_AT_START, stdin=theirs, start_new_session=True
            )
        self._unread = b""
        self._started: list[int] = []
        self._codes: dict[int, int] = {}

    def start(self, arguments: list[str], environment: Mapping[str, str], output: int) -> int:
        """Start ``python -m django`` with these arguments; the pid."""
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "folder": os.getcwd(),  # noqa: PTH109 - a text for JSON
        }
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [output])
            while not self._started:
                self._read(timeout=None)
            return self._started.pop()

    def exit_code(self, pid: int, timeout: float = 0.0) -> int | None:
        """The exit code of a process, negative for a signal; None if it has not ended."""
        with self._lock:
            if pid not in self._codes:
                self._read(timeout)
            return self._codes.get(pid)

    def _read(self, timeout: float | None) -> None:
        if not select.select([self._socket], [], [], timeout)[0]:
            return
        text = self._socket.recv(1 << 16)
        if not text:
            raise RuntimeError("The fork server has ended.")
        *lines, self._unread = (self._unread + text).split(b"\n")
        for answer in map(json.loads, lines):
            if "started" in answer:
                self._started.append(answer["started"])
                self._codes.pop(answer["started"], None)  # an earlier process may have had it
            else:
                self._codes[answer["ended"]] = answer["code"]


@cache
def fork_server() -> ForkServer:
    return ForkServer()


class ForkedProcess:
    """A process of the fork server, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        source, sink = os.pipe()
        try:
            self.pid = fork_server().start(arguments, environment, sink)
        finally:
            os.close(sink)
        self.stdout = os.fdopen(source, encoding="utf-8")
        self._output = ""
        self._reader: threading.Thread | None = None

    def poll(self) -> int | None:
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._look(_POLL_SECONDS)) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Read the output until its end, and wait for the process."""
        if not self.stdout.closed:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, daemon=True)
                self._reader.start()
            self._reader.join(timeout)
            if self._reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.stdout.close()
        self.wait(timeout)
        return self._output, None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float) -> int | None:
        if self.returncode is None:
            self.returncode = fork_server().exit_code(self.pid, timeout)
        return self.returncode

    def _read(self) -> None:
        self._output = self.stdout.read()


def django_process(*arguments: str, **environment: str) -> "subprocess.Popen[str] | ForkedProcess":
    """Start ``python -m django`` in a session of its own; its output can be read.

    It is a fork, unless the environment holds more than settings of the package.
    """
    whole = _environment(**environment)
    if _read_at_start(whole) == _AT_START:
        return ForkedProcess([*arguments], whole)
    return subprocess.Popen(
        [sys.executable, "-m", "django", *arguments],
        env=whole,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
