"""Compute from the events how long tasks of killed workers waited for recovery."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.models import MODELS
from benchmarks.chaos.random_faults import FaultLog
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import EventKind, Status

#: Seconds after an outage in which it may still delay recovery.
OUTAGE_EFFECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Delay:
    """The time from a kill to the event that returned the task."""

    target: str
    seconds: float
    reason: str
    outages: tuple[str, ...] = ()  # meanwhile, or shortly before

    @property
    def has_no_outage(self) -> bool:
        return not self.outages


def delays(log: FaultLog) -> list[Delay]:
    """Return a delay for each task that a killed process was running."""
    killed = {pid: kill for kill in log.kills for pid in kill.pids}
    found = []
    for model in MODELS.values():
        recoveries = events_of(model, None).filter(
            kind__in=[EventKind.RECOVER, EventKind.RELEASE, EventKind.DROP],
            from_status=Status.RUNNING,
        )
        for event in recoveries.iterator():
            worker = (event.data or {}).get("lost_worker")  # none: the worker stopped
            kill = killed.get(int(worker.split(":")[1])) if worker else None
            if kill is not None and kill.time <= event.event_time.timestamp():
                found.append(_delay(event, kill.time, kill.target, log.outages))
    return found


def _delay(
    event: Any, began: float, target: str, outages: Iterable[tuple[float, float, str]]
) -> Delay:
    ended = event.event_time.timestamp()
    near = [
        f"{name} from {start - began:+.1f} to {end - began:+.1f}"
        for start, end, name in outages
        if start < ended and end + OUTAGE_EFFECT_SECONDS > began
    ]
    return Delay(target, round(ended - began, 3), event.reason, tuple(near))


def quantiles(values: Iterable[float], limit: float | None = None) -> dict[str, float]:
    """Return count, median, 95th and 99th percentile, maximum, and the number above the limit."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    last = len(ordered) - 1
    found = {
        "count": len(ordered),
        **{f"p{n}": round(ordered[last * n // 100], 3) for n in (50, 95, 99)},
        "max": round(ordered[-1], 3),
    }
    if limit is None:
        return found
    return {**found, "limit": limit, "above": sum(value > limit for value in ordered)}
