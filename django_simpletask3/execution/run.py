"""A run: one attempt at one task, from its claim to its outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..ledger.stop_signal import clear_stop
from ..models.task import SimpleTask
from ..queue import Message
from ..running.attempt import Attempt
from ..states import EventKind
from ..transitions.transition import Transition
from . import call
from .interrupt import Interruptible


@dataclass(eq=False, slots=True)
class Run(Attempt):
    """One attempt at one task, from its claim to its outcome.

    ``transition`` is the outcome once the task function has ended; ``expiry`` follows it if the
    task had expired before its function began.
    """

    task: SimpleTask
    message: Message | None = None
    transition: Transition | None = None
    expiry: Transition | None = None
    #: What the task function raised, or what kept its outcome from being written.
    error: BaseException | None = None
    #: The error of a failure which may still become another outcome, such as a retry.
    undecided: BaseException | None = None
    seconds: float = 0.0
    started_monotonic: float = 0.0
    function_call: Interruptible = field(default_factory=Interruptible)
    claimed_monotonic: float = field(init=False)
    #: When it was found that the function must be ended, because its task was canceled by force.
    ended_monotonic: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        Attempt.__post_init__(self)
        self.claimed_monotonic = time.monotonic()
        clear_stop(self.task)  # it was for an earlier attempt

    @property
    def is_ended(self) -> bool:
        """Whether the function must be ended, even if it does not stop by itself."""
        return self.ended_monotonic is not None

    def end_function(self) -> None:
        """Have the function interrupted soon and, if that does not end it, its process replaced."""
        self.ended_monotonic = time.monotonic()

    @property
    def last_transition(self) -> Transition | None:
        """The transition that the run ended with: the outcome, or the expiry if it was recorded."""
        has_expired = self.expiry is not None and self.expiry.event is not None
        return self.expiry if has_expired else self.transition


def failure_of(run: Run, error: BaseException) -> Transition:
    """The outcome of a run that raised ``error``; whether a retry follows is still undecided."""
    run.error = run.error or error
    run.undecided = error
    return outcome_of(run, EventKind.FAIL, error_data=call.error_as_dict(error))


def outcome_of(run: Run, kind: EventKind, **details: Any) -> Transition:
    """A transition that only the attempt of ``run`` may record; ``details`` as of Transition."""
    if run.progress is not None:
        last = run.progress.as_data(with_message=True)
        details["data"] = {"progress": last, **details.get("data", {})}
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
