"""Check the invariants of every task after a run, and report each violation."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef

from benchmarks.chaos import authoring, dependencies, functions, limits, tasks, unique_keys
from benchmarks.chaos.evidence import Evidence, TaskEvidence
from benchmarks.chaos.models import MODELS, Effect
from django_simpletask3.audit.check import audit
from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.ledger.event import events_of
from django_simpletask3.ledger.projection import Projection, broken_links, fold
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.states import FINAL, EventKind, Status

_PAGE = 500  # tasks

#: A run ends with one of these; RECOVER, DROP, CANCEL and RESET may also follow on a waiting task.
_CLOSING = {
    EventKind.ACK,
    EventKind.FAIL,
    EventKind.RETRY,
    EventKind.SNOOZE,
    EventKind.RELEASE,
    EventKind.RECOVER,
    EventKind.DROP,
    EventKind.CANCEL,
    EventKind.RESET,
    EventKind.DELETE,
}
_NEEDS_END = {EventKind.ACK, EventKind.FAIL, EventKind.RETRY, EventKind.SNOOZE}
_FAILURES = {EventKind.FAIL, EventKind.RETRY}
_OUTCOMES = {EventKind.ACK, EventKind.FAIL, EventKind.DROP, EventKind.CANCEL, EventKind.EXPIRE}
_STARTS_ANEW = {EventKind.ENQUEUE, EventKind.RESET}
_RECOVERIES = {EventKind.RECOVER, EventKind.DROP}


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
    """Compare rows, streams and the execution log of all tasks, or of those with ``keys``.

    ``dead_pids`` are the processes that cannot have recorded an outcome; None: unknown. Tasks are
    loaded in pages, so that memory is bounded.
    """
    result = CheckResult()
    dead = None if dead_pids is None else set(dead_pids)
    with Evidence() as evidence:
        for name, model in MODELS.items():
            for page in _pages(model, keys):
                rows = model.objects.in_bulk(page)
                effects = _effects(name, page)
                for key, stream in _streams(model, page):
                    task_evidence = evidence.for_task(name, str(key))
                    task = f"{name} {key}"
                    _TaskCheck(
                        result,
                        task,
                        stream,
                        rows.pop(key, None),
                        task_evidence,
                        effects[task],
                        dead,
                    ).check()
            for row in _without_stream(model, keys):
                evidence.for_task(name, str(row.pk))
                result.add_violation(
                    "lost", f"{name} {row.pk}: a row without a stream, {row.status!r}"
                )
        for name, key in evidence.unchecked_tasks():
            if keys is None or key in keys:
                text = f"{name} {key}: saved, but there is neither row nor stream"
                result.add_violation("lost", text)
    _check_features(result)
    _check_keys_and_calls(result)
    if keys is None:
        _audit(result)
    return result


def _check_features(result: CheckResult) -> None:
    for text in chain(limits.exceeded_limits(), limits.leftovers()):
        result.add_violation("limit", text)
    for text in dependencies.problems():
        result.add_violation("dependency", text)


def _check_keys_and_calls(result: CheckResult) -> None:
    for kind, text in chain(unique_keys.wrong_holders(), functions.problems()):
        result.add_violation(kind, text)


def _audit(result: CheckResult) -> None:
    """Run the package's own audit, which must find nothing."""
    for root, using in {(table_model(model), "default") for model in MODELS.values()}:
        for finding in audit(root, using):
            text = (
                f"{finding.model} {finding.task} #{finding.sequence} "
                f"{finding.problem}: {finding.detail}"
            )
            result.add_violation("audit", text)


def _pages(model: type[Any], keys: set[str] | None) -> Iterator[list[Any]]:
    """Yield the keys of the tasks that have a stream, in pages."""
    known = events_of(model, None).order_by("task_id").values_list("task_id", flat=True).distinct()
    if keys is not None:
        yield list(known.filter(task_id__in=_valid_keys(model, keys)))
        return
    page = list(known[:_PAGE])
    while page:
        yield page
        page = list(known.filter(task_id__gt=page[-1])[:_PAGE])


