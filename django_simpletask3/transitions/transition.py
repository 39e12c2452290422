"""One transition of one task: what is asked for, the event it leaves, the columns it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, cast

from django.db import models

from .. import context
from ..conf.options import options
from ..db import clock
from ..db.fast_instances import build_without_init, has_constant_default, may_skip_init
from ..db.store import Change
from ..exceptions import IllegalTransition, TransitionRefused
from ..ledger.columns import mixin_columns
from ..ledger.digests import ERASABLE_KEYS, summary_of, with_salt
from ..ledger.encoding import TaggedValue, WholeDict, encode, safe_text, stored_value
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.fields import MAX_TEXT
from ..ledger.projection import Projection
from ..ledger.task_row import TaskRow, has_expiry, task_name
from ..queue import NO_REDIS
from ..states import AUDIT_ONLY, EVENTS, RECOVERABLE, EventKind, Holder, Payload, Status
from . import expiry
from .unique_keys.compute import frees_key

#: For how long the message of a waiting task is trusted at most, if the setting is not longer.
MAX_RECHECK_SECONDS = 3600.0
#: Another node may have another clock, or an earlier value of the setting.
_RECHECK_TOLERANCE = 3600.0


@dataclass(slots=True)
class Transition:
    """A transition of one task that is asked for, and its outcome.

    The outcome is ``event``, ``refusal`` or, if it could not be recorded, ``error``. With
    ``was_recorded`` the event is of an earlier call, whose commit was not answered.

    ``expected`` names columns and the values that they must still have. With ``by_holder`` the
    attempt that holds the lease asks: then status and attempt of the instance are expected, and a
    refusal is recorded (``reject``); None means as ``EventSpec.holder`` says. ``values`` are
    further columns to write: the task's own ones, and ``run_after`` and ``check_at``.
    ``last_known_row`` is the row as last read: while it has not changed, it is not read again.
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
    was_recorded: bool = False

    #: Whether the participants have decided on it already, if its row is still as last known.
    is_decided: ClassVar[bool] = False

    def __post_init__(self) -> None:
        # As the database will hold it, from the thread of the task function: Django asks a value
        # for attributes, and that of some has effects.
        self.result = _bound_value(self.result)
        self._check_holder()
        if self.kind is EventKind.RESET and has_expiry(type(self.task)):
            self.values = {"expires_at": None, **self.values}
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

    def mismatches(self, row: Mapping[str, object]) -> dict[str, object]:
        """The columns of ``row`` that are not as expected any more."""
        return {name: row[name] for name, value in self.expected.items() if row[name] != value}

    def plan(self, row: Mapping[str, object], now: datetime) -> Change:
        """The event that is appended to the stream of ``row``, and the columns that it changes.

        A deleted row has no columns. Raises IllegalTransition if it cannot happen to ``row``, and
        TaskExpired if the task has expired and so cannot start.
        """
        before = Projection.of(row)
        try:
            event = self._build_event(before, row, now)
            after = before.after(event)
        except IllegalTransition as error:
            name = task_name(self.task)
            raise IllegalTransition(f"{name}: {error}", kind=self.kind) from None
        expiry.reject_by_expiry(self.task, self.kind, row, now)
        return Change(event.task_id, before.sequence, self._columns(row, after, now), (event,))

    def _build_event(self, before: Projection, row: Mapping[str, Any], now: datetime) -> TaskEvent:
        current = context.current()
        event = build_event(
            type(self.task),
            task_id=row.get("pk", self.task.pk),
            sequence=before.sequence + 1,
            kind=self.kind,
            from_status=before.status,
            to_status=before.status_after(self.kind),
            attempt=before.attempt + (self.kind is EventKind.START),
            event_time=now,
            worker=_truncate(self.worker),
            actor=_truncate(current.actor),
            reason=_truncate(self.reason or current.reason),
            data=self._stored_data({**current.data, **self.data, **self._own_data(row)}),
        )
        event.digest = event.expected_digest(before.digest)
        return event

    def _stored_data(self, data: dict[str, Any]) -> Any:
        """``data`` of the event as the database holds it."""
        salted = with_salt(data)
        if Payload.VALUE in EVENTS[self.kind].carries:
            # The value of a checkpoint is needed as it is; its size was examined.
            return WholeDict(stored_value(salted, limit=None))
        stored = _bound_value(salted or None)
        if not isinstance(stored, TaggedValue):
            return stored
        # Data that were cut have lost the salt, and what is left of them is erasable. What other
        # code of the package reads is kept
        # (test_what_participants_read_is_not_cut_with_the_context).
        own_values = stored_value(_own_values(data), limit=None)
        return with_salt(TaggedValue({**own_values, **stored}))

    def _own_data(self, row: Mapping[str, object]) -> dict[str, object]:
        """What ``data`` holds of the transition itself, under keys that are reserved for it."""
        own_data = self._payload(row)
        if isinstance(run_after := self.values.get("run_after"), datetime):
            own_data["run_after"] = run_after.isoformat()
        if self.kind in expiry.KINDS_WITH_EXPIRY and (expires_at := self._expires_at(row)):
            own_data["expires_at"] = expires_at.isoformat()
        own_data |= self._key_data(row)
        if self.kind is EventKind.RESET:
            # Always: the same key of a context must not make the task begin again.
            own_data["restart"] = self.data.get("restart") is True
        return own_data

    def _payload(self, row: Mapping[str, object]) -> dict[str, object]:
        """What ``data`` holds of the outcome: and of what it erased."""
        carries = EVENTS[self.kind].carries
        if Payload.RESULT in carries and self.result is not None:
            text = encode(self.result, limit=options.result_size_limit)
            return {Payload.RESULT.value: summary_of(text)}
        if Payload.ERROR in carries and self.error_data is not None:
            text = encode(self.error_data, limit=options.result_size_limit)
            error = {name: self.error_data.get(name) for name in ("type", "message")}
            return {Payload.ERROR.value: {**error, **summary_of(text)}}
        if Payload.ERASED in carries:
            erased = {name: row[name] for name in ("result_data", "error_data")}
            has_values = any(value is not None for value in erased.values())
            return {Payload.ERASED.value: erased} if has_values else {}
        return {}

    def _key_data(self, row: Mapping[str, Any]) -> dict[str, object]:
        """What ``data`` holds of the unique key: the one that is taken, or that it is freed."""
        key = row.get("unique_key")
        if key is not None and frees_key(self.task, self.kind):
            return {"key_freed": True}
        if self.kind in (EventKind.ENQUEUE, EventKind.RESET):
            key = self.values.get("unique_key", key)
            return {} if key is None else {"unique": str(key)}
        return {}

    def _expires_at(self, row: Mapping[str, Any]) -> datetime | None:
        """When the task expires after the transition; None if it does not."""
        if not has_expiry(type(self.task)):
            return None
        expires_at: datetime | None = self.values.get("expires_at", row.get("expires_at"))
        return expires_at

    def _columns(
        self, row: Mapping[str, object], after: Projection, now: datetime
    ) -> dict[str, object]:
        if self.kind is EventKind.DELETE:
            return {}
        columns: dict[str, Any] = dict(zip(Projection._fields, after, strict=True))
        if self.kind is EventKind.ERASE:
            columns |= {"result_data": None, "error_data": None}
        if self.kind in AUDIT_ONLY:
            return columns
        carries = EVENTS[self.kind].carries
        columns["result_data"] = self.result if Payload.RESULT in carries else None
        columns["error_data"] = self.error_data if Payload.ERROR in carries else None
        columns["mod_time"] = now
        if frees_key(self.task, self.kind):
            columns["unique_key"] = None
        return {**columns, **self._lease_columns(row, after, now), **self.values}

    def _lease_columns(
        self, row: Mapping[str, object], after: Projection, now: datetime
    ) -> dict[str, object]:
        if after.status == Status.RUNNING:
            return {"worker": self.worker}
        if after.status in RECOVERABLE:
            run_after = self.values.get("run_after", row.get("run_after"))
            check_at = next_check_time(run_after, now)
            return {"worker": "", "check_at": expiry.earlier_of(check_at, self._expires_at(row))}
        return {"check_at": self._expires_at(row) if after.status == Status.BLOCKED else None}


