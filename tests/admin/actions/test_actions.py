"""What the actions do to tasks in each state, and what they say of it."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_simpletask3.admin import changelist
from django_simpletask3.admin.actions import definitions, downloads, selection
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.queue import get_queue
from django_simpletask3.states import UNFINISHED, EventKind, Status
from django_simpletask3.transitions.writer import apply, apply_all
from tests.admin.pages import (
    CANCEL,
    EXECUTE,
    EXECUTE_HERE,
    EXPORT,
    FORCE_CANCEL,
    HOLD,
    LIFT,
    LISTED_MODELS,
    RESET,
    RETRY,
    UNBLOCK,
    create_listed_task,
    post_action,
    ready,
    shown_messages,
    url,
)
from tests.steps import bring_to, create_task, kinds
from tests.testapp.models import Elsewhere, ForeignInvoice, Invoice, PaidInvoice

#: A waiting task is blocked before it is unblocked (``ready``).
WAITING = (Status.PENDING, Status.BLOCKED)
AFTER = {
    EXECUTE: dict.fromkeys(Status, None) | {Status.PENDING: "note"},
    RESET: dict.fromkeys(Status, "reset"),
    RETRY: dict.fromkeys(Status, None) | {Status.FAILED: "reset"},
    CANCEL: dict.fromkeys(Status, None) | dict.fromkeys(UNFINISHED, "cancel"),
    FORCE_CANCEL: dict.fromkeys(Status, None)
    | dict.fromkeys(UNFINISHED, "cancel")
    | {Status.CANCELED: "note"},
    UNBLOCK: dict.fromkeys(Status, None) | dict.fromkeys(WAITING, "unblock"),
    HOLD: dict.fromkeys(Status, "hold"),
    LIFT: dict.fromkeys(Status, "lift"),
}
MOVING = [EXECUTE, RESET, CANCEL, FORCE_CANCEL, UNBLOCK, HOLD, LIFT]
SAID = {
    (EXECUTE, Status.PENDING): "1 task will run at once.",
    (EXECUTE, Status.RUNNING): "1 task was left alone: it is already running.",
    (EXECUTE, Status.BLOCKED): "1 task was left alone: it is blocked. Unblock it to run it.",
    **{(CANCEL, status): "1 task was canceled." for status in UNFINISHED},
    **{(FORCE_CANCEL, status): "1 task was canceled." for status in UNFINISHED | {Status.CANCELED}},
    **{(UNBLOCK, status): "1 task was left alone: it is not blocked." for status in Status},
    **{(UNBLOCK, status): "1 task was unblocked and will run." for status in WAITING},
    **{
        (EXECUTE, status): "1 task was left alone: it is finished. Reset it to run it again."
        for status in (Status.SUCCESS, Status.FAILED, Status.CANCELED)
    },
    **{
        (CANCEL, status): "1 task was left alone: it is finished."
        for status in (Status.SUCCESS, Status.FAILED, Status.CANCELED)
    },
    **{
        (FORCE_CANCEL, status): "1 task was left alone: it is finished."
        for status in (Status.SUCCESS, Status.FAILED)
    },
    **{(RESET, status): "1 task was reset and waits to run again." for status in Status},
    **{(RETRY, status): "1 task was left alone: it did not fail." for status in Status},
    (RETRY, Status.FAILED): "1 task was reset and waits to run again.",
    **{
        (HOLD, status): "1 task is on hold now: none of its data will be deleted."
        for status in Status
    },
    **{(LIFT, status): "The hold on 1 task was lifted." for status in Status},
}


def waiting(model) -> list[str]:
    """The ids of the messages in a model's queue, the next one first."""
    claimed = get_queue().claim(model.get_event_channel(), worker="test", limit=100, lease=60)
    return [message.id for message in claimed]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("action", AFTER)
@pytest.mark.django_db
def test_each_action_moves_what_it_may_and_tells(superuser, action, status) -> None:
    task = ready(bring_to(Invoice.objects.create(), status), action)
    before = kinds(task)

    response = post_action(superuser, action, task)

    moved = AFTER[action][status]
    assert kinds(task) == before + ([moved] if moved else [])
    assert shown_messages(response) == [SAID[action, status]]


