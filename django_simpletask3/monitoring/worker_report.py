"""Read the report of a worker; it comes from Redis, where anything may stand."""

from __future__ import annotations

from collections.abc import Mapping

from ..logs import printable
from ..queue import Report
from .health_types import ModelLoad, WorkerHealth

#: The maintenance job that recovers expired leases.
_RECOVERY_JOB = "recover_expired_leases"
_MAX_ENTRIES, _MAX_TEXT, _MAX_NUMBER = 1000, 255, 1e12


def read_report(report: Report, stop_requested: bool) -> WorkerHealth:
    """The health of the worker that sent ``report``, whatever the report holds."""
    status = report.status
    jobs = {name: _numbers(run) for name, run in _entries(status.get("jobs"))}
    return WorkerHealth(
        worker=report.worker,
        node=_text(status.get("node")),
        supervisor=_count(status.get("supervisor")),
        version=_text(status.get("version")),
        started=_number(status.get("began")) or 0.0,
        seconds_since_report=report.age,
        seconds_since_recovery=_seconds_since_recovery(report.age, status, jobs),
        models={label: _load(load) for label, load in _entries(status.get("models"))},
        counts={name: int(n) for name, n in _numbers(status.get("counts")).items()},
        jobs=jobs,
        stop_requested=stop_requested,
    )


def _seconds_since_recovery(
    age: float, status: Mapping[str, object], jobs: Mapping[str, Mapping[str, float]]
) -> float | None:
    """Seconds since the worker's node last recovered expired leases; since its start, if never.

    Until the report, the node's own clock counts: the clocks of machines may differ. None if the
    report does not say when it was.
    """
    last = jobs.get(_RECOVERY_JOB, {}).get("ended") or _number(status.get("began"))
    if last is None:
        return None
    reported = _number(status.get("time"))
    return round(age + (0.0 if reported is None else max(0.0, reported - last)), 3)


def _load(value: object) -> ModelLoad:
    load = _numbers(value)
    return ModelLoad(int(load.get("threads", 0)), int(load.get("held", 0)))


def _numbers(value: object) -> dict[str, float]:
    numbers = ((name, _number(item)) for name, item in _entries(value))
    return {name: number for name, number in numbers if number is not None}


def _entries(value: object) -> list[tuple[str, object]]:
    entries = list(value.items())[:_MAX_ENTRIES] if isinstance(value, dict) else []
    return [(_text(name), item) for name, item in entries if isinstance(name, str)]


def _number(value: object) -> float | None:
    """``value`` if it is a count or a time, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MAX_NUMBER else None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: object) -> str:
    return printable(value[:_MAX_TEXT]) if isinstance(value, str) else ""
