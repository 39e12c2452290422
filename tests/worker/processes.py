"""What a test asks of tasks that run in processes of their own."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.db import connections, transaction
from django.db.migrations.recorder import MigrationRecorder

from django_simpletask3.db.locks import begin_write

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def lines(path: Path) -> list[str]:
    """The first word of each line, in order; none if nothing was written yet."""
    return (
        sorted(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else []
    )


def child_of(task: Any) -> int:
    """The process that runs ``task``."""
    task.refresh_from_db()
    return int(task.worker.rsplit(":", 2)[1])


def freeze(task: Any, pid: int, send: Any = os.kill) -> None:
    """Stop the process ``pid`` (its group with ``send=os.killpg``) that runs ``task``.

    The test holds the locks that everyone needs to go on meanwhile (on SQLite those of the files):
    a process that is stopped while it holds a lock keeps it.
    """
    with ExitStack() as transactions:
        for using in connections:
            transactions.enter_context(transaction.atomic(using=using))
            begin_write(MigrationRecorder.Migration, using)
        type(task).objects.select_for_update().get(pk=task.pk)
        send(pid, signal.SIGSTOP)


def group(pid: int) -> list[int]:
    """The living processes of the process group ``pid``: a node and its children."""
    return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit() and _is_of(path, pid)]


def is_alive(pid: int) -> bool:
    fields = _stat(_PROC / str(pid))
    return bool(fields) and fields[0] not in "ZX"


def processor_seconds(pid: int) -> float:
    """The processor time that the living processes of the group ``pid`` have used so far."""
    return sum(sum(map(int, _stat(_PROC / str(one))[11:13])) for one in group(pid)) / _TICKS


def _is_of(path: Path, pid: int) -> bool:
    fields = _stat(path)
    return bool(fields) and fields[0] not in "ZX" and int(fields[2]) == pid


def _stat(path: Path) -> list[str]:
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
