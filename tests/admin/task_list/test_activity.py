"""What the list says is going on with a task."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone, translation

from django_simpletask3.admin.task_list import activity, last_events
from django_simpletask3.context import task_context
from django_simpletask3.states import LIMIT_REASON, EventKind, Status
from django_simpletask3.transitions.erasure import erase
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import url
from tests.steps import bring_to, row_of
from tests.testapp.models import Invoice, Step

NODE = "app-3:2051:x"
ERROR = {"type": "TimeoutError", "message": "sftp.west.example\nand more", "traceback": "..."}


def shown(task: Any, **later: float) -> str:
    row = row_of(task)
    now = timezone.now() + timedelta(**later)
    with translation.override("en"):
        return activity.describe(row, last_events.read_last_events([row])[row.pk], now)


@pytest.fixture(autouse=True)
def _time_stands_still(time_machine) -> None:
    time_machine.move_to(timezone.now(), tick=False)


@pytest.fixture
def running(db) -> Invoice:
    task = Invoice.objects.create()
    apply(task, EventKind.START, worker=NODE)
    return task


def test_a_task_waits_since_it_was_due(pending_task) -> None:
    assert shown(pending_task, seconds=12) == "for 12.0 s"


def test_a_scheduled_task_says_when_it_runs(db, time_machine) -> None:
    time_machine.move_to("2026-11-28T14:00:00+00:00", tick=False)
    task = Invoice.objects.create(run_after=timezone.now() + timedelta(days=34, hours=-8))

    assert shown(task) == "1 Jan 2027 06:00, in 33 d 16 h"


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        (EventKind.RETRY, {"error_data": ERROR}, "after TimeoutError: sftp.west.example"),
        (EventKind.RECOVER, {"reason": "worker_died"}, "after its worker was lost"),
        (EventKind.RECOVER, {"reason": "message_lost"}, "after its message was lost"),
        (EventKind.RELEASE, {"reason": "worker_stopping"}, "handed back by its worker"),
        (EventKind.SNOOZE, {"reason": "the bank is closed"}, "snoozed “the bank is closed”"),
        (EventKind.RESET, {"reason": "once more"}, "reset by maria: “once more”"),
        (EventKind.RESET, {"reason": "reset in the admin"}, "reset by maria"),
    ],
)
def test_a_task_that_waits_again_says_why(running, kind, details, words) -> None:
    with task_context(actor="maria"):
        apply(running, kind, worker=NODE, **details)

    assert shown(running, seconds=3) == f"for 3.0 s, {words}"


def test_a_retry_to_come_says_when(running) -> None:
    later = {"run_after": timezone.now() + timedelta(seconds=24)}
    apply(running, EventKind.RETRY, worker=NODE, error_data=ERROR, values=later)

    assert shown(running) == "retries in 24.0 s, after TimeoutError: sftp.west.example"


@pytest.mark.parametrize(
    ("note", "progress", "seconds", "words"),
    [
        ("", None, 48, "for 48.0 s, reports no progress"),
        ("page 3", None, 48, "page 3"),
        ("page 62 of 100", 0.62, 190, "page 62 of 100, 2 min left"),
        ("", {"done": 1180, "total": 9204}, 2, "1180 of 9204"),
        ("", 1.0, 48, "100 %"),
    ],
)
def test_a_running_task_says_how_far_it_is(running, note, progress, seconds, words) -> None:
    if note or progress is not None:
        data = {} if progress is None else {"progress": progress}
        apply(running, EventKind.NOTE, reason=note, data=data)
    Invoice.objects.filter(pk=running.pk).update_managed(
        check_at=timezone.now() + timedelta(minutes=9)
    )

    assert shown(running, seconds=seconds) == words


def test_progress_of_an_earlier_attempt_counts_no_more(running) -> None:
    apply(running, EventKind.NOTE, reason="page 3", data={"progress": 0.5})
    apply(running, EventKind.RECOVER, reason="worker_died")
    apply(running, EventKind.START, worker=NODE)

    assert shown(running) == "for 0 ms, reports no progress"


def test_a_worker_that_no_longer_reports_is_named(running) -> None:
    assert "recovered" in shown(running, days=1)


@pytest.mark.parametrize(
    ("reason", "data", "words"),
    [
        ("", {}, "until it is unblocked by maria"),
        ("the month ends", {}, "until it is unblocked by maria: “the month ends”"),
        (LIMIT_REASON, {"limit": "stripe"}, "for a place of the limit stripe"),
    ],
)
def test_a_blocked_task_says_for_what(pending_task, reason, data, words) -> None:
    with task_context(actor="maria"):
        apply(pending_task, EventKind.BLOCK, reason=reason, data=data)

    assert shown(pending_task) == words


def test_a_failed_task_says_the_first_line_of_its_error(running) -> None:
    apply(running, EventKind.FAIL, worker=NODE, error_data=ERROR)

    assert shown(running) == "TimeoutError: sftp.west.example"


def test_a_long_error_says_its_beginning(running) -> None:
    long = {"type": "ValueError", "message": "ü" * 5000}
    apply(running, EventKind.FAIL, worker=NODE, error_data=long)

    assert shown(running).startswith("ValueError: üüüüü")


def test_a_task_that_was_given_up_names_the_last_worker(running) -> None:
    data = {"losses": 3, "lost_worker": NODE}
    apply(running, EventKind.DROP, reason="worker_died", data=data, error_data=ERROR)

    assert shown(running) == "given up after 3 lost workers, last: app-3"


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        (EventKind.CANCEL, {"reason": "wrong file"}, "by maria: “wrong file”"),
        (EventKind.CANCEL, {"reason": "canceled in the admin"}, "by maria"),
        (EventKind.CANCEL, {"reason": "replaced"}, "replaced by a new task with its unique key"),
        (
            EventKind.CANCEL,
            {"reason": "prerequisite_failed"},
            "a task that it waited for has failed",
        ),
        (EventKind.EXPIRE, {}, "expired before it started"),
    ],
)
def test_a_canceled_task_says_who_did_it_and_why(pending_task, kind, details, words) -> None:
    with task_context(actor="maria"):
        apply(pending_task, kind, **details)

    assert shown(pending_task) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, ""),
        ("9,204 orders", "9,204 orders"),
        ({"orders": 9118, "skipped": "none"}, "orders: 9118, skipped: none"),
        ([1, {"deep": [2]}], '[1, {"deep": [2]}]'),
        ("ü" * 1000, "ü" * 60),
        (False, "false"),
    ],
)
def test_a_task_that_succeeded_says_the_head_of_its_result(running, result, words) -> None:
    apply(running, EventKind.ACK, worker=NODE, result=result)

    assert shown(running).startswith(words) if words else not shown(running)


def test_what_was_erased_is_not_said(running) -> None:
    apply(running, EventKind.FAIL, worker=NODE, error_data=ERROR)
    erase([running], "asked for")

    assert "sftp" not in shown(running)


def test_notes_after_the_end_do_not_hide_it(running) -> None:
    apply(running, EventKind.FAIL, worker=NODE, error_data=ERROR)
    apply(running, EventKind.NOTE, reason="seen")

    assert shown(running) == "TimeoutError: sftp.west.example"


def test_hostile_words_are_escaped_and_stay_on_one_line(running, superuser) -> None:
    error = {"type": "<b>", "message": "\u202eevil " * 400}
    apply(running, EventKind.FAIL, worker=NODE, error_data=error)

    page = superuser.get(url(Invoice)).content.decode()

    assert "&lt;b&gt;: \\u202eevil" in page
    assert "<b>:" not in page
    assert "…</span>" in page


def test_a_task_says_for_how_many_others_it_waits(db) -> None:
    waiting = Step().after(Step.objects.create(), Step.objects.create())
    waiting.save()

    assert shown(waiting) == "for 2 tasks to end"


def test_a_status_of_a_newer_version_says_nothing(pending_task) -> None:
    row = row_of(pending_task)
    row.status = 99

    assert not activity.describe(row, last_events.LastEvents(), timezone.now())


def test_all_statuses_of_a_page_take_one_statement(db, django_assert_num_queries) -> None:
    tasks = [row_of(bring_to(Invoice.objects.create(), status)) for status in Status]

    with django_assert_num_queries(1):
        last_events.read_last_events(tasks)
