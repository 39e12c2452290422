"""Features that write in the transaction of transitions: limits, dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ledger.event import TaskEvent
from ..ledger.task_row import TaskRow
from ..states import EventKind, Status

if TYPE_CHECKING:
    from ..db.locked_rows import LockedRows
    from .transition import Transition


@dataclass(frozen=True, slots=True)
class TransitionParticipant:
    """Takes part in the transitions of the models of which ``concerns`` is true.

    Before transitions of the kinds ``decides`` are planned, ``before_write`` is called with all
    transitions of the batch, with their rows, which are locked, and with the database alias. It
    returns the transitions to apply: it may refuse some (set ``refusal`` and leave them out), and
    add others of the same tasks. After events of the kinds ``follows`` were written,
    ``after_write`` is called with them. Both run in the transaction, which is rolled back if they
    raise; both are given what does not concern them, too, and neither is called for a batch in
    which nothing does. ``sources`` are the statuses from which it follows a transition; None: all.
    ``check_new`` is called with each new task before anything is written, and may raise.
    """

    name: str
    concerns: Callable[[type[TaskRow]], bool]
    decides: frozenset[EventKind] = frozenset()
    follows: frozenset[EventKind] = frozenset()
    sources: frozenset[Status] | None = None
    before_write: Callable[[Sequence[Transition], LockedRows, str], Sequence[Transition]] | None = (
        None
    )
    after_write: Callable[[Sequence[tuple[TaskRow, TaskEvent]], str], None] | None = None
    check_new: Callable[[TaskRow], None] | None = None

    def decides_on(self, transition: Transition) -> bool:
        """Whether it is asked before ``transition``."""
        return transition.kind in self.decides and self.concerns(type(transition.task))

    def follows_transition(self, transition: Transition) -> bool:
        """Whether it follows ``transition``, as far as its row is known."""
        row = transition.last_known_row
        status = None if row is None else row["status"]
        return self._follows(transition.task, transition.kind, status)

    def follows_event(self, task: TaskRow, event: TaskEvent) -> bool:
        """Whether it follows ``event``."""
        return self._follows(task, event.kind, event.from_status)

    def _follows(self, task: TaskRow, kind: EventKind | str, status: Status | int | None) -> bool:
        is_from = self.sources is None or status is None or status in self.sources
        return kind in self.follows and is_from and self.concerns(type(task))


_participants: dict[str, TransitionParticipant] = {}


def register(participant: TransitionParticipant) -> None:
    """Let ``participant`` take part from now on; one of the same name is replaced."""
    _participants[participant.name] = participant


def needs_transaction(transitions: Iterable[Transition]) -> bool:
    """Whether a participant writes with one of ``transitions``: then no statement is alone."""
    # Most of a batch are alike: one of each kind is asked about.
    alike = {
        (type(t.task), t.kind, t.last_known_row and t.last_known_row["status"]): t
        for t in transitions
    }
    return any(
        participant.decides_on(transition) or participant.follows_transition(transition)
        for participant in _participants.values()
        for transition in alike.values()
    )


def needs_lock(transition: Transition) -> bool:
    """Whether a participant has to decide on ``transition``: then its row is read under lock."""
    deciding = (each for each in _participants.values() if each.decides_on(transition))
    return not transition.is_decided and any(deciding)


def checks_of_new(model: type[TaskRow]) -> list[Callable[[TaskRow], None]]:
    """What each new task of ``model`` is given: it raises if that must not be saved as it is."""
    return [
        participant.check_new
        for participant in _participants.values()
        if participant.check_new and participant.concerns(model)
    ]


def check_new(task: TaskRow) -> None:
    """Raise if a participant refuses the new ``task`` as it is."""
    model = type(task)
    for participant in _participants.values():
        if participant.check_new and participant.concerns(model):
            participant.check_new(task)


def follow_enqueuing(model: type[TaskRow]) -> bool:
    """Whether a participant follows the ``enqueue`` events of tasks of ``model``."""
    for participant in _participants.values():
        if EventKind.ENQUEUE in participant.follows and participant.concerns(model):
            return True
    return False


def before_write(
    transitions: Sequence[Transition], rows: LockedRows, using: str
) -> Sequence[Transition]:
    """The transitions to apply in the place of ``transitions``, whose ``rows`` are locked."""
    for participant in _participants.values():
        if participant.before_write and any(map(participant.decides_on, transitions)):
            transitions = participant.before_write(transitions, rows, using)
    return transitions


def after_write(recorded_events: Sequence[tuple[TaskRow, TaskEvent]], using: str) -> None:
    """Let the participants write what follows from these events, in their transaction."""
    alike = {(type(t), e.kind, e.from_status): (t, e) for t, e in recorded_events}
    for participant in _participants.values():
        if participant.after_write and any(
            participant.follows_event(task, event) for task, event in alike.values()
        ):
            participant.after_write(recorded_events, using)