def has_no_events(row: Mapping[str, object]) -> bool:
    """Whether ``row`` was inserted without ``save()``, and has no event yet."""
    return bool(row["sequence"] == 0 and row["status"] == Status.PENDING)


def known_row(task: TaskRow) -> dict[str, object]:
    """The columns of ``task``, just read or written: ``last_known_row`` of its next transition."""
    attributes = vars(task)
    return {"pk": task.pk, **{name: attributes[name] for name in planned_from(type(task))}}


@lru_cache(maxsize=1000)
def planned_from(model: type[TaskRow]) -> tuple[str, ...]:
    """The columns of a row of which ``plan`` needs the values."""
    return (*Projection._fields, *mixin_columns(model))


def next_check_time(run_after: Any, now: datetime) -> Any:
    """When recovery examines a PENDING task: until then its message is trusted."""
    if clock.is_due(run_after, now):
        return trusted_until(now, options.simq_timeout_task_recovery_interval)
    return run_after


def trusted_until(now: datetime, seconds: float) -> datetime:
    """Until when a message that is pushed ``now`` is trusted for ``seconds``.

    Without Redis there is none: the row is found among those that are overdue.
    """
    return now if options.simq_redis_url == NO_REDIS else now + timedelta(seconds=seconds)


def latest_check_time(now: datetime) -> datetime:
    """A time that is after the next check of every PENDING task that is due ``now``.

    Those that recovery examines later wait for their ``run_after``.
    """
    trusted = max(options.simq_timeout_task_recovery_interval, MAX_RECHECK_SECONDS)
    return now + timedelta(seconds=trusted + _RECHECK_TOLERANCE)


