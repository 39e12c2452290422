"""Assertions about tasks: what happened to them, which wait, and that none is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from types import EllipsisType
from typing import Any

from django.db import models

from ..db.loading import load_tasks
from ..ledger.event import events_of
from ..ledger.task_row import table_model, task_name, write_database
from ..models.registry import tables_in
from ..models.task import SimpleTask
from ..states import WAITING, EventKind, Status
from .crashes.idempotency import assert_idempotent
from .selection import Selection, checked_model, checked_task

#: Tasks that a message lists.
_MAX_LISTED = 10

Expected = str | EllipsisType
#: How many of the expected kinds, and of the events, come before it.
_Place = tuple[int, int]


def assertTaskEvents(task: SimpleTask, *expected: Expected) -> None:  # noqa: N802
    """Assert that the events of ``task`` are of these kinds, in this order.

    ``...`` stands for any number of events, or none: ``assertTaskEvents(task, "enqueue", ...,
    "ack")``. The events are read from the database.
    """
    checked_task(task)
    kinds = [kind if kind is ... else _checked(kind) for kind in expected]
    events = list(events_of(type(task), write_database(task)).filter(task=task.pk))
    cost, lines = _compared(kinds, events)
    if cost:
        raise AssertionError(
            f"The events of {task_name(task)} are not as expected "
            "(- is expected and missing, + was recorded and is not expected):\n" + "\n".join(lines)
        )


def _checked(kind: Any) -> str:
    if kind not in list(EventKind):
        raise ValueError(
            f"{kind!r} is no kind of event: give ... or one of {', '.join(EventKind)}."
        )
    return str(EventKind(kind))


def assertEnqueued(  # noqa: N802
    model: type[SimpleTask], /, count: int | None = None, **columns: Any
) -> list[Any]:
    """Assert that tasks of ``model`` with these ``columns`` wait, PENDING or BLOCKED; return them.

    At least one, or exactly ``count``. The columns may be lookups, such as ``amount__gt=3``.
    """
    found = _waiting(model, columns)
    if count is None and not found:
        raise AssertionError(f"No {_described(model, columns)} waits.{_those_that_wait(model)}")
    if count is not None and len(found) != count:
        raise AssertionError(
            f"{len(found)}, and not {count}, of {_described(model, columns)} wait."
            f"{_those_that_wait(model)}"
        )
    return found


def assertNotEnqueued(model: type[SimpleTask], /, **columns: Any) -> None:  # noqa: N802
    """Assert that no task of ``model`` with these ``columns`` waits, PENDING or BLOCKED."""
    if found := _waiting(model, columns):
        raise AssertionError(f"{_described(model, columns)} waits:{_listed(found)}")


def assertNoTasksLeft(*models_or_tasks: Any) -> None:  # noqa: N802
    """Assert that no task is PENDING, BLOCKED or RUNNING: none at all, or none of these."""
    selection = Selection.of(models_or_tasks)
    if left := selection.unfinished_tasks(selection.unfinished_tables()):
        raise AssertionError(f"Tasks are left: {len(left)}{_listed(left)}")


class TaskAssertions:
    """A mixin for ``unittest.TestCase``: the assertions as methods."""

    assertTaskEvents = staticmethod(assertTaskEvents)  # noqa: N815
    assertEnqueued = staticmethod(assertEnqueued)  # noqa: N815
    assertNotEnqueued = staticmethod(assertNotEnqueued)  # noqa: N815
    assertNoTasksLeft = staticmethod(assertNoTasksLeft)  # noqa: N815
    assert_idempotent = staticmethod(assert_idempotent)


def _waiting(model: type[SimpleTask], columns: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    root = table_model(checked_model(model))
    for using in Selection([model]).databases:
        if tables_in(using, [root]):
            rows: Any = models.QuerySet(model, using=using).filter(status__in=WAITING, **columns)
            found += load_tasks(root, using, rows.order_by("pk").values_list("pk", flat=True))
    return [task for task in found if isinstance(task, model)]


def _described(model: type[SimpleTask], columns: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in columns.items())
    return f"{model._meta.label}{f' with {given}' if given else ''}"


def _those_that_wait(model: type[SimpleTask]) -> str:
    others = _waiting(model, {})
    return f" Those that wait:{_listed(others)}" if others else " None of that model does."


def _listed(tasks: Sequence[Any]) -> str:
    lines = [f"\n  {_with_columns(task)}" for task in tasks[:_MAX_LISTED]]
    more = len(tasks) - len(lines)
    return "".join(lines) + (f"\n  and {more} more" if more > 0 else "")


def _with_columns(task: Any) -> str:
    """``task`` with its status and the columns of its own."""
    own = [f for f in task._meta.concrete_fields if f.attname not in _COLUMNS_OF_ALL]
    values = [f"{field.attname}={getattr(task, field.attname)!r}" for field in own]
    run_after = [f"run_after={task.run_after}"] if task.run_after is not None else []
    return " ".join([task_name(task), Status(task.status).name, *run_after, *values])


_COLUMNS_OF_ALL = {"id", *(field.attname for field in SimpleTask._meta.concrete_fields)}


def _compared(expected: Sequence[Expected], events: Sequence[Any]) -> tuple[int, list[str]]:
    """How many lines differ at least, and the lines: what is expected beside what was recorded."""
    # From each place, the last one first: the lines that differ, the next line, the next place.
    best: dict[_Place, tuple[int, str, _Place | None]] = {}
    for place in product(range(len(expected), -1, -1), range(len(events), -1, -1)):
        ways = [
            (cost + best[k, m][0], line, (k, m))
            for cost, line, k, m in _ways(expected, events, *place)
        ]
        best[place] = min(ways, key=lambda way: way[0]) if ways else (0, "", None)
    lines: list[str] = []
    step: _Place | None = (0, 0)
    while step is not None:
        _, line, step = best[step]
        lines += [line] if line else []
    return best[0, 0][0], lines


def _ways(
    expected: Sequence[Expected], events: Sequence[Any], i: int, j: int
) -> Iterable[tuple[int, str, int, int]]:
    """The ways to go on from there: how many lines differ, the line, and the next places."""
    has_kind, has_event = i < len(expected), j < len(events)
    if has_kind and expected[i] is ...:
        yield 0, "", i + 1, j
        if has_event:
            yield 0, f"    {_line_of(events[j])}", i, j + 1
        return
    if has_kind and has_event and expected[i] == events[j].kind:
        yield 0, f"    {_line_of(events[j])}", i + 1, j + 1
    if has_kind:
        yield 1, f"  - {expected[i]}", i + 1, j
    if has_event:
        yield 1, f"  + {_line_of(events[j])}", i, j + 1


def _line_of(event: Any) -> str:
    data = event.data or {}
    error = data.get("error") or {}
    cause = f"{error.get('type')}: {error.get('message')}" if error else ""
    return " ".join(filter(None, [str(event.kind), event.reason and f"({event.reason})", cause]))
