"""The last events of the tasks of a page, in one statement whose cost is that of the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import CharField, TextField, Value
from django.db.models.functions import Substr

from ...db.limited_queries import BoundQuery, Placeholder, first_rows
from ...dependencies.tables import dependents_of, key_of
from ...ledger.encoding import decode
from ...ledger.event import event_model_of, events_of
from ...ledger.task_row import all_rows, table_model
from ...models.explanation.status_change import StatusChange
from ...models.task import SimpleTask
from ...states import AUDIT_ONLY, EventKind, Status
from ..html.values import format_json
from ..task_details.data_prefix import LIMIT, parse_text, without_outcome
from ..task_details.progress import Progress, progress_in

#: Events of a task among which the last ones are searched, from its end.
MAX_SEARCHED = 1000
_RESULT_LENGTH = 400
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*')


@dataclass(slots=True)
class LastEvents:
    """What the row of a task does not tell: its last event, the progress or the result."""

    change: StatusChange | None = None
    note: StatusChange | None = None
    progress: Progress | None = None
    progress_time: datetime | None = None
    #: The first part of the result as text.
    result: str = ""
    #: How many of the tasks that it waits for have not ended.
    missing: int | None = None
    _error: str = field(default="")

    @property
    def kind(self) -> EventKind | str:
        """The kind of the event that brought the task into its status."""
        return self.change.kind if self.change else ""

    @property
    def error(self) -> str:
        """The first line of the error of that event."""
        text = (self.change.error if self.change else "") or self._error
        return text.strip().partition("\n")[0]

    def hide_outcome(self) -> None:
        """Forget the result or the error."""
        self.result = self._error = ""
        if self.change is not None:
            data = without_outcome(self.change.data) if self.change.data else None
            self.change = self.change._replace(data=data)


_Key = tuple[str, Any]


def read_last_events(tasks: Sequence[SimpleTask]) -> dict[Any, LastEvents]:
    """What is last known of ``tasks``, of one table and database, by key; one statement.

    A second one if some of them wait for other tasks.
    """
    last = {task.pk: LastEvents() for task in tasks}
    if not tasks:
        return last
    using = tasks[0]._state.db or "default"
    queries = _queries(tasks, using)
    for (name, pk), rows in first_rows(using, queries, 1).items():
        for row in rows:
            _add(last[pk], name, StatusChange(*row))
    _add_missing(tasks, last, using)
    return last


def _queries(tasks: Iterable[SimpleTask], using: str) -> dict[_Key, BoundQuery]:
    """The queries of what each task needs, by its name and key; those of a name share their SQL."""
    by_name = _queries_by_name(next(iter(tasks)), using)
    queries: dict[_Key, BoundQuery] = {}
    for task in tasks:
        since = max(task.sequence - MAX_SEARCHED, 0)
        for name in _names(task):
            values: dict[str, Any] = {"task": task.pk}
            if name != "result":
                values["sequence"] = since
            if name in ("note", "progress"):
                values["attempt"] = task.attempt
            queries[name, task.pk] = BoundQuery(by_name[name], values)
    return queries


def _names(task: SimpleTask) -> tuple[str, ...]:
    if task.status == Status.RUNNING:
        return "note", "progress"
    if task.status == Status.SUCCESS:
        return ("result",)
    # That a task was enqueued is in its row.
    is_new = task.status == Status.PENDING and task.sequence <= 1
    return () if is_new else ("change",)


def _queries_by_name(task: SimpleTask, using: str) -> dict[str, Any]:
    root, columns = table_model(type(task)), event_model_of(type(task))._meta
    pk = Placeholder("task", root._meta.pk)
    events = events_of(root, using).filter(
        task=pk, sequence__gt=Placeholder("sequence", columns.get_field("sequence"))
    )
    events = events.order_by("-sequence").annotate(head=_head("data", LIMIT + 1))
    in_attempt = Placeholder("attempt", columns.get_field("attempt"))
    notes = events.filter(attempt=in_attempt, kind=EventKind.NOTE)
    names = ("kind", "event_time", "actor", "reason", "head")
    nothing = Value("", CharField())
    result = all_rows(root, using).filter(pk=pk).annotate(head=_head("result_data", _RESULT_LENGTH))
    return {
        "change": events.exclude(kind__in=AUDIT_ONLY).values_list(*names),
        "note": notes.exclude(reason="").values_list(*names),
        "progress": notes.filter(head__contains='"progress"').values_list(*names),
        "result": result.values_list(nothing, "done_time", nothing, nothing, "head"),
    }


def _head(name: str, length: int) -> Substr:
    return Substr(name, 1, length, output_field=TextField())


def _add(last: LastEvents, name: str, change: StatusChange) -> None:
    text = change.data
    if name == "result":
        last.result = result_text(text)
    elif name == "progress":
        last.progress = None if len(text) > LIMIT else progress_in(decode(text), change.reason)
        last.progress_time = change.time
    elif name == "note":
        last.note = change
    else:
        last.change = change._replace(data=parse_text(text))
        last._error = error_text(text)


def _add_missing(tasks: Iterable[SimpleTask], last: dict[Any, LastEvents], using: str) -> None:
    """Add how many tasks are waited for, if some of ``tasks`` wait for others; one statement."""
    waiting = {
        key_of(task): last[task.pk]
        for task in tasks
        if (change := last[task.pk].change) is not None
        and task.status == Status.BLOCKED
        and "group" in (change.data or {})
    }
    if not waiting:
        return
    label = table_model(type(next(iter(tasks))))._meta.label
    dependents = dependents_of(using).filter(model=label, task_key__in=[*waiting])
    for key, missing in dependents.values_list("task_key", "group__missing"):
        waiting[key].missing = missing


def result_text(text: str | None) -> str:
    """The first part of a result, of which ``text`` is the stored JSON or its beginning."""
    if not text or text == "null":
        return ""
    if len(text) >= _RESULT_LENGTH:
        return _cut_text(text)
    value = decode(text)
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value.values()):
        plain = ((k, v if isinstance(v, str) else format_json(v)) for k, v in value.items())
        return ", ".join(f"{name}: {part}" for name, part in plain)
    return format_json(value)


def error_text(text: str | None) -> str:
    """Type and message of the error in the data of an event, also if its end was cut off."""
    found = [_member(text or "", name) for name in ("type", "message")]
    return ": ".join(filter(None, found))


def _member(text: str, name: str) -> str:
    _before, is_found, after = text.partition('"error":{')[2].partition(f'"{name}":')
    return _cut_text(after) if is_found and after.startswith('"') else ""


def _cut_text(text: str) -> str:
    """The JSON text at the beginning of ``text``, which may end before that does."""
    match = _TEXT.match(text)
    if match is None:
        return text
    for end in range(6):  # an escaped character may be cut
        try:
            return str(json.loads(f'{match[0][: len(match[0]) - end]}"'))
        except ValueError:
            continue
    return ""
