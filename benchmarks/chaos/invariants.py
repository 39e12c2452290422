"""What must be true once the storm is over, and every place where it is not."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef

from benchmarks.chaos.evidence import Evidence, TaskEvidence
from benchmarks.chaos.models import MODELS, ChaosTask
from django_simpletask3.audit.check import audit
from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.ledger.event import events_of
from django_simpletask3.ledger.projection import Projection, broken_links, fold
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.states import FINAL, EventKind, Status

_PAGE = 500  # tasks

#: A run ends with one of these; RECOVER, DROP, CANCEL and RESET may also befall a waiting task.
_CLOSING = {
    EventKind.ACK,
    EventKind.FAIL,
    EventKind.RETRY,
    EventKind.RELEASE,
    EventKind.RECOVER,
    EventKind.DROP,
    EventKind.CANCEL,
    EventKind.RESET,
    EventKind.DELETE,
}
_EARNED = {EventKind.ACK, EventKind.FAIL, EventKind.RETRY}
_FAILURES = {EventKind.FAIL, EventKind.RETRY}
_OUTCOMES = {EventKind.ACK, EventKind.FAIL, EventKind.DROP, EventKind.CANCEL}
_FRESH = {EventKind.ENQUEUE, EventKind.RESET}
_GIVEN_UP_ON = {EventKind.RECOVER, EventKind.DROP}


@dataclass(slots=True)
class CheckResult:
    """Figures, and violations by kind; each violation names the task."""

    figures: Counter[str] = field(default_factory=Counter)
    reexecutions: Counter[str] = field(
        default_factory=Counter
    )  # further executions, by what led to them
    recoveries: Counter[str] = field(default_factory=Counter)  # by reason
    violations: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add_violation(self, kind: str, text: str) -> None:
        self.violations[kind].append(text)

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())


def check_invariants(dead_pids: Iterable[int] | None, keys: set[str] | None = None) -> CheckResult:
    """Compare rows, streams and the execution log; of all tasks, or of those with ``keys``.

    ``gone`` are the processes that cannot have recorded an outcome; None: unknown. However
    many tasks there are, only some of them are in memory at a time.
    """
    result = CheckResult()
    dead = None if dead_pids is None else set(dead_pids)
    with Evidence() as evidence:
        for name, model in MODELS.items():
            for page in _pages(model, keys):
                rows = model.objects.in_bulk(page)
                for key, stream in _streams(model, page):
                    task_evidence = evidence.for_task(name, str(key))
                    _TaskCheck(
                        result, f"{name} {key}", stream, rows.pop(key, None), task_evidence, dead
                    ).check()
            for row in _without_stream(model, keys):
                evidence.for_task(name, str(row.pk))
                result.add_violation(
                    "lost", f"{name} {row.pk}: a row without a stream, {row.status!r}"
                )
        for name, key in evidence.unchecked_tasks():
            if keys is None or key in keys:
                text = f"{name} {key}: promised, and there is neither row nor stream"
                result.add_violation("lost", text)
    if keys is None:
        _audit(result)
    return result


def _audit(result: CheckResult) -> None:
    """The package's own audit must find nothing either."""
    for root, using in {(table_model(model), "default") for model in MODELS.values()}:
        for one in audit(root, using):
            text = f"{one.model} {one.task} #{one.sequence} {one.problem}: {one.detail}"
            result.add_violation("audit", text)


def _pages(model: type[ChaosTask], keys: set[str] | None) -> Iterator[list[Any]]:
    """The tasks that have a stream, some at a time."""
    known = events_of(model, None).order_by("task_id").values_list("task_id", flat=True).distinct()
    if keys is not None:
        yield list(known.filter(task_id__in=_fitting(model, keys)))
        return
    page = list(known[:_PAGE])
    while page:
        yield page
        page = list(known.filter(task_id__gt=page[-1])[:_PAGE])


