"""Participants write in the transaction of a transition, and may decide on it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.transaction import TransactionManagementError

from django_simpletask3.exceptions import TransitionRefused
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import participants
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.participants import TransitionParticipant
from django_simpletask3.transitions.transition import Transition, known_row
from django_simpletask3.transitions.writer import apply, apply_all
from tests.steps import bring_to, create_task, kinds, row_of
from tests.testapp.models import Invoice, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)


class Turnstile:
    """Blocks the starts of ``turned_away``, and remembers what was recorded."""

    def __init__(self) -> None:
        self.turned_away: list[Any] = []
        self.recorded: list[tuple[Any, str]] = []
        self.calls = 0
        self.error: Exception | None = None

    def before_write(
        self, transitions: Sequence[Transition], rows: Any, using: str
    ) -> list[Transition]:
        to_apply = []
        for transition in transitions:
            if transition.task in self.turned_away and transition.kind is EventKind.START:
                transition.refusal = TransitionRefused("full")
                transition = Transition(transition.task, EventKind.BLOCK, reason="full")  # noqa: PLW2901
            to_apply.append(transition)
        return to_apply

    def after_write(self, recorded_events: Any, using: str) -> None:
        self.calls += 1
        self.recorded += [(task.pk, event.kind) for task, event in recorded_events]
        if self.error:
            raise self.error


def register_turnstile(made: Turnstile) -> None:
    participants.register(
        TransitionParticipant(
            "turnstile",
            concerns=lambda model: model is Invoice,
            decides=frozenset({EventKind.START}),
            follows=frozenset({EventKind.START, EventKind.ACK, EventKind.RETRY}),
            before_write=made.before_write,
            after_write=made.after_write,
        )
    )


@pytest.fixture
def turnstile(monkeypatch: pytest.MonkeyPatch) -> Turnstile:
    monkeypatch.setattr(participants, "_participants", {**participants._participants})
    made = Turnstile()
    register_turnstile(made)
    return made


def start_of(task: Any) -> Transition:
    return Transition(task, EventKind.START, worker="w", last_known_row=known_row(task))


def test_it_may_apply_another_transition_in_the_place_of_one(turnstile: Turnstile) -> None:
    first, second = create_task(Invoice), create_task(Invoice)
    turnstile.turned_away.append(first)
    starts = [start_of(first), start_of(second)]

    apply_each(starts)

    assert [start.event is not None for start in starts] == [False, True]
    assert isinstance(starts[0].refusal, TransitionRefused)
    assert kinds(first) == ["enqueue", "block"]
    assert row_of(first).status == Status.BLOCKED
    assert kinds(second) == ["enqueue", "start"]


def test_it_is_called_after_the_events_that_it_follows(turnstile: Turnstile) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    turnstile.recorded.clear()

    apply(task, EventKind.NOTE)
    apply(task, EventKind.ACK, result=1)

    assert turnstile.recorded == [(task.pk, "ack")]


def test_it_is_called_once_for_all_events_of_a_transaction(turnstile: Turnstile) -> None:
    tasks = [bring_to(create_task(Invoice), Status.RUNNING) for _ in range(4)]
    acked, retried, read, with_column = tasks
    turnstile.recorded.clear()
    turnstile.calls = 0

    apply_each(
        [  # of several sets of columns, and one whose row has to be read
            Transition(acked, EventKind.ACK, last_known_row=known_row(acked)),
            Transition(retried, EventKind.RETRY, last_known_row=known_row(retried)),
            Transition(read, EventKind.ACK),
            Transition(
                with_column,
                EventKind.ACK,
                values={"amount": 7},
                last_known_row=known_row(with_column),
            ),
        ]
    )

    assert turnstile.calls == 1
    assert sorted(turnstile.recorded) == sorted(
        (task.pk, "retry" if task is retried else "ack") for task in tasks
    )


def test_what_it_raises_undoes_the_transition(turnstile: Turnstile) -> None:
    task, turnstile.error = create_task(Invoice), RuntimeError("no place to write")

    start = start_of(task)
    apply_each([start])

    assert start.error is turnstile.error
    assert kinds(task) == ["enqueue"]


def test_a_start_that_was_rolled_back_and_then_refused_has_no_event(turnstile: Turnstile) -> None:
    task, turnstile.error = create_task(Invoice), RuntimeError("no place to write")
    start = start_of(task)
    apply_each([start])
    turnstile.turned_away.append(task)
    turnstile.error = None

    apply_all([start])

    assert start.event is None
    assert kinds(task) == ["enqueue", "block"]


def test_other_models_do_without_it(turnstile: Turnstile) -> None:
    task = create_task(TextKeyed)

    apply_each([start_of(task)])

    assert not turnstile.recorded
    assert not participants.needs_transaction([start_of(task)])


def test_a_participant_that_catches_an_error_of_the_database_undoes_the_transition(
    turnstile: Turnstile,
) -> None:
    task = create_task(Invoice)

    def lose_session(*_: object) -> None:
        # As if the session was cut, and the savepoint could not be rolled back.
        with suppress(OperationalError), transaction.atomic():
            transaction.set_rollback(True)
            raise OperationalError("the connection was lost")
        transaction.set_rollback(True)

    turnstile.after_write = lose_session  # type: ignore[method-assign]
    register_turnstile(turnstile)
    with pytest.raises(TransactionManagementError):
        apply_all([start_of(task)])

    assert kinds(task) == ["enqueue"]
    assert row_of(task).status == Status.PENDING
