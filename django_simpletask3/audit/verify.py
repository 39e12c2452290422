"""Verify an exported file of event streams, without a database.

The first line names the format. For each task follow one line per event and one line that ends the
stream. The last line has the digest of all lines before it: an auditor who keeps that digest
elsewhere can prove later that the file is unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, Any

from django.utils import timezone

from ..conf.options import options
from ..ledger.digests import chained_digest
from ..ledger.encoding import from_json_value
from ..ledger.stream_check import StreamChecker
from ..logs import printable

FORMAT = "django-simpletask3 streams 1"

#: A line of an export.
Record = dict[str, Any]

#: The exported fields of an event.
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


#: What a line may have besides the data of its event, or the value of a checkpoint in it.
_LINE_OVERHEAD = 256 * 1024
_MAX_LABEL, _MAX_DETAIL = 300, 2000
_TOO_LONG = (
    "this line is too long for an export, or DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT was larger when "
    "the file was exported: set it as it was then"
)
_NOT_AS_WRITTEN = (
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The numbers of streams and events; ``digest`` covers all lines but the last."""

    streams: int
    events: int
    digest: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """A line of an export that is not as it was written."""

    line: int
    task: str
    detail: str


def bounded_lines(file: IO[str]) -> Iterator[str]:
    """The lines of ``file``; one that is longer than an export writes is cut into several.

    Reading such a line at once would take many times its size of memory.
    """
    while line := file.readline(_longest_line()):
        yield line


def verify_export(file: Iterable[str]) -> Iterator[Flaw | Manifest]:
    """Yield the flaws of an export, then its manifest.

    The manifest is computed from the lines; it is not yielded if the last line is missing. Digest
    chains are checked as the audit does, against the columns of the rows at the time of the export.
    """
    reader = _Reader()
    for line in file:
        yield from reader.read(line)
    yield reader.finish()


class _Reader:
    """Checks the lines of an export one after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._line_number = self._streams = self._events = self._stream_events = 0
        self._checker = StreamChecker()
        self._current_task = ""
        self._stream: tuple[object, ...] | None = None
        self._manifest: Manifest | None = None

    def read(self, line: str) -> Iterator[Flaw]:
        """Yield the flaws of the next line."""
        self._line_number += 1
        for detail in self._flaws(line):
            yield Flaw(self._line_number, self._current_task, printable(detail[:_MAX_DETAIL]))
        self._digest.update(line.encode())

    def finish(self) -> Flaw | Manifest:
        """Return the manifest, or the flaw that it is missing."""
        missing = "the last line is missing: the file was truncated"
        return self._manifest or Flaw(self._line_number + 1, self._current_task, missing)

    def _flaws(self, line: str) -> Iterator[str]:
        if len(line) >= _longest_line():
            yield _TOO_LONG
            return
        try:
            yield from self._flaws_of(_parse_line(line))
        except RecursionError:
            yield "this line has too many levels"

    def _flaws_of(self, record: Record | None) -> Iterator[str]:
        if self._manifest is not None:
            yield "there is a line after the last line"
        elif record is None or (self._line_number == 1 and record.get("format") != FORMAT):
            yield "this is not a line of an export"
        elif "streams" in record:
            yield from self._check_manifest(record)
        elif "row" in record:
            yield from self._check_row(record)
        elif self._line_number > 1:
            yield from self._check_event(record)

    def _check_event(self, record: Record) -> Iterator[str]:
        if self._stream_events and _identity(record) != self._stream:
            yield "this event is of another task than the stream that it is in"
        self._stream, self._current_task = _identity(record), _task_label(record)
        self._stream_events += 1
        self._events += 1
        try:
            self._checker.feed(ExportedEvent(record))
        except _NOT_AS_WRITTEN as error:
            yield f"this is not an event: {error}"

    def _check_row(self, record: Record) -> Iterator[str]:
        if _identity(record) != self._stream:
            yield "this line ends another stream than that before it"
        self._current_task = _task_label(record)
        if self._stream_events != record.get("events"):
            yield f"{record.get('events')} events were written, {self._stream_events} are there"
        try:
            self._checker.compare(_parse_row(record["row"]))
        except _NOT_AS_WRITTEN as error:
            yield f"this is not a row: {error}"
        for discrepancy in self._checker.discrepancies:
            yield f"#{discrepancy.sequence} {discrepancy.problem}: {discrepancy.detail}"
        self._checker, self._stream_events, self._stream = StreamChecker(), 0, None
        self._streams += 1

    def _check_manifest(self, record: Record) -> Iterator[str]:
        if self._stream_events:
            yield "the line that ends the stream before it is missing: events may be, too"
        manifest = Manifest(self._streams, self._events, self._digest.hexdigest())
        self._manifest = manifest
        if record != asdict(manifest):
            yield f"the last line is {record}, but the lines before it are {manifest}"


class ExportedEvent:
    """An exported event, with the attributes of TaskEvent."""

    def __init__(self, record: Record) -> None:
        self._task = record.get("task")
        self._fields: dict[str, Any] = {name: record.get(name) for name in FIELDS}
        self._fields["event_time"] = _parse_time(record.get("event_time"))
        self._fields["data"] = from_json_value(record.get("data"))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def expected_digest(self, previous: str) -> str:
        """Same as ``TaskEvent.expected_digest``."""
        return chained_digest(previous, {**self._fields, "task": self._task})


def _longest_line() -> int:
    return options.result_size_limit + _LINE_OVERHEAD


def _parse_row(columns: Record | None) -> Record | None:
    if columns is None:
        return None
    times = ("start_time", "done_time", "result_time")
    return {**columns, **{name: _parse_time(columns.get(name)) for name in times}}


def _parse_time(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if timezone.is_aware(moment) else moment


def _parse_line(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _identity(record: Record) -> tuple[object, ...]:
    return tuple(record.get(name) for name in ("model", "database", "task"))


def _task_label(record: Record) -> str:
    names = (printable(str(record.get(name))[:_MAX_LABEL]) for name in ("model", "task"))
    return " ".join(names)
