"""The execution log: an append-only file that every task function and every producer writes.

The rows and the streams are compared with it: a written line survives a kill of its writer.
Every line is ``<time> <pid> <kind> <details>``.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings


@dataclass(frozen=True, slots=True)
class LogLine:
    """One action of a task function or a producer."""

    time: float
    pid: int
    kind: str
    details: tuple[str, ...]


def path() -> Path:
    """Return the path of the execution log of this run."""
    folder: Path = settings.RUN_FOLDER
    return folder / "execution.log"


def write(kind: str, *details: object) -> None:
    """Append a line in a single write, so that the lines of processes do not mix."""
    line = " ".join(str(part) for part in (f"{time.time():.6f}", os.getpid(), kind, *details))
    descriptor = os.open(path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def read() -> Iterator[LogLine]:
    """Yield every complete line so far."""
    if not path().exists():
        return
    with path().open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                moment, pid, kind, *details = line.split()
                yield LogLine(float(moment), int(pid), kind, tuple(details))
