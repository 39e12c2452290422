"""Deleting tasks in the admin: what is on legal hold stays, and the page says why."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.admin import delete_protection
from django_simpletask3.states import Status
from tests.admin.pages import shown_messages, text, url
from tests.steps import bring_to
from tests.testapp.models import Dunning, ForeignInvoice, Invoice, PaidInvoice

ON_HOLD = "is on legal hold: none of its data is deleted until the hold is lifted."


def delete_selected(client, model, *tasks):
    chosen = {"action": "delete_selected", "_selected_action": [task.pk for task in tasks]}
    return client.post(url(model), {**chosen, "post": "yes"}, follow=True)


def delete_one(client, model, task):
    return client.post(url(task, "delete"), {"post": "yes"}, follow=True)


each_way = pytest.mark.parametrize("way", [delete_one, delete_selected])


@each_way
@pytest.mark.parametrize("model", [Invoice, ForeignInvoice, PaidInvoice])
def test_a_task_on_hold_is_not_deleted_and_the_page_says_why(superuser, model, way) -> None:
    task = model.objects.create()
    task.hold("a lawsuit")

    page = way(superuser, model, task)

    assert page.status_code == 200
    assert ON_HOLD in text(page)
    assert model.objects.filter(pk=task.pk).exists()
    assert not LogEntry.objects.exists()


@each_way
def test_an_object_whose_cascade_reaches_a_held_task_is_not_deleted(
    superuser, pending_task, way
) -> None:
    Dunning.objects.create(invoice=pending_task).hold("a lawsuit")

    page = way(superuser, Invoice, pending_task)

    assert text(page).count(ON_HOLD) == 1
    assert Invoice.objects.filter(pk=pending_task.pk).exists()


@each_way
def test_a_hold_that_comes_in_between_is_reported_as_well(
    superuser, pending_task, way, monkeypatch
) -> None:
    monkeypatch.setattr(delete_protection, "hold_messages", lambda objs: [])
    pending_task.hold("a lawsuit")

    page = way(superuser, Invoice, pending_task)

    assert page.status_code == 200
    assert "is on legal hold" in shown_messages(page)[0]
    assert Invoice.objects.filter(pk=pending_task.pk).exists()
    assert not LogEntry.objects.exists()


def test_one_held_task_keeps_a_whole_selection_from_deletion(
    superuser, pending_task, finished_task
) -> None:
    finished_task.hold()

    delete_selected(superuser, Invoice, pending_task, finished_task)

    assert Invoice.objects.count() == 2


@each_way
def test_a_task_whose_hold_was_lifted_is_deleted(superuser, pending_task, way) -> None:
    pending_task.hold()
    pending_task.lift()

    page = way(superuser, Invoice, pending_task)

    assert page.status_code == 200
    assert not Invoice.objects.exists()


def test_the_deletion_of_a_selection_warns_of_running_tasks(
    superuser, pending_task, running_task
) -> None:
    tasks = [pending_task, running_task, bring_to(Invoice.objects.create(), Status.RUNNING)]

    def ask(*chosen: Invoice) -> str:
        keys = [task.pk for task in chosen]
        question = {"action": "delete_selected", "_selected_action": keys}
        return text(superuser.post(url(Invoice), question))

    assert "2 of the tasks are running. Deleting them does not stop" in ask(*tasks)
    assert "1 of the tasks is running. Deleting it does not stop" in ask(*tasks[:2])
    assert "running" not in ask(pending_task)
    assert Invoice.objects.count() == 3


def test_what_cannot_be_deleted_is_not_said_to_be_running(superuser, running_task) -> None:
    running_task.hold("a lawsuit")
    chosen = {"action": "delete_selected", "_selected_action": [running_task.pk]}

    page = text(superuser.post(url(Invoice), chosen))

    assert ON_HOLD in page
    assert "does not stop" not in page


def test_the_warning_takes_no_statement(superuser, running_task, monkeypatch) -> None:
    question = {"action": "delete_selected", "_selected_action": [running_task.pk]}

    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            superuser.post(url(Invoice), question)
        return len(queries)

    with_warning = statements()
    monkeypatch.setattr(delete_protection, "add_warning", lambda _response: None)

    assert with_warning == statements()
