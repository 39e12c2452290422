"""Check that limits held, and that nothing of them is left, after a run."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from benchmarks.chaos import execution_log, tasks
from benchmarks.chaos.models import Call
from benchmarks.chaos.versions import GREATEST_LIMIT
from django_simpletask3.conf.options import options
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.db import clock
from django_simpletask3.ledger.event import events_of
from django_simpletask3.limits.tables import LimitGate, LimitPlace, LimitWaiter
from django_simpletask3.states import EventKind

#: Seconds after its end for which a place may be left: no node looks any more.
_MAX_AGE = timedelta(seconds=10)
#: The models with limits, by their names in the execution log.
_MODELS = {"call": Call, tasks.MODEL: FunctionTask}
_Run = tuple[str, str, str]  # model, key and attempt of a task


def exceeded_limits() -> Iterator[str]:
    """Yield each limit above which task functions ran, by what they wrote themselves."""
    lines, judged = _lines(), _judged_runs()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for kind, run in _log_lines():
        line = lines.get(run[:2])
        if line is not None and run in judged:
            running[line] += 1 if kind == "begin" else -1
            most[line] = max(most[line], running[line])
    for line, count in most.items():
        if count > GREATEST_LIMIT:
            yield f"{count} of {line} ran at once, not {GREATEST_LIMIT}"


def _lines() -> dict[tuple[str, str], str]:
    """Return the line of each limited task, by model and key."""
    calls = FunctionTask._base_manager.filter(task_path=tasks.call.module_path)
    return {
        ("call", str(pk)): f"calls of line {line}"
        for pk, line in Call.objects.values_list("pk", "line")
    } | {
        (tasks.MODEL, str(call.pk)): f"function calls of line {call.kwargs.get('line', 0)}"
        for call in calls.only("pk", "queue_name", "kwargs").iterator()
    }


def _judged_runs() -> set[_Run]:
    """Return the runs whose functions began and ended while their attempt held its place.

    A run that another node has recovered, or that was longer than half a lease, may have lost it:
    its worker was stopped, or could not renew the lease.
    """
    lost_runs = _lost_runs()
    begun: dict[_Run, float] = {}
    judged: set[_Run] = set()
    begins: Counter[_Run] = Counter()
    for line in execution_log.read():
        if line.kind in ("begin", "end") and line.details[0] in _MODELS:
            run = (line.details[0], line.details[1], line.details[2])
            begins[run] += line.kind == "begin"
            if line.kind == "begin":
                begun[run] = line.time
            elif line.time - begun[run] < options.simq_running_timeout / 2:
                judged.add(run)
    return {run for run in judged - lost_runs if begins[run] == 1}


def _lost_runs() -> set[_Run]:
    kinds = (EventKind.RECOVER, EventKind.DROP, EventKind.RELEASE)
    return {
        (name, str(pk), str(attempt))
        for name, model in _MODELS.items()
        for pk, attempt in events_of(model, None)
        .filter(kind__in=kinds)
        .values_list("task_id", "attempt")
    }


def _log_lines() -> Iterator[tuple[str, _Run]]:
    for line in execution_log.read():
        if line.kind in ("begin", "end") and line.details[0] in _MODELS:
            yield line.kind, (line.details[0], line.details[1], line.details[2])


def leftovers() -> Iterator[str]:
    """Yield what is left of limits although no task runs or waits."""
    for waiter in LimitWaiter.objects.all():
        yield f"{waiter} waits for a place"
    ended = clock.now("default") - _MAX_AGE
    for place in LimitPlace.objects.filter(held_until__lt=ended):
        yield f"{place} holds place {place.number} of {place.gate_id}"
    for gate in LimitGate.objects.filter(must_be_served=True):
        yield f"{gate} has to be served"
