"""The execution log by task, however long the run was."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.chaos import execution_log

_WORDS = ("promised", "begin", "end")


@dataclass(slots=True)
class TaskEvidence:
    """The entries of one task in the execution log."""

    starts: Counter[int] = field(default_factory=Counter)
    ended_by: dict[int, str] = field(default_factory=dict)
    started_by: dict[int, str] = field(default_factory=dict)
    is_saved: bool = False


class Evidence:
    """Everything that was written so far; kept in a file without a name, not in memory."""

    def __init__(self) -> None:
        self._lines = sqlite3.connect("", isolation_level=None)
        self._lines.execute("CREATE TABLE line (task TEXT, word TEXT, attempt INT, worker TEXT)")
        self._lines.execute("CREATE TABLE accounted (task TEXT PRIMARY KEY) WITHOUT ROWID")
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
        """The witness of a task; it counts as accounted for."""
        task, witness = f"{name} {key}", TaskEvidence()
        self._lines.execute("INSERT OR IGNORE INTO accounted VALUES (?)", [task])
        asked = "SELECT word, attempt, worker FROM line WHERE task = ? ORDER BY rowid"
        for word, attempt, worker in self._lines.execute(asked, [task]):
            if word == "promised":
                witness.is_saved = True
            elif word == "begin":
                witness.starts[attempt] += 1
                witness.started_by[attempt] = worker
            else:
                witness.ended_by[attempt] = worker
        return witness

    def unchecked_tasks(self) -> Iterator[tuple[str, str]]:
        """The tasks that were promised and have not been accounted for: model and key."""
        asked = (
            "SELECT DISTINCT task FROM line "
            "WHERE word = 'promised' AND task NOT IN (SELECT task FROM accounted)"
        )
        for (task,) in self._lines.execute(asked):
            name, _, key = task.partition(" ")
            yield name, key


def _rows() -> Iterable[tuple[str, str, int | None, str | None]]:
    for line in execution_log.read():
        if line.kind in _WORDS:
            name, key, *rest = line.details
            attempt, worker = rest if rest else (None, None)
            yield f"{name} {key}", line.kind, attempt, worker