def _fitting(model: type[ChaosTask], keys: set[str]) -> list[Any]:
    found = []
    for key in keys:
        with suppress(ValidationError):
            found.append(model._meta.pk.to_python(key))
    return found


def _streams(model: type[ChaosTask], page: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    events = events_of(model, None).filter(task_id__in=page)
    for key, stream in groupby(events, key=lambda event: event.task_id):
        yield key, list(stream)


def _without_stream(model: type[ChaosTask], keys: set[str] | None) -> Iterator[Any]:
    events = events_of(model, None).order_by().filter(task_id=OuterRef("pk"))
    rows = model.objects.filter(~Exists(events))
    if keys is not None:
        rows = rows.filter(pk__in=_fitting(model, keys))
    yield from rows.iterator()


@dataclass(slots=True)
class _TaskCheck:
    result: CheckResult
    name: str
    stream: list[Any]
    row: ChaosTask | None
    evidence: TaskEvidence
    dead: set[int] | None

    def check(self) -> None:
        kinds = Counter(str(event.kind) for event in self.stream)
        self.result.figures.update(kinds)
        self.result.figures.update(tasks=1, events=len(self.stream))
        self.result.recoveries.update(
            f"{event.kind} {event.reason}" for event in self.stream if event.kind in _GIVEN_UP_ON
        )
        self._is_whole()
        self._is_final()
        self._each_run_is_closed_once()
        self._each_life_has_one_outcome()
        self._each_execution_is_explained()
        self._each_outcome_was_earned()
        self._each_late_result_was_refused()

    def _add_violation(self, kind: str, text: str) -> None:
        story = " ".join(f"{event.kind}/{event.attempt}" for event in self.stream)
        self.result.add_violation(kind, f"{self.name}: {text} [{story}]")

    def _is_whole(self) -> None:
        if broken := broken_links(self.stream):
            self._add_violation("broken_chain", f"at {broken}")
        try:
            folded = fold(self.stream)
        except IllegalTransition as error:
            self._add_violation("fold_differs", str(error))
            return
        if self.row is None:
            if folded.status is not None:
                self._add_violation("lost", "the row is gone and was not deleted")
        elif different := folded.differences(Projection.of(self.row)):
            self._add_violation("fold_differs", str(different))

    def _is_final(self) -> None:
        if self.row is not None and Status(self.row.status) not in FINAL:
            self._add_violation("lost", f"it is {Status(self.row.status).name} for ever")
        if self.row is not None and self.row.check_at is not None:
            self._add_violation("leaked", f"check_at {self.row.check_at}")

    def _runs(self) -> Iterator[tuple[Any, list[Any]]]:
        """Each start, with what closed it."""
        started: Any = None
        closings: list[Any] = []
        for event in self.stream:
            if event.kind == EventKind.START:
                if started is not None:
                    yield started, closings
                started, closings = event, []
            elif (
                event.kind in _CLOSING
                and started is not None
                and event.from_status == Status.RUNNING
            ):
                closings.append(event)
        if started is not None:
            yield started, closings

    def _each_run_is_closed_once(self) -> None:
        attempts: Counter[int] = Counter()
        for started, closings in self._runs():
            attempts[started.attempt] += 1
            if len(closings) != 1:
                text = f"attempt {started.attempt} was closed {len(closings)} times"
                self._add_violation("recorded_twice" if closings else "lost", text)
        if any(count > 1 for count in attempts.values()):
            self._add_violation("recorded_twice", f"an attempt was started twice {attempts}")

    def _each_life_has_one_outcome(self) -> None:
        outcomes = 0
        for event in self.stream:
            outcomes = 0 if event.kind in _FRESH else outcomes + (event.kind in _OUTCOMES)
            if outcomes > 1:
                self._add_violation("recorded_twice", f"two outcomes at {event.sequence}")

    def _each_execution_is_explained(self) -> None:
        starts = {event.attempt: event for event in self.stream if event.kind == EventKind.START}
        executions = sum(self.evidence.starts.values())
        self.result.figures["executions"] += executions
        self.result.figures["executed_again"] += max(0, executions - 1)
        for attempt, count in self.evidence.starts.items():
            if count > 1:
                self._add_violation("unexplained", f"attempt {attempt} was executed {count} times")
            if attempt not in starts:
                self._add_violation(
                    "unexplained", f"attempt {attempt} was executed and never started"
                )
            elif starts[attempt].worker != self.evidence.started_by[attempt]:
                self._add_violation(
                    "unexplained", f"attempt {attempt} was executed by another worker"
                )
        self._each_further_one_has_a_cause([starts[n] for n in self.evidence.starts if n in starts])

    def _each_further_one_has_a_cause(self, executed: list[Any]) -> None:
        """Between two executions something has given the task back: what, is counted."""
        executed.sort(key=lambda event: event.sequence)
        for before, start in pairwise(executed):
            causes = [
                f"{event.kind} {event.reason}" if event.kind in _GIVEN_UP_ON else str(event.kind)
                for event in self.stream
                if before.sequence < event.sequence < start.sequence
                and event.from_status != Status.PENDING
                and event.to_status == Status.PENDING
            ]
            if causes:
                self.result.reexecutions[causes[-1]] += 1
            else:
                self._add_violation(
                    "unexplained", f"nothing led to the execution of {start.attempt}"
                )

    def _each_outcome_was_earned(self) -> None:
        for event in self.stream:
            earned = self.evidence.ended_by.get(event.attempt) == event.worker
            error = (event.data or {}).get("error") or {}
            if event.kind in _FAILURES and error.get("type") != "ValueError":
                self._add_violation("foreign_error", f"{event.kind} says {error}")
            if event.kind in _EARNED and not earned:
                self._add_violation("unearned", f"{event.kind} of attempt {event.attempt}")
        result = self.row.result_data if self.row is not None else None
        if self.row is not None and self.row.status == Status.SUCCESS:
            mine = {
                "worker": self.evidence.ended_by.get(self.row.attempt),
                "attempt": self.row.attempt,
            }
            if result != mine or self.row.done_by != f"{mine['worker']}/{mine['attempt']}":
                self._add_violation("unearned", f"the row holds {result}, {self.row.done_by}")

    def _each_late_result_was_refused(self) -> None:
        if self.row is None or self.dead is None:
            return
        refused = {event.data["attempt"] for event in self.stream if event.kind == EventKind.REJECT}
        self.result.figures["refused"] += len(refused)
        for started, closings in self._runs():
            worker = self.evidence.ended_by.get(started.attempt)
            if worker is None or not closings or int(worker.split(":")[1]) in self.dead:
                continue
            superseded = closings[0].kind not in _EARNED | {EventKind.RELEASE}
            if superseded and started.attempt not in refused:
                self._add_violation("unrecorded", f"the late result of attempt {started.attempt}")


def find_leaks(client: Any, prefix: str) -> list[str]:
    """Keys in Redis that nothing will ever remove, or that speak of work although all is done."""
    found = []
    for key in client.scan_iter(f"{prefix}:*", count=1000):
        name = key.decode().removeprefix(f"{prefix}:")
        family = name.split(":")[0]
        if family in ("running", "mq"):
            found.append(f"{name} {client.lrange(key, 0, 2)!r} of {client.llen(key)}")
        elif name == "x:leases":
            now = client.time()[0]
            found += [
                f"lease {rkey.decode()}, {end - now:+.0f} s"
                for rkey, end in client.zrange(key, 0, -1, withscores=True)
            ]
        elif name == "x:waits":
            found += [f"wait {rkey.decode()}" for rkey in client.hkeys(key)]
        elif family in ("item", "done", "worker") and client.ttl(key) == -1:
            found.append(
                f"{name} does not expire: {client.hgetall(key) if family == 'item' else ''}"
            )
    return found
