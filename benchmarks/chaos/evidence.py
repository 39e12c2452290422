"""The execution log, indexed by task."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.chaos import execution_log

_KINDS = ("saved", "begin", "end", "step")


@dataclass(slots=True)
class TaskEvidence:
    """The entries of one task in the execution log."""

    starts: Counter[int] = field(default_factory=Counter)
    ended_by: dict[int, str] = field(default_factory=dict)
    started_by: dict[int, str] = field(default_factory=dict)
    steps: list[tuple[int, str]] = field(default_factory=list)  # attempt and name
    is_saved: bool = False


class Evidence:
    """The lines of the execution log so far, in a temporary SQLite file instead of memory."""

    def __init__(self) -> None:
        self._lines = sqlite3.connect("", isolation_level=None)
        self._lines.execute("CREATE TABLE line (task TEXT, kind TEXT, attempt INT, worker TEXT)")
        self._lines.execute("CREATE TABLE checked (task TEXT PRIMARY KEY) WITHOUT ROWID")
        self._lines.execute("BEGIN")
        self._lines.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", _rows())
        self._lines.execute("CREATE INDEX task ON line (task)")

    def __enter__(self) -> "Evidence":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()

    def for_task(self, name: str, key: str) -> TaskEvidence:
        """Return the evidence of a task and mark the task as checked."""
        task, evidence = f"{name} {key}", TaskEvidence()
        self._lines.execute("INSERT OR IGNORE INTO checked VALUES (?)", [task])
        sql = "SELECT kind, attempt, worker FROM line WHERE task = ? ORDER BY rowid"
        for kind, attempt, worker in self._lines.execute(sql, [task]):
            if kind == "saved":
                evidence.is_saved = True
            elif kind == "begin":
                evidence.starts[attempt] += 1
                evidence.started_by[attempt] = worker
            elif kind == "step":
                evidence.steps.append((attempt, worker))
            else:
                evidence.ended_by[attempt] = worker
        return evidence

    def unchecked_tasks(self) -> Iterator[tuple[str, str]]:
        """Yield model name and key of saved tasks that were not checked."""
        sql = (
            "SELECT DISTINCT task FROM line "
            "WHERE kind = 'saved' AND task NOT IN (SELECT task FROM checked)"
        )
        for (task,) in self._lines.execute(sql):
            name, _, key = task.partition(" ")
            yield name, key


def _rows() -> Iterable[tuple[str, str, str | None, str | None]]:
    for line in execution_log.read():
        if line.kind in _KINDS:
            name, key, *rest = line.details
            attempt, worker = rest if rest else (None, None)
            yield f"{name} {key}", line.kind, attempt, worker
