"""One attempt at a task, as its task function sees it: the fence, and the events it records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connections, transaction

from ..exceptions import StaleTask
from ..ledger.task_row import TaskRow, task_name, write_database
from ..states import EventKind, Status
from ..transitions import writer
from ..transitions.transition import Transition, known_row
from .tries import Tries, read_tries


def _never() -> bool:
    return False


@dataclass(eq=False, slots=True)
class Attempt:
    """One claim of a task by a worker, on which its task function records events.

    ``last_known_row`` is the row as it was claimed, or as an event of the task function left it:
    while it has not changed, the next event and the outcome are one statement each.
    """

    task: TaskRow
    worker: str
    #: Tells whether the worker process was asked to stop.
    is_worker_stopping: Callable[[], bool] = field(default=_never, kw_only=True)
    attempt: int = field(init=False)
    pk: Any = field(init=False)
    using: str = field(init=False)
    last_known_row: dict[str, Any] = field(init=False)
    _tries: Tries | None = field(init=False, default=None)
    #: The Checkpoints of the attempt, once the task function uses them.
    checkpoints: Any = field(init=False, default=None)
    #: The last Progress that the task function has reported, and the ProgressWriter that writes it.
    progress: Any = field(init=False, default=None)
    progress_writer: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        # The task function may change the instance, even make a copy under another key.
        self.attempt, self.pk = self.task.attempt, self.task.pk
        self.using = write_database(self.task)
        self.last_known_row = known_row(self.task)

    @property
    def fence(self) -> dict[str, Any]:
        """What the row must still hold for the attempt to hold the task."""
        return {"status": Status.RUNNING, "attempt": self.attempt}

    def tries(self, *, needs_time: bool = False) -> Tries:
        """The retries and snoozes before this attempt; read once.

        Without ``needs_time`` a first attempt reads nothing, and its ``began_at`` is None.
        """
        if self.attempt == 1 and not needs_time:
            return Tries()
        if self._tries is None:
            self._tries = read_tries(type(self.task), self.using, self.pk)
        return self._tries

    def record(self, kind: EventKind, **details: Any) -> Transition:
        """Append an event of the task function to the stream, if the attempt still holds the task.

        ``details`` are as of Transition. Part of the transaction of the caller, if there is one.
        Raises StaleTask or TaskGone if the attempt does not hold the task any more.
        """
        transition = Transition(
            self.task,
            kind,
            worker=self.worker,
            expected=self.fence,
            last_known_row=self.last_known_row,
            **details,
        )
        if writer.compare_and_set([transition]):
            writer.apply_all([transition])
        if transition.event is None:
            raise transition.refusal or StaleTask(f"{task_name(self.task)} was not moved.")
        self._remember_row()
        return transition

    def follow(self, row: dict[str, Any]) -> None:
        """Take ``row``, as an event of this attempt that is committed left it."""
        if row["sequence"] > self.last_known_row["sequence"]:
            self.last_known_row = row

    def _remember_row(self) -> None:
        """Take the row as the task's own event left it, once that is committed."""
        connection = connections[self.using]
        follow = partial(self.follow, known_row(self.task))
        if connection.in_atomic_block or connection.get_autocommit():
            # Not before: after a rollback, another event may have the same sequence number.
            transaction.on_commit(follow, using=self.using)
