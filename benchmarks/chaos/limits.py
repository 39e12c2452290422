"""Check that limits held, and that nothing of them is left, after a run."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from benchmarks.chaos import execution_log
from benchmarks.chaos.models import Call
from django_simpletask3.conf.options import options
from django_simpletask3.db import clock
from django_simpletask3.ledger.event import events_of
from django_simpletask3.limits.tables import LimitGate, LimitPlace, LimitWaiter
from django_simpletask3.states import EventKind

#: Seconds after its end for which a place may be left: no node looks any more.
_MAX_AGE = timedelta(seconds=10)
_Run = tuple[str, str]  # key and attempt of a task


def exceeded_limits() -> Iterator[str]:
    """Yield each limit above which task functions ran, by what they wrote themselves."""
    lines = dict(Call.objects.values_list("pk", "line"))
    line_of = {str(pk): line for pk, line in lines.items()}
    judged = _judged_runs()
    running: Counter[int] = Counter()
    most: Counter[int] = Counter()
    for kind, run in _log_lines():
        line = line_of.get(run[0])
        if line is not None and run in judged:
            running[line] += 1 if kind == "begin" else -1
            most[line] = max(most[line], running[line])
    limit = Call.django_simpletask3_limit.running or 0
    for line, count in most.items():
        if count > limit:
            yield f"{count} calls of line {line} ran at once, not {limit}"


def _judged_runs() -> set[_Run]:
    """Return the runs whose functions began and ended while their attempt held its place.

    A run that another node has recovered, or that was longer than half a lease, may have lost it:
    its worker was stopped, or could not renew the lease.
    """
    kinds = (EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE)
    lost = events_of(Call, None).filter(kind__in=kinds).values_list("task_id", "attempt")
    lost_runs = {(str(pk), str(attempt)) for pk, attempt in lost}
    begun: dict[_Run, float] = {}
    judged: set[_Run] = set()
    begins: Counter[_Run] = Counter()
    for line in execution_log.read():
        if line.kind in ("begin", "end") and line.details[0] == "call":
            run = (line.details[1], line.details[2])
            begins[run] += line.kind == "begin"
            if line.kind == "begin":
                begun[run] = line.time
            elif line.time - begun[run] < options.simq_running_timeout / 2:
                judged.add(run)
    return {run for run in judged - lost_runs if begins[run] == 1}


def _log_lines() -> Iterator[tuple[str, _Run]]:
    for line in execution_log.read():
        if line.kind in ("begin", "end") and line.details[0] == "call":
            yield line.kind, (line.details[1], line.details[2])


def leftovers() -> Iterator[str]:
    """Yield what is left of limits although no task runs or waits."""
    for waiter in LimitWaiter.objects.all():
        yield f"{waiter} waits for a place"
    ended = clock.now("default") - _MAX_AGE
    for place in LimitPlace.objects.filter(held_until__lt=ended):
        yield f"{place} holds place {place.number} of {place.gate_id}"
    for gate in LimitGate.objects.filter(must_be_served=True):
        yield f"{gate} has to be served"
