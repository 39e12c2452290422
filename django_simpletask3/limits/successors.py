"""Start the next task in line in the process that has freed its place."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar

from django.db import transaction

from ..db import clock
from ..ledger.task_row import TaskRow
from ..states import EventKind, Status
from ..transitions.best_effort import apply_each
from ..transitions.transition import Transition, known_row


@dataclass(slots=True)
class PlacedStart(Transition):
    """A start in the transaction that unblocks the task and gives it its place."""

    is_decided: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Host:
    """What a worker process says of itself, and of its threads.

    ``may_start`` tells whether it may start this task, and ``reserve`` takes one of its free
    threads, if there is one. ``accept`` is called after the commit with the tasks that were
    started; ``give_back`` with the number of threads for which there is no task after all.
    """

    worker: str
    lease: float
    may_start: Callable[[TaskRow, str], bool]
    reserve: Callable[[], bool]
    give_back: Callable[[int], None]
    accept: Callable[[Sequence[TaskRow], int], None]


class Successors:
    """The tasks that start in this process because places were freed here.

    Such a start is what a worker does with the message of a task that was given a place, without
    the message: unblocked and started in the transaction that frees the place.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reserved = 0
        self._unconfirmed: list[PlacedStart] = []

    def start_of(self, task: TaskRow, using: str) -> PlacedStart | None:
        """The start of ``task``, for which a thread is reserved; None if it is left to others."""
        host = self._host
        is_due = clock.is_past(task.run_after, using)
        if not (is_due and host.may_start(task, using) and host.reserve()):
            return None
        self._reserved += 1
        clock.refresh(using)
        return PlacedStart(
            task,
            EventKind.START,
            worker=host.worker,
            data={"claim": str(uuid.uuid4())},
            values={"check_at": clock.after(using, host.lease)},
            last_known_row=known_row(task),
        )

    def follow_commit(self, starts: Sequence[PlacedStart], using: str) -> None:
        """Accept those that have started when the transaction, which is open, is committed.

        The threads of the others are free again.
        """
        started = [start for start in starts if start.event is not None]
        self._give_back(len(starts) - len(started))
        if started:
            self._unconfirmed += started
            transaction.on_commit(partial(self._accept, started), using=using)

    def confirm(self) -> None:
        """Accept started tasks also if the commit of their starts was not answered.

        Call it when the ends have been recorded. Raises as ``apply_each``, and may be called again.
        """
        if starts := self._unconfirmed:
            found = [_confirmation_of(start) for start in starts]
            apply_each(found)
            self._unconfirmed = []
            if tasks := [transition.task for transition in found if transition.event is not None]:
                self._host.accept(tasks, 0)

    def give_back(self) -> None:
        """Give back the threads that were reserved for starts that were not made."""
        self._give_back(self._reserved)

    def _give_back(self, number: int) -> None:
        if number:
            self._reserved -= number
            self._host.give_back(number)

    def _accept(self, starts: Sequence[PlacedStart]) -> None:
        accepted = set(map(id, starts))
        self._unconfirmed = [start for start in self._unconfirmed if id(start) not in accepted]
        self._reserved -= len(starts)
        self._host.accept([start.task for start in starts], len(starts))


_current: ContextVar[Successors | None] = ContextVar("successors", default=None)


def current_successors() -> Successors | None:
    """What starts tasks in this process, while it records ends; else None."""
    return _current.get()


@contextmanager
def starting_here(successors: Successors | None) -> Iterator[None]:
    """Let ``successors`` start tasks whose places are freed within the block."""
    token = _current.set(successors)
    try:
        yield
    finally:
        _current.reset(token)
        if successors is not None:
            successors.give_back()


def lease_end_of(start: PlacedStart) -> datetime:
    """The end of the lease of ``start``."""
    until: datetime = start.values["check_at"]
    return until


def _confirmation_of(start: PlacedStart) -> Transition:
    """A transition that finds the event of ``start``, and that changes nothing without it."""
    return Transition(
        start.task,
        EventKind.START,
        worker=start.worker,
        data={"claim": start.data["claim"]},
        expected={"status": Status.RUNNING, "worker": start.worker},
    )
