"""One attempt at one task, on its way through a worker."""

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
    """One attempt at one task, on its way through a worker."""

    task: SimpleTask
    worker: str
    message: Message | None = None
    transition: Transition | None = None
    seconds: float = 0.0
    started_monotonic: float = 0.0
    function_call: Interruptible = field(default_factory=Interruptible)
    attempt: int = field(init=False)
    pk: Any = field(init=False)
    using: str = field(init=False)
    last_known_row: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # A body may do to its instance what it likes, even make a copy under another key.
        self.attempt, self.pk, self.using = (
            self.task.attempt,
            self.task.pk,
            write_database(self.task),
        )
        self.last_known_row = known_row(self.task)


def _failure(run: Run, error: BaseException) -> Transition:
    return _outcome(run, EventKind.FAIL, error_data=call.error_as_dict(error))


def _outcome(run: Run, kind: EventKind, **details: Any) -> Transition:
    # The fence is the attempt that was claimed, whatever the body did to the instance.
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
