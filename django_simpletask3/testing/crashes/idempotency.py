"""Run a task again and again, with a crash at each point, and compare what is left."""

from __future__ import annotations

import copy
import pprint
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from difflib import ndiff
from functools import partial
from typing import Any

from django.core import mail
from django.db import models, transaction

from ...db import clock
from ...ledger.event import events_of
from ...ledger.task_row import task_name
from ...models.task import SimpleTask
from ...states import EVENTS, EventKind, Status, status_name
from ..autocommit import outside_of_transaction
from ..clock import task_clock
from ..run import run_tasks
from ..selection import Key, Selection, checked_task, usable_databases
from .crash_points import crash_after, crash_before
from .recovery import recover

#: Runs a task to its end in one way.
Way = Callable[[SimpleTask], object]


def assert_idempotent(
    task: SimpleTask, *, observe: Callable[[], Any], setup: Callable[[], object] | None = None
) -> None:
    """Assert that ``task``, which is PENDING and due, leaves the same however often it runs.

    It runs once; once more after a ``reset()``; and again after a crash: before its function,
    before and after each step of ``once()`` is recorded, and before its outcome is. What
    ``observe()`` returns afterwards must equal what it returned after the first run. Return values,
    but none that are new each time, such as keys that the database counts.

    What a run has written to the databases is rolled back, also in a TransactionTestCase, and what
    it has added to Django's ``mail.outbox`` is removed; ``setup`` is called before each run, to
    reset anything else. Afterwards the task waits as before. Raises AssertionError, too, if
    ``observe()`` returns the same before and after the first run, and if the task does not succeed;
    ValueError if it is not PENDING.
    """
    trial = _Trial(task, observe, setup or (lambda: None))
    trial.run_once()
    trial.compare("a second run, after reset()", _run_twice)
    for text, crash in trial.crashes():
        trial.compare(text, partial(_run_with_crash, crash=crash))


class _Trial:
    """The runs of one task, and what was observed after the first."""

    def __init__(
        self, task: SimpleTask, observe: Callable[[], Any], setup: Callable[[], object]
    ) -> None:
        self._task, self._observe, self._setup = task, observe, setup
        self._name, self._selection = task_name(task), Selection([checked_task(task)])
        self._selection.refresh()
        if task.status != Status.PENDING:
            status = status_name(task.status)
            raise ValueError(f"{self._name} is {status}, and not PENDING. {task.explain()}")
        self._before: Any = None
        self._expected: Any = None
        self._events: list[Any] = []

    def run_once(self) -> None:
        """Run the task, and keep what is observed and which events it has."""
        with self._undone():
            self._before = _value_of(self._observe)
            waiting_at = self._task.sequence
            _run(self._task)
            self._check_status("one run")
            self._expected = _value_of(self._observe)
            events = events_of(*Key.of(self._task).table).filter(task=self._task.pk)
            self._events = list(events.filter(sequence__gt=waiting_at))
        if self._expected == self._before:
            raise AssertionError(
                f"observe() returns {self._before!r} before and after {self._name} has run: it "
                "sees no effect of the task."
            )

    def crashes(self) -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
        """Where the worker can crash, by the events of the first run: a text, and the crash."""
        yield "crash_after('start')", partial(crash_after, EventKind.START)
        for step in [e.data["name"] for e in self._events if e.kind == EventKind.CHECKPOINT]:
            for name, crash in (("crash_before", crash_before), ("crash_after", crash_after)):
                text = f"{name}('checkpoint', step={step!r})"
                yield text, partial(crash, EventKind.CHECKPOINT, step=step)
        outcomes = [event.kind for event in self._events if EVENTS[event.kind].is_outcome]
        for kind in dict.fromkeys(outcomes):
            yield f"crash_before({str(kind)!r})", partial(crash_before, kind)

    def compare(self, text: str, way: Way) -> None:
        """Run the task in this way, and compare what is observed with the first run."""
        with self._undone():
            before = _value_of(self._observe)
            if before != self._before:
                raise AssertionError(
                    "observe() sees what an earlier run has left outside of the databases: give "
                    f"setup=, which resets it.\n{_diff(self._before, before)}"
                )
            try:
                way(self._task)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                raise AssertionError(f"{self._name} fails after {text}: {problem}") from error
            self._check_status(text)
            found = _value_of(self._observe)
        if found != self._expected:
            raise AssertionError(
                f"{self._name} is not idempotent. What observe() returns after {text} (+) is not "
                f"as after one run (-):\n{_diff(self._expected, found)}"
            )

    def _check_status(self, text: str) -> None:
        if self._task.status != Status.SUCCESS:
            status = status_name(self._task.status)
            raise AssertionError(f"{self._name} is {status} after {text}. {self._task.explain()}")

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Within the block, transactions seem to commit; at its end nothing has happened."""
        outbox: list[Any] = getattr(mail, "outbox", [])
        sent = list(outbox)
        try:
            with _rolled_back(usable_databases()), outside_of_transaction():
                self._setup()
                yield
        finally:
            outbox[:] = sent
            self._selection.refresh()


@contextmanager
def _rolled_back(databases: Iterable[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for using in databases:
            stack.enter_context(transaction.atomic(using=using))
            stack.callback(transaction.set_rollback, True, using=using)
        yield


def _run(task: SimpleTask) -> None:
    run_tasks(task, raise_errors=True)


def _run_twice(task: SimpleTask) -> None:
    _run(task)
    task.reset("assert_idempotent")
    _run(task)


def _run_with_crash(task: SimpleTask, *, crash: Callable[[], AbstractContextManager[None]]) -> None:
    with crash():
        run_tasks(task)
    recover(task)
    with _at_its_time(task):
        _run(task)


def _at_its_time(task: SimpleTask) -> AbstractContextManager[object]:
    """Within the block, ``task`` is due, also if it had lost workers before and so has to wait."""
    if task.run_after is None or task.run_after <= clock.now(Key.of(task).using):
        return nullcontext()
    return task_clock(task.run_after)


def _value_of(observe: Callable[[], Any]) -> Any:
    """A copy of what ``observe`` returns."""
    value = _read(observe())
    kept = copy.deepcopy(value)
    if kept != value:
        raise TypeError(
            f"observe() returned {value!r}, of which not even a copy is equal: return values, such "
            "as texts and numbers."
        )
    return kept


def _read(value: Any) -> Any:
    """``value``, with a list in the place of each queryset and iterator in it."""
    if isinstance(value, models.Model):
        raise TypeError(
            "observe() returned model instances, of which only the keys would be compared: return "
            "values, as of values_list()."
        )
    if isinstance(value, list | models.QuerySet | Iterator):
        return [_read(part) for part in value]
    if isinstance(value, tuple | set | frozenset):
        make = getattr(value, "_make", type(value))  # of a named tuple
        return make(_read(part) for part in value)
    if isinstance(value, dict):
        found = copy.copy(value)
        for key, part in value.items():
            found[key] = _read(part)
        return found
    return value


def _diff(expected: Any, found: Any) -> str:
    first, second = (pprint.pformat(value).splitlines() for value in (expected, found))
    return "\n".join(line.rstrip() for line in ndiff(first, second) if not line.startswith("?"))