def _truncate(text: object) -> str:
    return safe_text(text, limit=MAX_TEXT)[:MAX_TEXT] if text != "" else ""


def _bound_value(value: Any) -> Any:
    """``value`` as the database holds it: the digest is over what is read back."""
    return None if value is None else stored_value(value, limit=options.result_size_limit)


def _own_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``data`` the package has written itself, as far as it is short."""
    names = context.RESERVED_KEYS - set(ERASABLE_KEYS)
    values = {name: data[name] for name in sorted(names & data.keys())}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_TEXT)
    }


def build_event(model: type[models.Model], **columns: Any) -> TaskEvent:
    """An unsaved event of a task of ``model``."""
    event_model: Any = event_model_of(model)
    if not may_skip_init(event_model):
        return cast("TaskEvent", event_model(**columns))
    constants, factories = _defaults_of(event_model)
    for name, default in factories:
        if name not in columns:
            columns[name] = default()
    return cast("TaskEvent", build_without_init(event_model, {**constants, **columns}))


@lru_cache(maxsize=1000)
def _defaults_of(event_model: Any) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """What columns are that are not given: those that are always the same, and the functions."""
    fields = [field for field in event_model._meta.concrete_fields if not field.generated]
    constant = [field for field in fields if has_constant_default(field)]
    return (
        {field.attname: field.get_default() for field in constant},
        [(field.attname, field.get_default) for field in fields if field not in constant],
    )


@lru_cache(maxsize=10_000)
def has_constant_defaults(event_model: Any) -> bool:
    """Whether the columns of ``event_model`` have the same defaults in every event."""
    fields = event_model._meta.concrete_fields
    return all(has_constant_default(field) for field in fields if not field.generated)