@pytest.mark.parametrize("model", LISTED_MODELS)
def test_the_actions_work_on_every_model(superuser, model) -> None:
    tasks = {action: ready(create_listed_task(model), action) for action in MOVING}
    before = {action: len(kinds(task)) for action, task in tasks.items()}

    for action, task in tasks.items():
        assert post_action(superuser, action, task, follow=False).status_code == 302

    more = {action: len(kinds(task)) - before[action] for action, task in tasks.items()}
    assert more == dict.fromkeys(MOVING, 1)
    assert {task.events.last().actor for task in tasks.values()} == {"root"}
    assert superuser.get(url(model)).status_code == 200


def test_outcomes_are_counted(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, *Status]]

    response = post_action(superuser, EXECUTE, *tasks)

    assert shown_messages(response) == [
        "2 tasks will run at once.",
        "6 tasks were left alone: they are finished. Reset them to run them again.",
        "2 tasks were left alone: they are already running.",
        "2 tasks were left alone: they are blocked. Unblock them to run them.",
    ]


@pytest.mark.django_db(transaction=True)
def test_a_task_that_is_unblocked_is_queued(superuser) -> None:
    task = Invoice.objects.enqueue(blocked="waits for the approval of finance")
    before = waiting(Invoice)

    post_action(superuser, UNBLOCK, task, reason="invoice checked")

    event = task.events.last()
    assert (event.kind, event.actor, event.reason) == ("unblock", "root", "invoice checked")
    assert (before, waiting(Invoice)) == ([], [task.get_task_id()])


def test_the_event_tells_who_and_why(superuser) -> None:
    finished_task = bring_to(create_task(Invoice), Status.SUCCESS, result="OK")

    post_action(superuser, RESET, finished_task)

    event = finished_task.events.last()
    assert (event.actor, event.reason) == ("root", "reset in the admin")
    assert event.data["erased"]["result_data"] == "OK"


@pytest.mark.django_db(transaction=True)
def test_execute_brings_a_waiting_task_to_the_head_of_the_queue(superuser) -> None:
    tasks = [Invoice.objects.create() for _ in range(3)]

    post_action(superuser, EXECUTE, tasks[2])

    assert waiting(Invoice) == [tasks[number].get_task_id() for number in (2, 0, 1)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", [EXECUTE, RESET])
def test_a_postponed_task_is_let_go(superuser, action) -> None:
    task = Invoice.objects.create(run_after=timezone.now() + timedelta(days=1))

    post_action(superuser, action, task)

    task.refresh_from_db()
    assert task.run_after is None
    assert task.check_at < timezone.now() + timedelta(hours=1)
    assert waiting(Invoice) == [task.get_task_id()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("model", [PaidInvoice, ForeignInvoice])
@pytest.mark.parametrize("action", [EXECUTE, RESET])
def test_a_task_selected_in_the_list_of_its_root_stays_what_it_is(superuser, model, action) -> None:
    task = model.objects.create()

    post_action(superuser, action, Invoice.objects.get(pk=task.pk))

    assert waiting(Invoice) == []
    assert waiting(model) == [task.get_task_id()]


@pytest.mark.django_db(transaction=True)
def test_a_task_of_another_database_is_found(superuser) -> None:
    task = Elsewhere.objects.create()

    post_action(superuser, RESET, task)

    assert kinds(task) == ["enqueue", "reset"]
    assert waiting(Elsewhere) == [task.get_task_id()]


def test_a_running_task_that_is_reset_is_superseded(superuser, running_task) -> None:
    post_action(superuser, RESET, running_task)

    with pytest.raises(StaleTask):
        apply(running_task, EventKind.ACK, worker="w1")
    assert kinds(running_task) == ["enqueue", "start", "reset", "reject"]


def test_many_tasks_take_few_statements(superuser) -> None:
    first, *tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(51))
    post_action(superuser, RESET, first)  # from here on Django remembers the content types

    with CaptureQueriesContext(connection) as few:
        post_action(superuser, RESET, *tasks[:2])
    with CaptureQueriesContext(connection) as many:
        post_action(superuser, RESET, *tasks[2:])

    assert len(many) == len(few)


def test_more_than_a_batch_is_moved(superuser, monkeypatch) -> None:
    monkeypatch.setattr(selection, "BATCH_SIZE", 2)
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(5))

    response = post_action(superuser, RESET, tasks[0], select_across=1)

    assert shown_messages(response) == ["5 tasks were reset and wait to run again."]
    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "reset")}


