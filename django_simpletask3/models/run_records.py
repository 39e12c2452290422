"""The records of a task's runs: one for each claim, folded from the task's events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..batches import batches
from ..ledger.digests import is_erased
from ..ledger.event import TaskEvent, events_of
from ..ledger.task_row import TaskRow, table_model, write_database
from ..states import AUDIT_ONLY, EventKind, Status

#: No such event begins or ends a run, and a task may have many of them.
_SKIPPED_KINDS = AUDIT_ONLY - {EventKind.REJECT}
#: Tasks in one query; some databases limit that.
_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a task: from the claim by a worker to its outcome."""

    #: The ``attempt`` of the row while it ran.
    number: int
    #: Empty if the task was started before its events were recorded.
    worker: str
    start: datetime
    #: None while it runs.
    end: datetime | None = None
    #: The kind of the event that ended the run, such as ``ack``, ``retry`` or ``recover``; a text
    #: if only a newer version knows it, None while the task runs.
    outcome: EventKind | str | None = None
    reason: str = ""
    #: The ``type`` and ``message`` of the error; None without one, or if it was erased.
    error: dict[str, Any] | None = None
    #: The kind of the late outcome that was refused, if the run reported one after its end.
    refused: str = ""


def fold_runs(events: Iterable[TaskEvent]) -> list[RunRecord]:
    """The runs that ``events`` tell of, which are one stream in order.

    Events are judged by their statuses, so it does not matter whether this version knows their
    kinds, and those that neither begin nor end a run may be left out.
    """
    runs: list[RunRecord] = []
    is_running = False
    for event in events:
        if event.kind == EventKind.REJECT:
            _mark_refused(runs, event.data)
        elif event.to_status == Status.RUNNING:
            if event.from_status != Status.RUNNING:
                runs.append(RunRecord(event.attempt, event.worker, event.event_time))
                is_running = True
        elif is_running:
            runs[-1] = _ended(runs[-1], event)
            is_running = False
    return runs


def _ended(run: RunRecord, event: TaskEvent) -> RunRecord:
    return replace(
        run,
        end=event.event_time,
        outcome=event.kind,
        reason=event.reason,
        error=_error_of(event.data),
    )


def _error_of(data: object) -> dict[str, Any] | None:
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict) or is_erased(error):
        return None
    return {name: error.get(name) for name in ("type", "message")}


def _mark_refused(runs: list[RunRecord], data: object) -> None:
    """Note on the run that was too late what it reported."""
    rejection = data if isinstance(data, dict) else {}
    for position, run in enumerate(runs):
        if run.number == rejection.get("attempt"):
            runs[position] = replace(run, refused=str(rejection.get("refused", "")))


def runs_of(task: TaskRow) -> list[RunRecord]:
    """The runs of ``task``, oldest first; prefetched ones unless ``sequence`` has changed since."""
    sequence, runs = vars(task).get("_prefetched_runs", (None, []))
    if sequence is not None and sequence == task.sequence:
        return list(runs)
    return _read_runs([task], table_model(type(task)), write_database(task))[task.pk]


def prefetch_runs(tasks: Iterable[TaskRow]) -> None:
    """Read the runs of ``tasks`` in one query for each table and 500 tasks.

    ``task.runs`` then makes no query until the task is refreshed after a new event.
    """
    groups: dict[tuple[type[TaskRow], str], list[TaskRow]] = defaultdict(list)
    for task in tasks:
        groups[table_model(type(task)), write_database(task)].append(task)
    for (root, using), group in groups.items():
        for batch in batches(group, _BATCH_SIZE):
            runs = _read_runs(batch, root, using)
            for task in batch:
                vars(task)["_prefetched_runs"] = (task.sequence, runs[task.pk])


def _read_runs(
    tasks: Sequence[TaskRow], root: type[TaskRow], using: str
) -> dict[Any, list[RunRecord]]:
    streams: dict[Any, list[TaskEvent]] = defaultdict(list)
    pks = [task.pk for task in tasks if task.pk is not None]
    rows = events_of(root, using).filter(task__in=pks).exclude(kind__in=_SKIPPED_KINDS)
    for event in rows.defer("actor", "digest"):
        streams[event.task_id].append(event)
    return {task.pk: fold_runs(streams[task.pk]) for task in tasks}
