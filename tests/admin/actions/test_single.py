"""The buttons of a task's page run the actions of the list on this one task."""

from typing import Any

import pytest

from django_simpletask3.states import Status
from tests.admin.pages import (
    CANCEL,
    CONFIRMED,
    EXPORT,
    RESET,
    RETRY,
    received,
    shown_messages,
    text,
    url,
)
from tests.steps import bring_to, kinds
from tests.testapp.models import Invoice


def press(client: Any, task: Any, action: str, **further: Any) -> Any:
    """As a browser does that posts a button."""
    data = {"action": action, "_selected_action": task.pk, **further}
    return received(client.post(url(task, "action"), data, follow=True))


def test_without_a_script_a_button_leads_to_the_page_of_confirmation(
    superuser, running_task
) -> None:
    response = press(superuser, running_task, CANCEL)

    page = response.content.decode()
    assert 'name="django_simpletask3_confirmed"' in page
    assert f'<a class="st3-button" href="{url(running_task)}">Back to the task</a>' in page
    assert f'<li><a href="{url(running_task)}">{running_task}</a></li>' in page
    assert kinds(running_task) == ["enqueue", "start"]


def test_from_the_list_the_page_of_confirmation_leads_back_to_it(superuser, running_task) -> None:
    address = f"{url(Invoice)}?task-state=running"
    data = {"action": CANCEL, "_selected_action": running_task.pk}

    page = superuser.post(address, data).content.decode()

    assert f'<a class="st3-button" href="{address}">Back to the list</a>' in page
    assert f'<li><a href="{url(running_task)}">' not in page


@pytest.mark.parametrize(
    ("status", "action", "kind"),
    [(Status.RUNNING, CANCEL, "cancel"), (Status.FAILED, RETRY, "reset")],
)
def test_an_action_is_done_and_leads_back_to_the_task(superuser, status, action, kind) -> None:
    task, other = (bring_to(Invoice.objects.create(), status) for _ in range(2))

    response = press(superuser, task, action, reason="ticket 5521", **CONFIRMED)

    assert response.redirect_chain == [(url(task), 302)]
    event = task.events.last()
    assert (event.kind, event.actor, event.reason) == (kind, "root", "ticket 5521")
    assert "1 task was" in shown_messages(response)[0]
    assert kind not in kinds(other)


def test_the_tick_boxes_of_the_dialog_count(superuser, finished_task) -> None:
    press(superuser, finished_task, RESET, restart="on", **CONFIRMED)

    assert finished_task.events.last().data["restart"] is True


def test_the_events_are_downloaded_at_once(superuser, finished_task) -> None:
    response = press(superuser, finished_task, EXPORT, **CONFIRMED)

    assert b'"ack"' in response.file
    assert kinds(finished_task)[-1] == "note"


def test_a_forged_action_is_refused(staff, running_task) -> None:
    client = staff("view_invoice")

    assert press(client, running_task, CANCEL, **CONFIRMED).status_code == 403
    assert kinds(running_task) == ["enqueue", "start"]


def test_who_may_not_view_the_task_does_nothing_to_it(staff, running_task) -> None:
    client = staff("django_simpletask3_cancel_invoice")

    assert press(client, running_task, CANCEL, **CONFIRMED).status_code == 403
    assert kinds(running_task) == ["enqueue", "start"]


def test_another_task_is_not_touched(superuser, running_task, pending_task) -> None:
    data = {"action": CANCEL, "_selected_action": pending_task.pk, **CONFIRMED}

    response = superuser.post(url(running_task, "action"), data)

    assert response.status_code == 302
    assert kinds(pending_task) == ["enqueue"]
    assert kinds(running_task) == ["enqueue", "start"]


def test_a_reload_leads_back_to_the_task(superuser, pending_task) -> None:
    assert superuser.get(url(pending_task, "action")).url == url(pending_task)


def test_a_task_that_has_gone_is_not_found(superuser, pending_task) -> None:
    address = url(pending_task, "action")
    pending_task.delete()

    assert superuser.post(address, {"action": CANCEL}).status_code == 404


def test_deleting_a_running_task_warns_that_its_run_goes_on(
    superuser, running_task, finished_task
) -> None:
    warnings = [
        "does not stop its run" in text(superuser.get(url(task, page)))
        for task in (running_task, finished_task)
        for page in ("change", "delete")
    ]

    assert warnings == [True, True, False, False]
