"""Check that calls of functions were neither lost nor made up, and ended as their arguments say."""

from collections.abc import Iterator
from typing import Any

from benchmarks.chaos import execution_log, tasks
from benchmarks.chaos.models import STEPS, Effect
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.contrib.tasks.results import result_of
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import FINAL, EventKind, Status

#: The step of the effect that a caller saves in the transaction of the call.
CALLED = "called"

_OUTCOMES = {
    "": EventKind.ACK,
    "retry": EventKind.ACK,
    "snooze": EventKind.ACK,
    "raise": EventKind.FAIL,
    "cancel": EventKind.CANCEL,
}
_RATE, _PERIOD = 5, 1.0
_TOLERANCE = 0.1  # seconds; processes read the clock of the database now and then
_BEGINS = (EventKind.ENQUEUE, EventKind.RESET)
_ENDS = (EventKind.ACK, EventKind.FAIL, EventKind.CANCEL, EventKind.EXPIRE, EventKind.DROP)
_OF_OTHERS = (EventKind.CANCEL, EventKind.EXPIRE, EventKind.DROP)
_ERRORS = (EventKind.RETRY, EventKind.FAIL, EventKind.CANCEL, EventKind.EXPIRE, EventKind.DROP)

Violations = Iterator[tuple[str, str]]


def problems() -> Violations:
    """Yield calls that are lost, or that were rolled back, and rates that were exceeded."""
    called = set(Effect._default_manager.filter(step=CALLED).values_list("task", flat=True))
    returned = {line.details[0] for line in execution_log.read() if line.kind == CALLED}
    found = {
        str(key): str(pk)
        for pk, key in FunctionTask._base_manager.values_list("pk", "result_id").iterator()
    }
    for key in (called | returned) - found.keys():
        yield "lost", f"there is no row of the call {key}"
    enqueued = events_of(FunctionTask, None).filter(kind=EventKind.ENQUEUE)
    scheduled = {
        str(pk)
        for pk, data in enqueued.values_list("task_id", "data").iterator()
        if "schedule" in (data or {})
    }
    for key in found.keys() - called:
        if found[key] not in scheduled:
            yield "unexplained", f"the transaction of the call {key} was rolled back"
    yield from _exceeded_rates()


def _exceeded_rates() -> Violations:
    """Yield each time at which more calls started in a period than the limit says."""
    path = tasks.meter.module_path
    keys = FunctionTask._base_manager.filter(task_path=path).values_list("pk", flat=True)
    starts = events_of(FunctionTask, None).filter(kind=EventKind.START, task_id__in=set(keys))
    times = sorted(time.timestamp() for time in starts.values_list("event_time", flat=True))
    for first, last in zip(times, times[_RATE:], strict=False):
        if last - first < _PERIOD - _TOLERANCE:
            yield "limit", f"{_RATE + 1} calls started within {last - first:.3f} s"


def wrong_outcome(row: Any, stream: list[Any], ended_by: str | None) -> Violations:
    """What became of a call that has ended, unless its arguments, or what others did, say so.

    ``ended_by`` is the worker that ended the last attempt.
    """
    begins = [number for number, event in enumerate(stream) if event.kind in _BEGINS]
    last = stream[begins[-1] :]
    outcome = next((event for event in reversed(last) if event.kind in _ENDS), None)
    if outcome is None or row.status not in FINAL:
        return
    yield from _wrong_end(row, last, outcome)
    expected = {"number": row.kwargs["number"], "worker": ended_by, "attempt": row.attempt}
    if row.status == Status.SUCCESS and row.result_data != expected:
        yield "outcome_without_end", f"the row holds {row.result_data}, not {expected}"
    yield from _wrong_result(row, stream)


def _wrong_end(row: Any, last: list[Any], outcome: Any) -> Violations:
    if outcome.kind in _OF_OTHERS and not (outcome.kind == EventKind.CANCEL and outcome.worker):
        if not _is_explained(row, outcome):
            yield "call", f"it ended with {outcome.kind} because of {outcome.reason}"
        return
    if outcome.kind != _OUTCOMES[row.kwargs.get("ending", "")]:
        yield "call", f"it ended with {outcome.kind}, but its arguments are {row.kwargs}"
    retries = sum(event.kind == EventKind.RETRY for event in last)
    if outcome.kind == EventKind.FAIL and retries != _retries(row):
        yield "call", f"it failed after {retries} retries"
    if row.kwargs.get("has_steps") and outcome.kind == EventKind.ACK:
        effects = Effect._default_manager.filter(task=f"{tasks.MODEL} {row.pk}").count()
        if effects < len(STEPS):
            yield "effects", f"it succeeded with {effects} effects"


def _is_explained(row: Any, outcome: Any) -> bool:
    """Whether something else than the function may end this call in that way."""
    if outcome.kind == EventKind.DROP:
        return bool(outcome.data["losses"] >= row.django_simpletask3_max_attempts)
    if outcome.kind == EventKind.EXPIRE:
        return bool(row.task_path == tasks.replace.module_path)
    return outcome.reason in ("not needed", "replaced")


def _retries(row: Any) -> int:
    return 2 if row.task_path == tasks.try_again.module_path else 0


def _wrong_result(row: Any, stream: list[Any]) -> Violations:
    """What the API of the framework says of a call, but not its events."""
    result = result_of(row)
    workers = [event.worker for event in stream if event.kind == EventKind.START]
    errors = sum(
        event.kind in _ERRORS
        or (event.kind == EventKind.RECOVER and "lost_worker" in (event.data or {}))
        for event in stream
    )
    status = "SUCCESSFUL" if row.status == Status.SUCCESS else "FAILED"
    if (str(result.status), result.worker_ids) != (status, workers):
        yield "call", f"its result is {result.status} of {result.worker_ids}"
    if len(result.errors) != errors:
        yield "call", f"its result has {len(result.errors)} errors, not {errors}"
