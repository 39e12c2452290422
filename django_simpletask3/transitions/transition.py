"""One move of one task: what it asks for, the event it leaves, the columns it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from django.db import models

from .. import context
from ..conf.options import options
from ..db import clock
from ..db.fast_instances import build_without_init, may_skip_init
from ..exceptions import TransitionRefused
from ..ledger.digests import digest_of
from ..ledger.encoding import encode, safe_text, stored_value
from ..ledger.event import (
    TaskEvent,
    event_model_of,
)
from ..ledger.projection import Projection
from ..ledger.task_row import TaskRow
from ..states import AUDIT_ONLY, EVENTS, RECOVERABLE, EventKind, Holder, Payload, Status

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

#: What users write and moves write too: an old instance must not undo what a move wrote.
SCHEDULE = frozenset({"run_after", "priority"})

_TEXT_LIMIT = 255


@dataclass(slots=True)
class Transition:
    """One move of one task that is asked for, and what became of it.

    That is ``event``, ``refused`` or, if it could not be recorded, ``failure``.

    ``expect`` names columns and the values they must still have; the last words of a worker are
    fenced by themselves. ``values`` are further columns to write with the move: the task's own
    ones, and bookkeeping. ``error`` is what ``error_data`` will hold. ``known`` is the row as
    whoever asks last saw it: if nobody has moved it since, it need not be read again.
    """

    task: TaskRow
    kind: EventKind
    reason: str = ""
    worker: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    error_data: dict[str, Any] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    last_known_row: Mapping[str, Any] | None = None
    by_holder: bool | None = None
    event: TaskEvent | None = None
    refusal: TransitionRefused | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        # What the database will hold: Django asks a value for attributes, and some bite.
        self.result = _bound_value(self.result)
        self._check_holder()
        if self.by_holder:
            fence = {"status": Status.RUNNING, "attempt": self.task.attempt}
            self.expected = {**fence, **self.expected}

    def _check_holder(self) -> None:
        holder = EVENTS[self.kind].holder
        if self.by_holder is None:
            self.by_holder = holder is Holder.ALWAYS
        if holder is (Holder.NEVER if self.by_holder else Holder.ALWAYS):
            raise ValueError(
                f"by_holder={self.by_holder} for {self.kind}, which the holder of the lease "
                f"records {holder.value}."
            )

    def mismatches(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of ``row`` that are not as expected any more."""
        return {name: row[name] for name, value in self.expected.items() if row[name] != value}


def plan_event(
    transition: Transition, row: Mapping[str, Any], using: str, moment: datetime | None = None
) -> TaskEvent:
    """The event, sealed, that ``move`` appends to the stream of the task in ``row``.

    It happens now, or at the ``moment`` that all of a batch share. Where the digest of ``row`` is
    not known, None, it is left unsealed.
    """
    before = Projection.of(row)
    current_context = context.current()
    event = build_event(
        type(transition.task),
        task_id=row.get("pk", transition.task.pk),
        sequence=before.sequence + 1,
        kind=transition.kind,
        from_status=before.status,
        to_status=before.status_after(transition.kind),
        attempt=before.attempt + (transition.kind is EventKind.START),
        event_time=moment or clock.now(using),
        worker=_truncate(transition.worker),
        actor=_truncate(current_context.actor),
        reason=_truncate(transition.reason or current_context.reason),
        data=_bound_data(
            {**current_context.data, **transition.data, **_payload_data(transition, row)}
        ),
    )
    event.digest = "" if row["digest"] is None else event.expected_digest(before.digest)
    return event


def plan_columns(
    transition: Transition, event: TaskEvent, row: Mapping[str, Any], using: str
) -> dict[str, Any]:
    """The columns of the row once ``event`` has happened."""
    after = Projection.of(row).after(event)
    columns: dict[str, Any] = after._asdict()
    if event.kind == EventKind.ERASE:
        return {**columns, "result_data": None, "error_data": None}
    if event.kind in AUDIT_ONLY:
        return columns
    carries = EVENTS[transition.kind].carries
    columns["result_data"] = transition.result if Payload.RESULT in carries else None
    columns["error_data"] = transition.error_data if Payload.ERROR in carries else None
    columns["mod_time"] = event.event_time
    columns.update(_managed_columns(transition, event, after, using))
    columns.update(transition.values)
    return columns


