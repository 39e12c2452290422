"""The head of a task's page: what it does or why it ended, since when, and what can be done."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.utils.html import strip_tags

from django_simpletask3.context import acting_for_schedule, task_context
from django_simpletask3.db import clock
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import (
    CANCEL,
    EXECUTE,
    EXECUTE_HERE,
    EXPORT,
    FORCE_CANCEL,
    HOLD,
    LIFT,
    RESET,
    RETRY,
    UNBLOCK,
    url,
)
from tests.steps import bring_to
from tests.testapp.models import Invoice


def head(client: Any, task: Any) -> str:
    page: str = client.get(url(task, "timeline")).json()["parts"]["head"]
    return page


def sentence(client: Any, task: Any) -> str:
    (found,) = re.findall(r"</span><p>(.*?)</p></div>", head(client, task))
    return strip_tags(found)


def stats(client: Any, task: Any) -> dict[str, tuple[str, ...]]:
    """Value and note of each stat, by label."""
    page = head(client, task).partition('class="st3-stats"')[2].partition("</dl>")[0]
    rows = re.findall(r"<dt>(.*?)</dt>(.*?)</div>", page)
    return {label: tuple(map(strip_tags, re.findall(r"<dd>(.*?)</dd>", r))) for label, r in rows}


def buttons(page: str, name: str = "action") -> list[str]:
    return re.findall(rf'<button[^>]* name="{name}" value="(\w+)"', page)


class Steps:
    """Moves a task by hand, at seconds since it was enqueued."""

    def __init__(self, task: Any, time_machine: Any) -> None:
        self.task, self.machine, self.begin = task, time_machine, task.add_time

    def at(self, seconds: float) -> None:
        self.machine.move_to(self.begin + timedelta(seconds=seconds), tick=False)

    def __call__(self, seconds: float, kind: EventKind, actor: str = "", **details: Any) -> None:
        self.at(seconds)
        with task_context(actor=actor):
            apply(self.task, kind, **details)


@pytest.fixture
def steps(pending_task, time_machine) -> Steps:
    return Steps(pending_task, time_machine)


def test_a_task_that_failed_says_why_and_what_follows(superuser, steps, monkeypatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    steps(2, EventKind.START, worker="app-1:7:x")
    steps(12, EventKind.RETRY, worker="app-1:7:x", data={"retry_in": 30})
    steps(42, EventKind.START, worker="app-2:8:x")
    steps(50, EventKind.RECOVER, reason="lease_expired", data={"lost_worker": "app-2:8:x"})
    steps(51, EventKind.START, worker="app-1:9:x")
    error = {"type": "smtplib.SMTPError", "message": "mailbox <b>\nunavailable", "traceback": ""}
    steps(60, EventKind.FAIL, worker="app-1:9:x", error_data=error)
    steps.at(360)

    found = sentence(superuser, steps.task)

    assert found.startswith("SMTPError: mailbox &lt;b&gt;. Failed at ")
    assert found.endswith(" in attempt 3, the last one: nothing more happens unless it is retried.")
    values = stats(superuser, steps.task)
    assert [*values] == ["Failed", "Waited", "Ran", "Attempts", "Last worker", "Enqueued"]
    assert values["Failed"][0] == "5 min ago"
    assert values["Waited"] == ("2.0 s", "and 31.0 s for a retry")
    assert values["Ran"] == ("9.0 s", "27.0 s in all")
    assert values["Attempts"] == ("3", "no retry is left · 1 loss")
    assert values["Last worker"] == ("app-1 › 9",)


def test_a_running_task_says_since_when_and_how_far_it_is(superuser, steps) -> None:
    steps(2, EventKind.START, worker="w1")
    steps(50, EventKind.NOTE, reason="page 1 of 4", data={"progress": {"done": 1, "total": 4}})
    steps.at(62)

    found = sentence(superuser, steps.task)
    page = head(superuser, steps.task)

    assert re.fullmatch(
        r"Has been running for 1 min, since \d\d:\d\d:\d\d, and is at page 1 of 4\.", found
    )
    assert "1 of 4, about 3 min left" in page
    assert '<span class="st3-live"' in page
    assert stats(superuser, steps.task)["If it is lost"][0] == "runs again"


def test_a_task_that_succeeded_says_what_it_returned(superuser, pending_task) -> None:
    bring_to(pending_task, Status.SUCCESS, result="200 statements")

    found = sentence(superuser, pending_task)

    assert found.endswith(", in the first attempt. Returned &quot;200 statements&quot;.")
    assert "st3-live" not in head(superuser, pending_task)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("wrong file", "by maria: “wrong file”"),
        ("", "by maria"),
        ("canceled in the admin", "by maria in the admin"),
    ],
)
def test_a_canceled_task_says_who_and_why(superuser, pending_task, reason, words) -> None:
    with task_context(actor="maria"):
        pending_task.cancel(reason)

    found = sentence(superuser, pending_task)

    assert f" {words}. Nothing more happens unless it is reset." in found


def test_a_task_that_was_canceled_while_it_ran_does_not_say_that_all_is_over(
    superuser, running_task
) -> None:
    with task_context(actor="maria"):
        running_task.cancel()

    found = sentence(superuser, running_task)

    assert found.endswith(" by maria. It was running: what its function still returns is refused.")


def test_a_scheduled_task_says_when_it_runs(superuser, pending_task) -> None:
    due = clock.now("default") + timedelta(hours=2, seconds=30)
    rows_of(Invoice, "default").filter(pk=pending_task.pk).update_managed(run_after=due)

    page = head(superuser, pending_task)

    assert "st3-pill st3-scheduled" in page
    assert stats(superuser, pending_task)["Runs next"][0] == "in 2 h"
    assert "Waited" not in page


def test_a_waiting_task_says_for_how_long(superuser, steps) -> None:
    steps.at(75)

    assert stats(superuser, steps.task)["Waits for"] == ("1 min 15 s",)


def test_the_head_says_who_enqueued_the_task_and_why(superuser, db) -> None:
    with task_context(actor="maria", reason="month <end>"):
        task = Invoice.objects.create()

    actor, note = stats(superuser, task)["Enqueued by"]

    assert actor == "maria"
    assert note.endswith(", “month &lt;end&gt;”")


def test_a_schedule_is_linked(superuser, db) -> None:
    with acting_for_schedule("nightly <1>", "2026-11-28T00:00:00+00:00"):
        task = Invoice.objects.create()

    page = head(superuser, task)

    assert '?q=nightly+%3C1%3E">nightly &lt;1&gt;</a>' in page
    assert stats(superuser, task)["Enqueued by"][0] == "schedule “nightly &lt;1&gt;”"


def test_the_key_of_a_schedule_is_broken_between_its_parts(superuser, db) -> None:
    with acting_for_schedule("billing.StatementExport:monthly", "2026-11-28T00:00:00+00:00"):
        task = Invoice.objects.create()

    assert "“billing.<wbr>StatementExport:<wbr>monthly”</dd>" in head(superuser, task)


def test_few_children_are_named_and_more_are_counted(superuser, running_task) -> None:
    pages = []
    for _ in range(3):
        child = Invoice.objects.create()
        Invoice.objects.filter(pk=child.pk).update_managed(parent=task_reference(running_task))
        pages.append(head(superuser, running_task))

    assert [page.count("testapp.Invoice ") for page in pages] == [1, 2, 0]
    assert '<a href="#st3-related">3 tasks</a>' in pages[2]


#: The buttons in front, and those of the menu, of a task with this status.
BUTTONS = {
    Status.PENDING: ([EXECUTE, CANCEL, EXECUTE_HERE, HOLD], [RESET, EXPORT]),
    Status.BLOCKED: ([UNBLOCK, CANCEL, HOLD], [RESET, EXPORT]),
    Status.RUNNING: ([CANCEL, RESET, HOLD], [FORCE_CANCEL, EXPORT]),
    Status.SUCCESS: ([RESET, HOLD], [EXPORT]),
    Status.FAILED: ([RETRY, RESET, HOLD], [EXPORT]),
    Status.CANCELED: ([RESET, HOLD], [EXPORT]),
}


@pytest.mark.parametrize("status", Status)
def test_the_buttons_are_those_that_the_state_allows(superuser, status) -> None:
    task = bring_to(Invoice.objects.create(), status)

    page = head(superuser, task)

    front, menu = page.partition("<dialog")[0].split("<details", 1)
    assert (buttons(front), buttons(menu)) == BUTTONS[status]
    assert page.count("<dialog") == sum(map(len, BUTTONS[status])) - 1  # nothing is asked to export
    assert front.count("st3-button-first") <= 1


def test_a_held_task_offers_to_lift_the_hold(superuser, finished_task) -> None:
    finished_task.hold()

    page = head(superuser, finished_task)

    assert LIFT in page
    assert HOLD not in page
    assert "<dt>Legal hold</dt> <dd>on hold</dd>" in page


@pytest.mark.parametrize(
    ("codenames", "offered"),
    [((), []), (("django_simpletask3_cancel_invoice",), [CANCEL])],
    ids=["none", "one"],
)
def test_the_buttons_are_those_that_the_user_may_press(
    staff, running_task, codenames, offered
) -> None:
    client = staff("view_invoice", *codenames)

    assert buttons(head(client, running_task)) == offered


def test_an_admin_without_actions_has_no_buttons(superuser, running_task, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "actions", [])

    assert buttons(head(superuser, running_task)) == []


@pytest.mark.parametrize(
    ("status", "action", "words"),
    [
        (Status.PENDING, CANCEL, "It has not started. It will not run."),
        (Status.RUNNING, CANCEL, "Its function is asked to stop"),
        (Status.RUNNING, RESET, "what it returns is refused"),
        (Status.SUCCESS, RESET, "Its result stays in the events."),
        (Status.FAILED, RETRY, "runs as attempt 2"),
        (Status.BLOCKED, UNBLOCK, "whatever it waits for"),
        (Status.PENDING, EXECUTE, "It is the next to run, in the workers."),
    ],
)
def test_a_dialog_says_what_becomes_of_this_task(superuser, status, action, words) -> None:
    task = bring_to(Invoice.objects.create(), status)

    dialog = head(superuser, task).partition(f'id="st3-ask-{action}"')[2].partition("</dialog>")[0]

    assert words in dialog
    assert 'name="reason"' in dialog
    assert f'action="{url(task, "action")}"' in dialog


def test_a_reason_that_is_required_is_required_in_the_dialog(
    superuser, running_task, settings
) -> None:
    settings.DJANGO_SIMPLETASK3_ADMIN_REASON_REQUIRED = True

    assert "required autofocus" in head(superuser, running_task)


def test_the_first_query_of_a_hostile_page_number_is_ignored(superuser, running_task) -> None:
    response = superuser.get(url(running_task) + "?events=<b>&events_before=99999999999999")

    assert response.status_code == 200
    assert [e.sequence for e in response.context["task_page"].timeline.events.listed] == [1, 2]


def test_a_canceled_run_that_may_go_on_can_be_ended_by_force(superuser, running_task) -> None:
    running_task.cancel()

    assert FORCE_CANCEL in head(superuser, running_task)


def test_an_action_that_is_refused_for_this_task_has_no_button(
    superuser, running_task, monkeypatch
) -> None:
    model_admin = type(site.get_model_admin(Invoice))

    def may_cancel(_admin: Any, _request: Any, obj: Any = None) -> bool:
        return obj is None

    monkeypatch.setattr(model_admin, "has_django_simpletask3_cancel_permission", may_cancel)

    assert CANCEL not in buttons(head(superuser, running_task))
