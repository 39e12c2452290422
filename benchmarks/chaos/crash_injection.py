"""Death, or deafness, on schedule: after the k-th step that a process, or its family, has taken.

A step is a command that Redis has answered, a statement that the database has executed, or a
commit. What was armed in a parent is shared by the children it forks, and kills once: the process
that replaces the dead one lives. In a process of its own it is armed by the environment:

SIMPLETASK3_DIES_AFTER      the number of the step
SIMPLETASK3_DIES_TOGETHER   anything: the whole process group dies

A process that loses the reply instead lives on; the step was taken, but its reply is lost.
"""

import mmap
import os
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import redis
from django.db import DatabaseError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_simpletask3.queue.scripts import Script, script

_FORMAT = "=3q"
ALONE, TOGETHER, DEAF = 0, 1, 2
_SCRIPTS = Path(script.__wrapped__.__globals__["__file__"]).parent


class Mortality:
    """The steps that were taken, and the one that is the last."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(_FORMAT))
        self._lock = threading.Lock()
        self.log_path: Path | None = None
        self.is_immune = False  # of this process; not shared

    def arm(self, after: int, *, fate: int = ALONE, log_path: Path | None = None) -> None:
        """From now on count, and meet the ``fate`` after ``after`` steps (0: never)."""
        self.log_path = log_path
        self._write(0, after, fate)

    def disarm(self) -> None:
        self._write(0, 0, 0)

    @property
    def taken(self) -> int:
        """How many steps were taken."""
        return self._read()[0]

    @property
    def is_spent(self) -> bool:
        """Whether a process has met it."""
        return self._read()[1] < 0

    def step(self, what: str) -> bool:
        """Note that a step was taken; whether its answer is lost. Does not return to the dead."""
        if self.is_immune:
            return False
        with self._lock:
            taken, last, fate = self._read()
            if last < 0:
                return False
            self._write(taken + 1, last, fate)
            self._tell(f"{taken + 1} {threading.current_thread().name} {what}")
            if taken + 1 != last:
                return False
            self._write(taken + 1, -1, fate)
            if fate == DEAF:
                return True
            os.kill(0 if fate == TOGETHER else os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        return False

    def _tell(self, line: str) -> None:
        if self.log_path is not None:
            with self.log_path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def _read(self) -> tuple[int, int, int]:
        taken, last, fate = struct.unpack_from(_FORMAT, self._memory)
        return taken, last, fate

    def _write(self, taken: int, last: int, fate: int) -> None:
        struct.pack_into(_FORMAT, self._memory, 0, taken, last, fate)


MORTALITY = Mortality()
_is_installed = False


def install() -> None:
    """Let every command, statement and commit of this process, and of its forks, be a step."""
    global _is_installed
    if _is_installed:
        return
    _is_installed = True
    _count_commands()
    wrapper: Any = BaseDatabaseWrapper
    commit = wrapper._commit

    def commit_and_count(self: Any) -> Any:
        try:
            return commit(self)
        finally:
            if MORTALITY.step("sql COMMIT"):
                raise _cut_off(self)

    wrapper._commit = commit_and_count
    connection_created.connect(_count_statements, dispatch_uid="crash_injection")


def _count_commands() -> None:
    """Count commands, those that are sent together, and the scripts that push messages."""
    client: Any = redis.Redis
    pipeline: Any = redis.client.Pipeline
    pushing: Any = Script
    execute, execute_together = client.execute_command, pipeline.execute
    read_reply = pushing._reply

    def execute_and_count(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return execute(self, *args, **options)
        finally:
            _take_step(self, _word(args))

    def execute_together_and_count(self: Any, *args: Any, **options: Any) -> Any:
        names = " ".join(_word(command) for command, _ in self.command_stack)
        try:
            return execute_together(self, *args, **options)
        finally:
            _take_step(self, names)

    def read_and_count(self: Any, *arguments: Any) -> Any:
        try:
            return read_reply(self, *arguments)
        finally:
            _take_step(None, _word(("EVALSHA", self.sha)))

    client.execute_command = execute_and_count
    pipeline.execute = execute_together_and_count
    pushing._reply = read_and_count


def _take_step(client: Any, name: str) -> None:
    if MORTALITY.step(f"redis {name}"):
        if client is not None:
            client.connection_pool.disconnect(inuse_connections=False)
        raise redis.ConnectionError("the answer is lost")


def arm_from_environment() -> None:
    """Arm this process if the environment asks for it."""
    after = int(os.environ.get("SIMPLETASK3_DIES_AFTER", "0"))
    if after:
        install()
        fate = TOGETHER if "SIMPLETASK3_DIES_TOGETHER" in os.environ else ALONE
        MORTALITY.arm(after, fate=fate)


def _count_statements(connection: Any, **_: Any) -> None:
    if _wrapped not in connection.execute_wrappers:
        connection.execute_wrappers.append(_wrapped)


def _wrapped(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    try:
        return execute(sql, params, many, context)
    finally:
        if MORTALITY.step(f"sql {sql[:60]}"):
            raise _cut_off(context["connection"])


def _cut_off(connection: Any) -> Exception:
    """Break the connection; what its driver says the next time it is used."""
    try:
        # SQLite would keep the locks of a connection that is closed while it is read from.
        if connection.vendor != "sqlite":
            _CUTS[connection.vendor](connection)
            with connection.wrap_database_errors, connection.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
    except DatabaseError as error:
        return error
    return OperationalError("the answer is lost")


def _cut_postgres(connection: Any) -> None:
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _cut_mysql(connection: Any) -> None:
    # Its client library does not tell its socket: the server hangs up.
    other = connection.Database.connect(**connection.get_connection_params())
    other.query(f"KILL CONNECTION {connection.connection.thread_id()}")
    other.close()


_CUTS = {"postgresql": _cut_postgres, "mysql": _cut_mysql}


def _word(args: tuple[Any, ...]) -> str:
    if args[0] not in ("EVALSHA", "EVAL"):
        return str(args[0])
    names = {script(path.stem).sha: path.stem for path in _SCRIPTS.glob("*.lua")}
    texts = {script(path.stem).text: path.stem for path in _SCRIPTS.glob("*.lua")}
    return f"{args[0]} {names.get(args[1]) or texts.get(args[1])}"
