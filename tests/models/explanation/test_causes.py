"""What a task says of itself that neither waits for a worker nor is new."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.models.explanation.causes import explain
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import EventKind, Status
from tests.steps import TASK_MODELS, apply_kinds, bring_to, create_task, label_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "no such customer", "traceback": "..."}


def at(moment: datetime | None) -> str:
    assert moment is not None
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"


def test_an_unsaved_task_is_not_saved() -> None:
    assert Invoice().explain() == "It is not saved yet."


def test_a_deleted_task_was_deleted(pending_task: Any) -> None:
    other = Invoice.objects.get(pk=pending_task.pk)
    pending_task.delete()

    assert [pending_task.explain(), other.explain()] == ["It was deleted."] * 2


def test_a_finished_task_says_when_it_ended(finished_task: Any) -> None:
    assert finished_task.explain() == f"It succeeded at {at(finished_task.done_time)}."


@pytest.mark.parametrize(
    ("kind", "verb"), [(EventKind.FAIL, "failed"), (EventKind.DROP, "was given up")]
)
def test_a_failed_task_says_how(running_task: Any, kind: EventKind, verb: str) -> None:
    apply_kinds(running_task, kind, error_data=ERROR)

    when = at(running_task.done_time)
    assert running_task.explain() == f"It {verb} at {when}: ValueError: no such customer"


def test_a_failed_task_whose_error_was_erased_says_when(running_task: Any) -> None:
    apply_kinds(running_task, EventKind.FAIL, error_data=ERROR)
    running_task.erase("article 17")

    assert running_task.explain() == f"It failed at {at(running_task.done_time)}."


@pytest.mark.parametrize(
    ("actor", "reason", "details"),
    [("", "", ""), ("ada", "", " (ada)"), ("", "late", " (late)"), ("ada", "late", " (ada: late)")],
)
def test_a_canceled_task_says_who_canceled_it_and_why(
    pending_task: Any, actor: str, reason: str, details: str
) -> None:
    with task_context(actor=actor):
        pending_task.cancel(reason)

    assert pending_task.explain() == f"It was canceled at {at(pending_task.done_time)}{details}."


def test_an_expired_task_says_so(pending_task: Any) -> None:
    apply_kinds(pending_task, EventKind.EXPIRE)

    when = at(pending_task.done_time)
    assert pending_task.explain() == f"It expired while it waited, and was canceled at {when}."


def test_a_running_task_names_its_worker_and_its_lease(running_task: Any) -> None:
    until = clock.now("default") + timedelta(hours=1)
    rows_of(Invoice, "default").update_managed(check_at=until)

    assert running_task.explain() == (
        f"It runs in the worker w1 since {at(running_task.start_time)}; the lease ends at "
        f"{at(until)} unless it is renewed."
    )


def test_a_running_task_whose_lease_has_ended_waits_for_recovery(running_task: Any) -> None:
    until = clock.now("default") - timedelta(minutes=1)
    rows_of(Invoice, "default").update_managed(check_at=until)

    explanation = explain(running_task)

    assert explanation.cause == "lease_ended"
    assert str(explanation).startswith(f"Its lease ended at {at(until)}: recovery takes it from")


def test_a_blocked_task_says_what_it_waits_for_whatever_was_noted_since() -> None:
    with task_context(actor="mia"):
        task = Invoice.objects.enqueue(blocked="waits for the approval of finance")
    task.note("reminded them")
    block = task.events.get(kind=EventKind.BLOCK)

    assert task.explain() == (
        f"It is blocked since {at(block.event_time)} (mia: waits for the approval of finance), "
        "until it is unblocked."
    )


def test_a_status_of_a_newer_version_is_no_obstacle(pending_task: Any) -> None:
    rows_of(Invoice, "default").update_managed(status=7)

    assert pending_task.explain() == "Its status is 7, which this version does not know."


def test_the_row_counts_not_the_instance(pending_task: Any) -> None:
    stale = Invoice.objects.get(pk=pending_task.pk)
    pending_task.cancel()

    assert stale.explain().startswith("It was canceled")
    assert stale.status is Status.PENDING


def test_a_long_text_of_several_lines_stays_one_short_line(running_task: Any) -> None:
    message = "line 1\nline 2\x00\ud800\u202e" + "x" * 10_000
    apply_kinds(running_task, EventKind.FAIL, error_data={**ERROR, "message": message})

    sentence = running_task.explain()

    assert sentence.isprintable()
    assert len(sentence) < 300


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_tasks_of_every_model_explain_themselves_by_two_queries(
    model: type[Any], status: Status, django_assert_max_num_queries: Any
) -> None:
    task = bring_to(create_task(model), status)
    for number in range(5):
        task.note(str(number))

    with django_assert_max_num_queries(2, connection=connections[task._state.db]):
        assert task.explain().startswith("It ")