def _valid_keys(model: type[Any], keys: set[str]) -> list[Any]:
    found = []
    for key in keys:
        with suppress(ValidationError):
            found.append(model._meta.pk.to_python(key))
    return found


def _streams(model: type[Any], page: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    events = events_of(model, None).filter(task_id__in=page)
    for key, stream in groupby(events, key=lambda event: event.task_id):
        yield key, list(stream)


def _effects(name: str, page: list[Any]) -> dict[str, Counter[str]]:
    """Return how often each step of the tasks has written to the database."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    tasks = [f"{name} {key}" for key in page]
    for task, step in Effect._default_manager.filter(task__in=tasks).values_list("task", "step"):
        found[task][step] += 1
    return found


def _without_stream(model: type[Any], keys: set[str] | None) -> Iterator[Any]:
    events = events_of(model, None).order_by().filter(task_id=OuterRef("pk"))
    rows = model._base_manager.filter(~Exists(events))
    if keys is not None:
        rows = rows.filter(pk__in=_valid_keys(model, keys))
    yield from rows.iterator()


def _is_of_function(event: Any) -> bool:
    """Return whether the outcome is that of the task function, and not what others did."""
    is_own_cancel = event.kind == EventKind.CANCEL and bool(event.worker)
    return event.kind in _NEEDS_END or is_own_cancel


@dataclass(slots=True)
class _TaskCheck:
    result: CheckResult
    name: str
    stream: list[Any]
    row: Any
    evidence: TaskEvidence
    effects: Counter[str]
    dead: set[int] | None

    def check(self) -> None:
        kinds = Counter(str(event.kind) for event in self.stream)
        self.result.figures.update(kinds)
        self.result.figures.update(tasks=1, calls=self._is_call(), events=len(self.stream))
        self.result.recoveries.update(
            f"{event.kind} {event.reason}" for event in self.stream if event.kind in _RECOVERIES
        )
        self._check_stream_gives_row()
        self._check_is_final()
        self._check_runs_are_closed_once()
        self._check_one_outcome()
        self._check_executions()
        self._check_outcomes()
        self._check_late_results_were_refused()
        self._check_authoring()

    def _check_authoring(self) -> None:
        """Check checkpoints, progress and expiry."""
        steps = self.evidence.steps
        problems = chain(
            authoring.repeated_steps(self.stream, self.effects, steps),
            authoring.wrong_progress(self.stream, has_steps=self._has_steps()),
            authoring.late_starts(self.stream),
        )
        for kind, text in problems:
            self._add_violation(kind, text)
        self.result.figures["progress"] += sum(map(authoring.is_progress, self.stream))

    def _has_steps(self) -> bool:
        if self.row is None:
            return False
        return bool(self.row.kwargs.get("has_steps") if self._is_call() else self.row.has_steps)

    def _is_call(self) -> bool:
        return self.name.startswith(tasks.MODEL)

    def _add_violation(self, kind: str, text: str) -> None:
        history = " ".join(f"{event.kind}/{event.attempt}" for event in self.stream)
        self.result.add_violation(kind, f"{self.name}: {text} [{history}]")

    def _check_stream_gives_row(self) -> None:
        if broken := broken_links(self.stream):
            self._add_violation("broken_chain", f"at {broken}")
        try:
            folded = fold(self.stream)
        except IllegalTransition as error:
            self._add_violation("fold_differs", str(error))
            return
        if self.row is None:
            if folded.status is not None:
                self._add_violation("lost", "the row is missing and was not deleted")
        elif different := folded.differences(Projection.of(self.row)):
            self._add_violation("fold_differs", str(different))

    def _check_is_final(self) -> None:
        if self.row is not None and Status(self.row.status) not in FINAL:
            self._add_violation("lost", f"it is still {Status(self.row.status).name}")
        if self.row is not None and self.row.check_at is not None:
            self._add_violation("leaked", f"check_at {self.row.check_at}")

    def _runs(self) -> Iterator[tuple[Any, list[Any]]]:
        """Yield each start event with the events that closed its run."""
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

    def _check_runs_are_closed_once(self) -> None:
        attempts: Counter[int] = Counter()
        for started, closings in self._runs():
            attempts[started.attempt] += 1
            if len(closings) != 1:
                text = f"attempt {started.attempt} was closed {len(closings)} times"
                self._add_violation("recorded_twice" if closings else "lost", text)
        if any(count > 1 for count in attempts.values()):
            self._add_violation("recorded_twice", f"an attempt was started twice {attempts}")

    def _check_one_outcome(self) -> None:
        outcomes = 0
        for event in self.stream:
            outcomes = 0 if event.kind in _STARTS_ANEW else outcomes + (event.kind in _OUTCOMES)
            if outcomes > 1:
                self._add_violation("recorded_twice", f"two outcomes at {event.sequence}")

    def _check_executions(self) -> None:
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
        self._check_causes([starts[n] for n in self.evidence.starts if n in starts])

    def _check_causes(self, executed: list[Any]) -> None:
        """Check that an event returned the task before each repeated run; count the causes."""
        executed.sort(key=lambda event: event.sequence)
        for before, start in pairwise(executed):
            causes = [
                f"{event.kind} {event.reason}" if event.kind in _RECOVERIES else str(event.kind)
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

    def _check_outcomes(self) -> None:
        for event in self.stream:
            has_ended = self.evidence.ended_by.get(event.attempt) == event.worker
            error = (event.data or {}).get("error") or {}
            if event.kind in _FAILURES and error.get("type") != "ValueError":
                self._add_violation("foreign_error", f"{event.kind} contains {error}")
            if _is_of_function(event) and not has_ended:
                self._add_violation(
                    "outcome_without_end", f"{event.kind} of attempt {event.attempt}"
                )
        if self.row is not None and self._is_call():
            worker = self.evidence.ended_by.get(self.row.attempt)
            for kind, text in functions.wrong_outcome(self.row, self.stream, worker):
                self._add_violation(kind, text)
        elif self.row is not None and self.row.status == Status.SUCCESS:
            self._check_result(self.row)

    def _check_result(self, row: Any) -> None:
        worker = self.evidence.ended_by.get(row.attempt)
        expected = {"worker": worker, "attempt": row.attempt}
        if row.result_data != expected or row.done_by != f"{worker}/{row.attempt}":
            self._add_violation(
                "outcome_without_end", f"the row holds {row.result_data}, {row.done_by}"
            )

    def _check_late_results_were_refused(self) -> None:
        if self.row is None or self.dead is None:
            return
        refused = {event.data["attempt"] for event in self.stream if event.kind == EventKind.REJECT}
        self.result.figures["refused"] += len(refused)
        for started, closings in self._runs():
            worker = self.evidence.ended_by.get(started.attempt)
            if worker is None or not closings or int(worker.split(":")[1]) in self.dead:
                continue
            closing = closings[0]
            superseded = not _is_of_function(closing) and closing.kind != EventKind.RELEASE
            if superseded and started.attempt not in refused:
                self._add_violation("unrecorded", f"the late result of attempt {started.attempt}")


def find_leaks(client: Any, prefix: str) -> list[str]:
    """Return the Redis keys of unfinished work, and those that never expire."""
    found = []
    for key in client.scan_iter(f"{prefix}:*", count=1000):
        name = key.decode().removeprefix(f"{prefix}:")
        family = name.split(":")[0]
        if family in ("running", "mq"):
            found.append(f"{name} {client.lrange(key, 0, 2)!r} of {client.llen(key)}")
        elif name.startswith("x:priority:"):
            found.append(f"{name} {client.zrange(key, 0, 2)!r} of {client.zcard(key)}")
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
