"""A real node in a child process, on the databases of a test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.transaction import TransactionManagementError

from ..conf.options import Options, all_options, clear_cached_values, options
from ..ledger.task_row import task_name
from ..models.registry import possible_databases, task_models
from ..models.task import SimpleTask
from ..queue import NO_REDIS, embedded, reset_queue
from ..states import FINAL, Status
from .autocommit import is_in_transaction
from .selection import checked_model, checked_task

_PROGRAM = Path(__file__).with_name("node.py")
#: Python with ``-m`` would import the package before Django is set up.
_RUN = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
_DATABASE_KEYS = ("NAME", "HOST", "PORT", "USER", "PASSWORD")
#: Seconds between two looks of a node without Redis at the tables.
_BEAT_SECONDS = 0.2
_STEP_SECONDS = 0.02
#: Seconds between two signals to a node that is to end.
_SIGNAL_SECONDS = 0.2
_MARGIN_SECONDS = 10.0
_MAX_LOG = 20_000


class TaskWorker:
    """A node that ``task_worker()`` has started; it can be stopped, killed and started again."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the node has printed and logged; of a long log the end."""
        return self._log.read_text(errors="backslashreplace")[-_MAX_LOG:]

    @property
    def pid(self) -> int:
        """The process id of the node. Raises AssertionError if it does not run."""
        return self._running().pid

    def start(self) -> None:
        """Start the node, if it does not run."""
        if self._process is not None:
            return
        url, interval = Options.simq_redis_url, Options.simq_timeout_task_recovery_interval
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if options.simq_redis_url == NO_REDIS:
            beat = min(_BEAT_SECONDS, options.simq_timeout_task_recovery_interval)
            environment |= {url.name: NO_REDIS, interval.name: str(beat)}
        request = {
            "arguments": self._arguments,
            "databases": _databases(),
            "settings": _own_settings(),
            "folder": str(self._log.parent),
        }
        with self._log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of ours
                [sys.executable, "-c", _RUN, str(_PROGRAM)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        # The pipe stays open: its end tells the node that this process has gone.
        self._write(process, json.dumps(request))

    def kill(self) -> None:
        """Kill all processes of the node with SIGKILL, as a machine that loses its power."""
        process = self._running()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._forget(process)

    def stop(self) -> None:
        """Stop the node in order, and wait for its end; AssertionError if it fails at that."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        self._await_end(process, options.shutdown_grace + _MARGIN_SECONDS)
        # A node that was stopped before it could handle the signal has done nothing.
        if process.returncode not in (0, -signal.SIGTERM):
            raise AssertionError(self._with_log(f"The node ended with {process.returncode}."))

    def wait_for(
        self, *tasks: SimpleTask, status: Status | int | None = None, timeout: float = 30.0
    ) -> None:
        """Wait until all ``tasks`` are in ``status``, or final without one; they are refreshed.

        Raises AssertionError, with the log of the node, after ``timeout`` seconds, if the node
        ends, and if a task is final and not in ``status``.
        """
        for task in tasks:
            checked_task(task)
        wanted = FINAL if status is None else {Status(status)}
        deadline = time.monotonic() + timeout
        waiting: Iterable[SimpleTask] = tasks
        # A task that was in the status has come, whatever becomes of it while others are awaited.
        while waiting := [task for task in waiting if not _has_come(task, wanted)]:
            first = waiting[0]
            state = f"{task_name(first)} is {first.get_status_display()}"
            if first.status in FINAL:
                raise AssertionError(self._with_log(f"{state}."))
            with suppress(subprocess.TimeoutExpired):
                code = self._running().wait(_STEP_SECONDS)
                raise AssertionError(self._with_log(f"The node ended with {code}; {state}."))
            if time.monotonic() >= deadline:
                reason = f"{state} after {timeout:g} s. {first.explain()}"
                raise AssertionError(self._with_log(reason))

    def _close(self) -> None:
        """End the node, whatever it does. AssertionError if it has ended by itself."""
        if (process := self._process) is None:
            return
        code = process.poll()
        deadline = time.monotonic() + _MARGIN_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            # The second signal ends the grace time, if the node has handled the first one before.
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SIGNAL_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._forget(process)
        if code is not None:
            raise AssertionError(self._with_log(f"The node ended with {code}."))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("The node does not run: call start().")
        return self._process

    def _await_end(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self._with_log(f"The node runs {timeout:g} s on.")) from None
        self._forget(process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        """The node has ended, as it should: nothing is to be cleared up after it."""
        self._process = None
        self._write(process, "")
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()

    def _write(self, process: subprocess.Popen[bytes], line: str) -> None:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()

    def _with_log(self, text: str) -> str:
        return f"{text}\n--- log of the node ---\n{self.log}"


@contextmanager
def task_worker(
    *models: type[SimpleTask], processes: int = 1, redis: bool = False
) -> Iterator[TaskWorker]:
    """Within the block, a node runs tasks of ``models``, or of all, on the databases of the test.

    A node sees what is committed: use it in a TransactionTestCase, or with ``transactional_db``.
    It polls the tables, as with ``none://``; or, with ``redis``, it has an embedded Redis of its
    own, for which a server program must be installed. The test process uses the same meanwhile.
    The test fails with the log of the node if the node ends by itself.
    """
    labels = ",".join(checked_model(model)._meta.label for model in models)
    _check_databases()
    arguments = ["--processes", str(processes), "-v", "2"]
    arguments += ["--models", labels] if labels else []
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="simpletask3-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if redis:
            stack.callback(embedded.stop, folder / "redis")
        stack.enter_context(_redis_url(f"embedded://{folder / 'redis'}" if redis else NO_REDIS))
        worker = TaskWorker(arguments, folder / "log")
        worker.start()
        try:
            yield worker
        except BaseException as error:
            error.add_note(worker._with_log(""))
            with suppress(AssertionError):
                worker._close()
            raise
        worker._close()


@contextmanager
def _redis_url(url: str) -> Iterator[None]:
    """Use ``url`` in this process and its children: the environment goes before the settings."""
    name = Options.simq_redis_url.name
    before = os.environ.get(name)
    os.environ[name] = url
    _forget_settings()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        _forget_settings()


def _forget_settings() -> None:
    clear_cached_values()
    reset_queue()


def _check_databases() -> None:
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise ImproperlyConfigured(
            "task_worker() starts another process, which needs DJANGO_SETTINGS_MODULE."
        )
    for using in sorted({u for model in task_models() for u in possible_databases(model)}):
        connection: Any = connections[using]
        if is_in_transaction(connection):
            raise TransactionManagementError(
                "task_worker() starts another process, which does not see the rows of this test's "
                "transaction: use TransactionTestCase, or transactional_db of pytest-django."
            )
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            raise ImproperlyConfigured(
                f"The test database {using!r} is in the memory of this process, and task_worker() "
                f"starts another one: set DATABASES[{using!r}]['TEST'] = "
                "{'NAME': BASE_DIR / 'test.sqlite3'}."
            )


def _databases() -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for using in connections:
        values = connections[using].settings_dict
        found[using] = {
            key: None if values[key] is None else str(values[key]) for key in _DATABASE_KEYS
        }
    return found


def _own_settings() -> dict[str, object]:
    """The settings of this package as this process uses them: tests may have overridden them."""
    return {option.name: option.value() for option in all_options()}


def _has_come(task: SimpleTask, wanted: frozenset[Status] | set[Status]) -> bool:
    task.refresh_from_db()
    return task.status in wanted
