"""The diary, by task: what its witnesses say, however long the storm was."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.chaos import diary

_WORDS = ("promised", "begin", "end")


@dataclass(slots=True)
class Witness:
    """What the diary says of one task."""

    begun: Counter[int] = field(default_factory=Counter)
    ended: dict[int, str] = field(default_factory=dict)
    workers: dict[int, str] = field(default_factory=dict)
    is_promised: bool = False


class Testimony:
    """Everything that was written so far; kept in a file without a name, not in memory."""

    def __init__(self) -> None:
        self._lines = sqlite3.connect("", isolation_level=None)
        self._lines.execute("CREATE TABLE line (task TEXT, word TEXT, attempt INT, worker TEXT)")
        self._lines.execute("CREATE TABLE heard (task TEXT PRIMARY KEY) WITHOUT ROWID")
        self._lines.execute("BEGIN")
        self._lines.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", _told())
        self._lines.execute("CREATE INDEX task ON line (task)")

    def __enter__(self) -> "Testimony":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()

    def of(self, name: str, key: str) -> Witness:
        """The witness of a task; it counts as heard."""
        task, witness = f"{name} {key}", Witness()
        self._lines.execute("INSERT OR IGNORE INTO heard VALUES (?)", [task])
        asked = "SELECT word, attempt, worker FROM line WHERE task = ? ORDER BY rowid"
        for word, attempt, worker in self._lines.execute(asked, [task]):
            if word == "promised":
                witness.is_promised = True
            elif word == "begin":
                witness.begun[attempt] += 1
                witness.workers[attempt] = worker
            else:
                witness.ended[attempt] = worker
        return witness

    def unheard(self) -> Iterator[tuple[str, str]]:
        """The tasks that were promised and have not been heard: model and key."""
        asked = (
            "SELECT DISTINCT task FROM line "
            "WHERE word = 'promised' AND task NOT IN (SELECT task FROM heard)"
        )
        for (task,) in self._lines.execute(asked):
            name, _, key = task.partition(" ")
            yield name, key


def _told() -> Iterable[tuple[str, str, int | None, str | None]]:
    for line in diary.read():
        if line.word in _WORDS:
            name, key, *rest = line.rest
            attempt, worker = rest if rest else (None, None)
            yield f"{name} {key}", line.word, attempt, worker
