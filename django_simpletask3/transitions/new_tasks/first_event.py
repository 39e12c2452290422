"""The ``enqueue`` event of a new row; it continues the stream of a deleted row of the same key."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ... import context
from ...batches import batches
from ...db import clock
from ...db.fast_instances import build_without_init, may_skip_init
from ...db.locks import begin_write
from ...db.store import Change
from ...ledger.digests import SALT_KEY
from ...ledger.event import events_of
from ...ledger.projection import Projection
from ...ledger.task_row import has_expiry, has_unique_key, table_model, write_database
from ...states import EventKind
from .. import participants
from ..expiry import expiry_of_new
from ..transition import Transition, has_constant_defaults
from ..unique_keys.compute import key_of_new

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow

#: The projection of a row before its first event.
EMPTY_PROJECTION: dict[str, Any] = Projection()._asdict()

#: What a new row takes over from the stream of a deleted row of the same key.
_CONTINUED_COLUMNS = ("sequence", "digest", "attempt")

#: Keys in one query; some databases limit that.
_BATCH_SIZE = 500


def reject_wrong_database(task: TaskRow, using: str) -> None:
    """Raise ValueError if the router would look for ``task`` elsewhere than in ``using``."""
    # Its message, its transitions and its worker would find another row of the same key
    # (test_a_task_is_not_saved_where_the_router_does_not_look_for_it).
    if (routed_database := write_database(task)) != using:
        raise ValueError(
            f"A {task._meta.label} cannot be saved in {using!r}: the router's db_for_write() says "
            f"{routed_database!r} for it. Let it return instance._state.db, or None."
        )


def previous_streams(tasks: Sequence[TaskRow], using: str) -> dict[object, dict[str, object]]:
    """``previous_streams_by_pk`` of those ``tasks``, all of one table, that have keys already."""
    if not tasks:
        return {}
    return previous_streams_by_pk(table_model(type(tasks[0])), _chosen_pks(tasks), using)


def _chosen_pks(tasks: Iterable[TaskRow]) -> list[object]:
    """The keys of ``tasks`` that have one before the insert, as the database will return them."""
    for task in tasks:
        _take_key_of_parent(task)
    with_pk = [t for t in tasks if t.pk is not None and not hasattr(t.pk, "resolve_expression")]
    for task in with_pk:
        task.pk = table_model(type(task))._meta.pk.to_python(task.pk)
    return [task.pk for task in with_pk]


def _take_key_of_parent(task: TaskRow) -> None:
    """Set the key of a multi-table child that was only given the key of its parent row."""
    if task.pk is None and task._meta.parents:
        keys = (getattr(task, parent._meta.pk.attname) for parent in task._meta.get_parent_list())
        task.pk = next((key for key in keys if key is not None), None)


def previous_streams_by_pk(
    root: type[TaskRow], pks: Sequence[Any], using: str
) -> dict[Any, dict[str, Any]]:
    """Where the streams of earlier rows with these keys ended; the new rows go on from there.

    The attempts are counted on, so that no worker of the earlier row can finish the new one.
    """
    last_events: dict[Any, dict[str, Any]] = {}
    for batch in batches(pks, _BATCH_SIZE):
        begin_write(root, using)
        streams = events_of(root, using).filter(task__in=batch)
        last_events |= {
            row["task_id"]: row for row in streams.values("task_id", "kind", *_CONTINUED_COLUMNS)
        }
    # A row that still exists is not inserted again: its stream refuses a second first event.
    return {
        pk: {**EMPTY_PROJECTION, **{name: row[name] for name in _CONTINUED_COLUMNS}}
        for pk, row in last_events.items()
        if row["kind"] == EventKind.DELETE
    }


class FirstEvents:
    """Plans the first events of new tasks that are enqueued together, at ``now``.

    ``previous`` is what ``previous_streams`` returned. The events of tasks that are alike have the
    same digest, which does not cover the key: they are planned once.
    """

    def __init__(
        self, previous: Mapping[object, Mapping[str, object]], now: datetime, using: str
    ) -> None:
        self._previous, self._now, self._using = previous, now, using
        #: What the last plan was made from, and the plan if it can be copied.
        self._origin: tuple[object, ...] = ()
        self._copyable: Change | None = None
        self._checks: list[Callable[[TaskRow], None]] = []

    def plan(self, task: TaskRow) -> Change:
        """``plan_first_events`` of ``task``."""
        previous = self._previous.get(task.pk, EMPTY_PROJECTION)
        if previous is not EMPTY_PROJECTION:
            return plan_first_events(task, previous, self._now, self._using)
        origin = _origin_of_plan(task)
        # Each value is the same object: two that are equal may be written differently.
        if self._copyable is not None and all(map(operator.is_, origin, self._origin)):
            for check in self._checks:
                check(task)
            return _copied(self._copyable, task)
        change = plan_first_events(task, previous, self._now, self._using)
        self._origin, self._copyable = origin, change if _is_copyable(task, change) else None
        self._checks = participants.checks_of_new(type(task)) if self._copyable else []
        return change


def _origin_of_plan(task: TaskRow) -> tuple[object, ...]:
    """All of ``task`` that its first event depends on, unless it has a unique key."""
    model = type(task)
    expires = None
    if has_expiry(model) and (expires := vars(task).get("expires_at")) is None:
        expires = task.django_simpletask3_expires
    return model, task.run_after, expires, task._is_enqueued_blocked or None


def _is_copyable(task: TaskRow, change: Change) -> bool:
    """Whether the event of ``task`` holds nothing that is of this task alone.

    A salt, for one: with that of another, what was erased could be recognized.
    """
    model = type(change.event)
    return (
        len(change.events) == 1
        and not has_unique_key(type(task))
        and SALT_KEY not in (change.event.data or ())
        and may_skip_init(model)
        and has_constant_defaults(model)
    )


def _copied(change: Change, task: TaskRow) -> Change:
    columns = vars(change.event) | {"task_id": task.pk}
    del columns["_state"]
    if columns["data"] is not None:
        columns["data"] = deepcopy(columns["data"])
    event = build_without_init(type(change.event), columns)
    return Change(task.pk, change.expected_sequence, change.columns, (event,))


def plan_first_events(
    task: TaskRow, previous: Mapping[str, object], now: datetime, using: str
) -> Change:
    """The first events of the new ``task``, after the stream ``previous``, and its columns.

    That is ``enqueue``, and ``block`` after it if the task is enqueued blocked. Its row will be in
    ``using``.
    """
    enqueued = _plan_enqueue(task, previous, now, using)
    if not task._is_enqueued_blocked:
        return enqueued
    reason = task._is_enqueued_blocked
    reason = reason if isinstance(reason, str) else ""
    block = Transition(task, EventKind.BLOCK, reason=reason, data=dict(task._block_data))
    return enqueued.then(block.plan({"pk": task.pk, **enqueued.columns}, now))


def _plan_enqueue(
    task: TaskRow, previous: Mapping[str, object], now: datetime, using: str
) -> Change:
    model = type(task)
    participants.check_new(task)
    # The table cannot tell which proxy or child model was saved: the stream does.
    data: dict[str, Any] = {} if table_model(model) is model else {"model": model._meta.label}
    run_after = task.run_after
    if run_after is not None:
        run_after = clock.time_of(run_after, using)
    values: dict[str, Any] = {"run_after": run_after, "parent": None}
    if has_expiry(model):
        values["expires_at"] = expiry_of_new(task, using)
    if has_unique_key(model):
        values["unique_key"] = task._known_key or key_of_new(task)
        if task._replaced is not None:
            data["replaces"] = task._replaced
    current = context.current()
    if current.parent or "parent" in current.data:
        # The key is reserved, also if there is no parent: the audit compares it with the row.
        data["parent"] = values["parent"] = current.parent or None
    return Transition(task, EventKind.ENQUEUE, data=data, values=values).plan(previous, now)
