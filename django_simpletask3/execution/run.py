"""A run: one attempt at one task, from its claim to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ledger.task_row import write_database
from ..models.task import SimpleTask
from ..queue import Message
from ..states import EventKind
from ..transitions.transition import Transition, known_row
from . import call
from .interrupt import Interruptible


@dataclass(eq=False, slots=True)
class Run:
    """One attempt at one task, from its claim to its outcome.

    ``transition`` is the outcome once the task function has ended. ``last_known_row`` is the row as
    it was claimed.
    """

    task: SimpleTask
    worker: str
    message: Message | None = None
    transition: Transition | None = None
    #: What the task function raised, or what kept its outcome from being written.
    error: BaseException | None = None
    seconds: float = 0.0
    started_monotonic: float = 0.0
    function_call: Interruptible = field(default_factory=Interruptible)
    attempt: int = field(init=False)
    pk: Any = field(init=False)
    using: str = field(init=False)
    last_known_row: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # The task function may change the instance, even make a copy under another key.
        self.attempt, self.pk = self.task.attempt, self.task.pk
        self.using = write_database(self.task)
        self.last_known_row = known_row(self.task)


def failure_of(run: Run, error: BaseException) -> Transition:
    """The outcome of a run that raised ``error``."""
    run.error = run.error or error
    return outcome_of(run, EventKind.FAIL, error_data=call.error_as_dict(error))


def outcome_of(run: Run, kind: EventKind, **details: Any) -> Transition:
    """A transition that only the attempt of ``run`` may record; ``details`` as of Transition."""
    # The attempt that was claimed, whatever the task function did to the instance.
    fence = {"attempt": run.attempt}
    return Transition(
        run.task,
        kind,
        worker=run.worker,
        expected=fence,
        by_holder=True,
        last_known_row=run.last_known_row,
        **details,
    )
