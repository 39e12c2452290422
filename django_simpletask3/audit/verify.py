"""Whether an exported file of streams is as it was written: read without a database.

The first line says what it is; then, for each task, a line per event and a line that closes the
stream; the last line has the digest of all lines before it. Whoever keeps that digest elsewhere
knows later that the file is the one that was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from ..ledger.digests import seal
from ..ledger.encoding import restored
from ..ledger.stream_check import Examination

FORMAT = "django-simpletask3 streams 1"

#: What is written of an event.
FIELDS = (
    "sequence",
    "kind",
    "from_status",
    "to_status",
    "attempt",
    "event_time",
    "worker",
    "actor",
    "reason",
    "data",
    "digest",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds; ``digest`` is over all of its lines but the last."""

    streams: int
    events: int
    digest: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something in a bundle that is not as it was written, at a line of the file."""

    line: int
    task: str
    what: str


def verified(file: Iterable[str]) -> Iterator[Flaw | Manifest]:
    """What is wrong with a bundle, without asking a database; in the end its manifest.

    The manifest is that of the lines that are there; none comes if the file has no last line. Every
    chain is examined as the audit does it,
    and the row's columns as they were when the bundle was written.
    """
    reader = _Reader()
    for line in file:
        yield from reader.read(line)
    yield reader.end()


class _Reader:
    """Hears the lines of a bundle one after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._number = self._streams = self._events = self._heard = 0
        self._examination = Examination()
        self._at = ""
        self._manifest: Manifest | None = None

    def read(self, line: str) -> Iterator[Flaw]:
        """The next line; what is wrong there."""
        self._number += 1
        said = _read(line)
        yield from (Flaw(self._number, self._at, what) for what in self._flaws(said))
        self._digest.update(line.encode())

    def end(self) -> Flaw | Manifest:
        """There are no more lines."""
        missing = "the last line is missing: the file was cut"
        return self._manifest or Flaw(self._number + 1, self._at, missing)

    def _flaws(self, said: dict[str, Any] | None) -> Iterator[str]:
        if self._manifest is not None:
            yield "something stands after the last line"
        elif said is None or (self._number == 1 and said.get("format") != FORMAT):
            yield "this is no line of a bundle"
        elif "streams" in said:
            yield from self._closed(said)
        elif "row" in said:
            yield from self._ended(said)
        elif self._number > 1:
            yield from self._heard_of(said)

    def _heard_of(self, said: dict[str, Any]) -> Iterator[str]:
        self._at = _place(said)
        self._heard += 1
        self._events += 1
        try:
            self._examination.hear(Line(said))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            yield f"this is no event: {error}"

    def _ended(self, said: dict[str, Any]) -> Iterator[str]:
        self._at = _place(said)
        if self._heard != said.get("events"):
            yield f"{said.get('events')} events were written, {self._heard} are there"
        try:
            self._examination.compare(_row(said["row"]))
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            yield f"this is no row: {error}"
        for one in self._examination.suspicions:
            yield f"#{one.sequence} {one.problem}: {one.what}"
        self._examination, self._heard = Examination(), 0
        self._streams += 1

    def _closed(self, said: dict[str, Any]) -> Iterator[str]:
        found = Manifest(self._streams, self._events, self._digest.hexdigest())
        self._manifest = found
        if said != asdict(found):
            yield f"the last line tells of {said}, the lines before it are {found}"


class Line:
    """An event of a bundle, with the words of the event it was."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._task = said.get("task")
        self._said = {name: said.get(name) for name in FIELDS}
        self._said["event_time"] = _instant(said.get("event_time"))
        self._said["data"] = restored(said.get("data"))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._said[name]
        except KeyError:
            raise AttributeError(name) from None

    def sealed(self, previous: str) -> str:
        """As that of TaskEvent."""
        fields = {name: value for name, value in self._said.items() if name != "digest"}
        return seal(previous, task=self._task, **fields)


def _row(said: dict[str, Any] | None) -> dict[str, Any] | None:
    if said is None:
        return None
    times = ("start_time", "done_time", "result_time")
    return {**said, **{name: _instant(said.get(name)) for name in times}}


def _instant(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if timezone.is_aware(moment) else moment


def _read(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _place(said: dict[str, Any]) -> str:
    return f"{said.get('model')} {said.get('task')}"
