"""A cancel by force, as far as it is recorded; tests/worker has what follows."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_simpletask3.exceptions import IllegalTransition, TaskGone
from django_simpletask3.recovery.service import recover_dead_workers
from django_simpletask3.states import UNFINISHED, Status
from django_simpletask3.transitions.forced_cancel import cancel_by_force
from tests.steps import bring_to, create_task, kinds, status_of, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_an_unfinished_task_is_canceled_and_the_event_says_how(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)

    task.cancel("runs wild", force=True)

    event = stream_of(task)[-1]
    assert (event.kind, event.reason, event.data["forced"]) == ("cancel", "runs wild", True)
    assert (status_of(task), task.stop_reason) == (Status.CANCELED, "canceled")


def test_a_task_that_is_canceled_already_gets_a_note() -> None:
    task = bring_to(create_task(Invoice), Status.CANCELED)

    task.cancel("runs wild", force=True)

    event = stream_of(task)[-1]
    assert (event.kind, event.reason, event.data["forced"]) == ("note", "runs wild", True)
    assert status_of(task) == Status.CANCELED


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED])
def test_a_task_that_has_ended_by_itself_is_left_alone(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)
    before = kinds(task)

    with pytest.raises(IllegalTransition):
        task.cancel("runs wild", force=True)

    assert (kinds(task), task.should_stop) == (before, False)


def test_a_task_of_a_worker_that_is_dead_stays_canceled() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)

    task.cancel("runs wild", force=True)

    assert recover_dead_workers([task.worker]) == 0
    assert (status_of(task), kinds(task)) == (Status.CANCELED, ["enqueue", "start", "cancel"])


def test_a_coroutine_cancels_by_force() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)

    async_to_sync(task.acancel)("runs wild", force=True)

    assert stream_of(task)[-1].data["forced"] is True


def test_a_cancel_without_force_says_nothing_of_it() -> None:
    task = create_task(Invoice)

    task.cancel("not needed")

    assert "forced" not in (stream_of(task)[-1].data or {})


def test_of_many_each_has_its_own_outcome() -> None:
    tasks: list[Any] = [bring_to(create_task(Invoice), status) for status in Status]
    gone = create_task(Invoice)
    Invoice.objects.filter(pk=gone.pk)._raw_delete("default")

    transitions = cancel_by_force([*tasks, gone], "end of the trial")

    applied = {t.task.pk: t.event.kind for t in transitions if t.event is not None}
    refused = {t.task.pk: type(t.refusal) for t in transitions if t.event is None}
    assert applied == {
        task.pk: "note" if status == Status.CANCELED else "cancel"
        for task, status in zip(tasks, Status, strict=True)
        if status in UNFINISHED | {Status.CANCELED}
    }
    assert refused.pop(gone.pk) is TaskGone
    assert set(refused.values()) == {IllegalTransition}


def test_a_note_of_a_user_does_not_end_a_function() -> None:
    task = bring_to(create_task(Invoice), Status.CANCELED)

    with pytest.raises(ValueError, match="forced"):
        task.note("a remark", forced=True)