def test_all_means_as_many_as_the_list_says(superuser, monkeypatch) -> None:
    monkeypatch.setattr(changelist, "MAX_LISTED", 3)
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(5))
    listed = superuser.get(url(Invoice)).context["cl"].result_count

    response = post_action(superuser, RESET, tasks[0], select_across=1)

    assert listed == 3
    assert shown_messages(response) == ["3 tasks were reset and wait to run again."]
    assert [len(kinds(task)) for task in tasks] == [1, 1, 2, 2, 2]


def test_a_hold_that_is_not_there_is_not_lifted(superuser, pending_task) -> None:
    held = ready(Invoice.objects.create(), LIFT)
    lifted = ready(Invoice.objects.create(), LIFT)
    lifted.lift()

    response = post_action(superuser, LIFT, pending_task, held, lifted)

    assert shown_messages(response) == [
        "The hold on 1 task was lifted.",
        "2 tasks were left alone: there is no hold on them.",
    ]
    assert kinds(pending_task) == ["enqueue"]
    assert not held.is_held


def test_only_a_download_remembers_what_was_done(superuser, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        downloads, "download_streams", lambda model, done: asked.append((model, done))
    )
    task = Elsewhere.objects.create()

    for action in (RESET, EXPORT):
        post_action(superuser, action, task)

    assert asked == [(Elsewhere, [("other", task.pk)])]


@pytest.mark.parametrize("action", MOVING)
def test_a_task_that_goes_meanwhile_is_counted(superuser, action, monkeypatch) -> None:
    staying, going = (ready(Invoice.objects.create(), action) for _ in range(2))
    before = len(kinds(staying))

    def too_late(moves) -> None:
        Invoice.objects.filter(pk=going.pk)._raw_delete("default")  # a held one, too
        apply_all(moves)

    monkeypatch.setattr(definitions, "apply_all", too_late)
    response = post_action(superuser, action, staying, going)

    assert response.status_code == 200
    assert shown_messages(response)[1:] == [
        "1 task was left alone: it was changed or deleted meanwhile."
    ]
    assert len(kinds(staying)) == before + 1


@pytest.mark.parametrize("action", [EXECUTE, RESET, CANCEL])
def test_a_batch_that_cannot_be_moved_together_is_moved_one_by_one(
    superuser, action, monkeypatch
) -> None:
    first, second = (Invoice.objects.create() for _ in range(2))

    def together_never(moves) -> None:
        if len(moves) > 1 or moves[0].task.pk == second.pk:
            raise StaleTask("moved meanwhile")
        apply_all(moves)

    monkeypatch.setattr(definitions, "apply_all", together_never)
    response = post_action(superuser, action, first, second)

    assert len(shown_messages(response)) == 2
    assert (len(kinds(first)), len(kinds(second))) == (2, 1)


def test_nothing_selected_is_nothing_done(superuser, pending_task) -> None:
    response = superuser.post(url(Invoice), {"action": RESET, "index": 0}, follow=True)

    assert "Items must be selected" in shown_messages(response)[0]
    assert kinds(pending_task) == ["enqueue"]


def test_the_actions_are_known_by_their_names() -> None:
    model_admin = admin.site.get_model_admin(Invoice)

    names = [action.__name__ for action in model_admin.actions]

    every = [EXECUTE, EXECUTE_HERE, RESET, RETRY, CANCEL, FORCE_CANCEL, UNBLOCK, HOLD, LIFT, EXPORT]
    assert names == every
