"""Export event streams to a file that ``verify`` can check: JSON Lines with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import IO, Any

from .. import __version__
from ..ledger.encoding import to_json_value
from ..ledger.event import TaskEvent
from ..ledger.projection import Projection
from ..models.task import SimpleTask
from . import readers
from .verify import FIELDS, FORMAT, Manifest, Record


class ExportWriter:
    """Writes an export; only ``close`` makes it verifiable."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._streams = self._events = 0
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write_line({"format": FORMAT, "version": __version__, "time": now})

    def write_tasks(self, root: type[SimpleTask], using: str, pks: list[object]) -> None:
        """Write the complete streams of these tasks, with the columns of their rows."""
        rows = {row["pk"]: row for row in readers.rows(root, using, pks)}
        streams = groupby(readers.streams(root, using, pks), attrgetter("task_id"))
        for pk, events in streams:
            task_fields = {"model": root._meta.label, "database": using, "task": str(pk)}
            count = self._write_stream(task_fields, events)
            row = rows.get(pk)
            row_values = row and _json_values(Projection.of(row)._asdict())
            self._write_line({**task_fields, "events": count, "row": row_values})
            self._streams += 1
            self._events += count

    def close(self) -> Manifest:
        """Write the last line, and return it."""
        manifest = Manifest(self._streams, self._events, self._digest.hexdigest())
        self._file.write(_json(asdict(manifest)) + "\n")
        self._file.flush()
        return manifest

    def _write_stream(self, task_fields: Record, events: Iterable[TaskEvent]) -> int:
        count = 0
        for event in events:
            fields = {name: getattr(event, name) for name in FIELDS}
            self._write_line({**task_fields, **_json_values(fields)})
            count += 1
        return count

    def _write_line(self, record: Record) -> None:
        line = _json(record) + "\n"
        self._digest.update(line.encode())
        self._file.write(line)


def export_streams(
    file: IO[str],
    tables: Iterable[tuple[type[SimpleTask], str]],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    keys: list[Any] | None = None,
) -> Manifest:
    """Write the streams of ``tables`` to ``file``: of the tasks with ``keys``, or of all.

    With ``since`` or ``until``, write only tasks that have an event in that time. Streams are
    always complete: a part of a digest chain cannot be verified.
    """
    writer = ExportWriter(file)
    for root, using in tables:
        for pks in readers.keys(root, using, since, until) if keys is None else [keys]:
            writer.write_tasks(root, using, pks)
    return writer.close()


def _json_values(fields: Record) -> Record:
    times = {name: v.isoformat() for name, v in fields.items() if isinstance(v, datetime)}
    return {**{name: to_json_value(value) for name, value in fields.items()}, **times}


def _json(record: Record) -> str:
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
