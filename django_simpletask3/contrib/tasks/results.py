"""Results of tasks, as the framework describes them, of rows and their events."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings

from ... import exceptions
from ...conf.options import options
from ...exceptions import TaskCanceled, TaskExpired, WorkerLost
from ...ledger.digests import is_erased
from ...ledger.encoding import exact_value
from ...ledger.event import events_of
from ...ledger.task_row import write_database
from ...states import AUDIT_ONLY, FINAL, EventKind, Status
from . import registry
from .framework import Framework, framework_of

#: Canceled and expired tasks have not succeeded, and will not.
_STATUSES = {
    Status.RUNNING: "RUNNING",
    Status.SUCCESS: "SUCCESSFUL",
    Status.FAILED: "FAILED",
    Status.CANCELED: "FAILED",
}
#: Values that JSON yields as they are, whatever the limit.
_PLAIN = (bool, float)
_SHORT = 20
#: What ends a task beside what its function raises, by the paths of the classes.
_OWN_ERRORS = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (TaskCanceled, TaskExpired, WorkerLost)
}


@dataclass(slots=True)
class History:
    """What the events of a task tell: each worker that claimed it, and each error."""

    workers: list[str] = field(default_factory=list)
    #: Type, message and traceback of each error.
    errors: list[dict[str, Any]] = field(default_factory=list)
    started_at: datetime | None = None
    last_started_at: datetime | None = None


def result_of(row: Any, task: Any = None, history: History | None = None) -> Any:
    """The TaskResult of ``row``; ``history`` is read unless it is given.

    Raises FunctionMissing if this process does not know the function.
    """
    if task is None:
        task = task_of(row)
    history = read_history(row) if history is None else history
    framework = framework_of(task)
    status = framework.statuses[_STATUSES.get(row.status, "READY")]
    result = framework.result_class(
        task=task,
        id=str(row.result_id),
        status=status,
        enqueued_at=row.add_time,
        started_at=history.started_at,
        last_attempted_at=history.last_started_at,
        finished_at=row.done_time if row.status in FINAL else None,
        args=row.args,
        kwargs=row.kwargs,
        backend=row.backend_name,
        errors=[_error(framework, error) for error in history.errors],
        worker_ids=history.workers,
    )
    value = row.result_data if row.status == Status.SUCCESS else None
    object.__setattr__(result, "_return_value", value)
    return result


def error_of(result: Any) -> BaseException | None:
    """The last error of a failed result as an exception, which has no traceback; else None.

    It has the class only if that is of this package: nothing is imported for it.
    """
    if result.status != "FAILED" or not result.errors:
        return None
    last = result.errors[-1]
    kind = _OWN_ERRORS.get(last.exception_class_path)
    # The text of the traceback ends with the class and the message.
    return kind(last.traceback.strip().split(": ", 1)[-1]) if kind else Exception(last.traceback)


def task_of(row: Any, definition: Any = None) -> Any:
    """The task whose call ``row`` is, as it was enqueued."""
    definition = registry.find(row.task_path) if definition is None else definition
    values: dict[str, Any] = {"run_after": row.run_after, "priority": row.priority}
    values["queue_name"] = row.queue_name
    if row.backend_name in (getattr(settings, "TASKS", None) or {}):
        values["backend"] = row.backend_name
    if all(getattr(definition, name) == value for name, value in values.items()):
        return definition  # usual, and frozen
    return registry.with_values(definition, **values)


def result_of_running(row: Any, definition: Any, worker: str) -> Any:
    """The TaskResult of ``row``, whose function ``worker`` is about to call."""
    if row.attempt == 1:  # the usual case needs no query
        history = History([worker], [], row.start_time, row.start_time)
    else:
        history = read_history(row)
    return result_of(row, task_of(row, definition), history)


def context_of(result: Any) -> Any:
    """What a function with ``takes_context`` is given."""
    return framework_of(result.task).context_class(task_result=result)


def storable_value(value: Any, definition: Any) -> Any:
    """What a function returned, as JSON yields it.

    Raises TypeError or ValueError, as the framework does, if JSON cannot hold it, and ValueError if
    it is too large.
    """
    if value is None or type(value) in _PLAIN or (type(value) is str and len(value) < _SHORT):
        return value
    normal = framework_of(definition).normalize_json(value)
    limit = options.result_size_limit
    try:
        return exact_value(normal, limit=limit)
    except ValueError as error:
        raise ValueError(f"{definition.module_path} has returned, but {error}") from None


def first_history(row: Any, event: Any) -> History:
    """The history of a task that ``event`` has ended in its first attempt; no query."""
    error = _last_error(row, _error_in(event))
    return History([event.worker], [error] if error else [], row.start_time, row.start_time)


def read_history(row: Any) -> History:
    """Read the history of ``row`` from its events; without a query if it has not begun."""
    if not row.attempt and row.status not in FINAL:
        return History()
    stream = events_of(type(row), write_database(row)).filter(task=row.pk)
    history = _fold(stream.exclude(kind__in=AUDIT_ONLY).defer("digest", "actor"))
    if row.status == Status.FAILED and history.errors:
        history.errors[-1:] = [_last_error(row, history.errors[-1])]
    return history


def _last_error(row: Any, error: Any) -> Any:
    """``error``, which has failed the task, with its traceback: the row has that, if not cut."""
    data = row.error_data
    return data if error and isinstance(data, dict) and "type" in data else error


def _fold(events: Iterable[Any]) -> History:
    history = History()
    for event in events:
        if event.to_status == Status.RUNNING:
            history.workers.append(event.worker)
            history.started_at = history.started_at or event.event_time
            history.last_started_at = event.event_time
        elif event.kind == EventKind.RESET:
            _complete_last_error(history, event.data)
        elif (error := _error_in(event)) is not None:
            history.errors.append(error)
    return history


def _error_in(event: Any) -> dict[str, Any] | None:
    """What ``event`` says went wrong, if something did."""
    data = event.data if isinstance(event.data, dict) else {}
    if event.kind == EventKind.CANCEL:
        return _made_up(TaskCanceled, event.reason or "The task was canceled.")
    if event.kind == EventKind.EXPIRE:
        return _made_up(TaskExpired, "The task expired before it was started.")
    if event.kind == EventKind.RECOVER and "lost_worker" in data:
        return _made_up(WorkerLost, f"The worker {data['lost_worker']} was lost ({event.reason}).")
    error = data.get("error")
    if not isinstance(error, dict):
        return None
    if is_erased(error):
        return {"type": "Exception", "message": "erased", "traceback": ""}
    return {**error, "traceback": data.get("traceback") or ""}


def _complete_last_error(history: History, data: Any) -> None:
    """Take the last error with its traceback from a reset, which has kept what the row lost."""
    erased = data.get("erased") if isinstance(data, dict) else None
    error = erased.get("error_data") if isinstance(erased, dict) else None
    if history.errors and isinstance(error, dict) and "type" in error:
        history.errors[-1] = error


def _made_up(kind: type[BaseException], message: str) -> dict[str, Any]:
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "message": message, "traceback": ""}


def _error(framework: Framework, error: dict[str, Any]) -> Any:
    path = _class_path(str(error.get("type") or "Exception"))
    traceback = error.get("traceback") or f"{path}: {error.get('message') or ''}"
    return framework.error_class(exception_class_path=path, traceback=f"{traceback.rstrip()}\n")


def _class_path(name: str) -> str:
    """The path from which the class of an error can be imported."""
    if "." in name:
        return name
    module = builtins if hasattr(builtins, name) else exceptions
    return f"{module.__name__}.{name}"
