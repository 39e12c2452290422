"""The execution log: an append-only file that every task function and every producer writes.

It is the witness against whom the rows and the streams are held: a line, once written, survives the
death of its writer. Every line is ``<time> <pid> <word> <further words>``.
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
    """The path of the execution log of this run."""
    folder: Path = settings.RUN_FOLDER
    return folder / "execution.log"


def write(*words: object) -> None:
    """Append one line, in one write, so that the lines of many processes do not mix."""
    line = " ".join(str(word) for word in (f"{time.time():.6f}", os.getpid(), *words))
    descriptor = os.open(path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def read() -> Iterator[LogLine]:
    """Every line so far; a last one that is not whole yet is left out."""
    if not path().exists():
        return
    with path().open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                moment, pid, word, *rest = line.split()
                yield LogLine(float(moment), int(pid), word, tuple(rest))