def has_no_events(row: Mapping[str, Any]) -> bool:
    """Whether ``row`` came past ``save()``, and has no event yet."""
    return bool(row["sequence"] == 0 and row["status"] == Status.PENDING)


def known_row(task: TaskRow) -> dict[str, Any]:
    """What ``task``, just read or moved, says of its row: ``known`` for its next move."""
    attributes = vars(task)
    return {"pk": task.pk, **{name: attributes[name] for name in Projection._fields}}


def remember_schedule(task: TaskRow, names: Iterable[str] = SCHEDULE) -> None:
    """Note that the row of ``task`` holds what the instance says in those of ``names``."""
    attributes = vars(task)
    schedule = {
        name: attributes[name] for name in SCHEDULE.intersection(names) if name in attributes
    }
    attributes["_known_schedule"] = {**attributes.get("_known_schedule", {}), **schedule}


def changed_schedule_fields(task: TaskRow) -> set[str]:
    """The columns of SCHEDULE to which somebody has assigned what the row did not hold."""
    attributes = vars(task)
    known = attributes.get("_known_schedule", {})
    return {
        name
        for name in SCHEDULE & attributes.keys()
        if name not in known or known[name] != attributes[name]
    }


def next_check_time(run_after: Any, using: str, now: datetime | None = None) -> Any:
    """Until when the bell of a PENDING task is trusted: then recovery looks whether it rang."""
    if clock.is_past(run_after, using):
        interval = timedelta(seconds=options.simq_timeout_task_recovery_interval)
        return (now or clock.now(using)) + interval
    return run_after


def _managed_columns(
    transition: Transition, event: TaskEvent, after: Projection, using: str
) -> dict[str, Any]:
    if after.status == Status.RUNNING:
        return {"worker": transition.worker}
    if after.status in RECOVERABLE:
        check_at = next_check_time(transition.values.get("run_after"), using, event.event_time)
        return {"worker": "", "check_at": check_at}
    return {"check_at": None}


def _payload_data(transition: Transition, row: Mapping[str, Any]) -> dict[str, Any]:
    carries = EVENTS[transition.kind].carries
    if Payload.RESULT in carries and transition.result is not None:
        text = encode(transition.result, limit=_limit)
        return {Payload.RESULT.value: {"digest": digest_of(text), "size": len(text)}}
    if Payload.ERROR in carries and transition.error_data is not None:
        return {
            Payload.ERROR.value: {
                name: transition.error_data.get(name) for name in ("type", "message")
            }
        }
    if Payload.ERASED in carries:
        erased = {name: row[name] for name in ("result_data", "error_data")}
        return {Payload.ERASED.value: erased} if any(v is not None for v in erased.values()) else {}
    return {}


def _truncate(text: Any) -> str:
    return safe_text(text, limit=_TEXT_LIMIT)[:_TEXT_LIMIT]


def _bound_data(data: dict[str, Any]) -> Any:
    # What is sealed must be what will be read back, also when it was too large.
    return _bound_value(data) if data else None


def _bound_value(value: Any) -> Any:
    return stored_value(value, limit=_limit)


def _limit() -> int:
    return options.result_size_limit


def build_event(model: type[models.Model], **columns: Any) -> TaskEvent:
    """An event of the tasks of ``model`` that is not saved yet."""
    event_model: Any = event_model_of(model)
    if not may_skip_init(event_model):
        return cast("TaskEvent", event_model(**columns))
    defaults = {
        name: get_default()
        for name, get_default in _column_defaults(event_model).items()
        if name not in columns
    }
    return cast("TaskEvent", build_without_init(event_model, {**defaults, **columns}))


@lru_cache(maxsize=10_000)
def _column_defaults(event_model: Any) -> dict[str, Callable[[], Any]]:
    """The columns of ``event_model`` that are not made by the database, and their defaults."""
    fields = event_model._meta.concrete_fields
    return {field.attname: field.get_default for field in fields if not field.generated}
