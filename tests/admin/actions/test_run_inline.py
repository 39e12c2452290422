"""Tasks that are executed in the web server itself."""

import json
from io import StringIO

import pytest
from django.db import connection

from django_simpletask3.audit.verify import verify_export
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.watch.worker_name import is_known_dead
from tests.admin.pages import EXECUTE_HERE, EXPORT, post_action, shown_messages
from tests.limits.steps import errands, start_all
from tests.steps import bring_to, kinds
from tests.testapp.models import Invoice


def test_a_task_runs_here_and_its_outcome_stands_in_its_row(superuser, pending_task) -> None:
    response = post_action(superuser, EXECUTE_HERE, pending_task, reason="to see it")

    pending_task.refresh_from_db()
    start = pending_task.events.get(kind="start")
    assert pending_task.status == Status.SUCCESS
    assert kinds(pending_task) == ["enqueue", "start", "ack"]
    assert (start.actor, start.reason) == ("root", "to see it")
    assert shown_messages(response) == ["1 task ran here and succeeded."]


def test_a_task_that_raises_fails_and_is_reported(superuser, caplog) -> None:
    task = Invoice.objects.create(fails=True)

    response = post_action(superuser, EXECUTE_HERE, task)

    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert shown_messages(response) == ["1 task ran here and did not succeed."]
    [record] = [record for record in caplog.records if record.exc_info]
    assert (record.name, record.levelname) == ("django_simpletask3.tasks", "ERROR")


@pytest.mark.parametrize("status", set(Status) - {Status.PENDING})
def test_a_task_that_does_not_wait_is_left_alone(superuser, status) -> None:
    task = bring_to(Invoice.objects.create(), status)
    before = kinds(task)

    response = post_action(superuser, EXECUTE_HERE, task)

    assert kinds(task) == before
    assert "left alone" in shown_messages(response)[0]


def test_where_requests_are_transactions_nothing_runs_here(
    superuser, pending_task, monkeypatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    response = post_action(superuser, EXECUTE_HERE, pending_task)

    assert kinds(pending_task) == ["enqueue"]
    assert "with ATOMIC_REQUESTS no task can be executed here" in shown_messages(response)[0]


def test_the_holder_is_this_process_and_lives(superuser, pending_task) -> None:
    post_action(superuser, EXECUTE_HERE, pending_task)

    holder = pending_task.events.get(kind="start").worker
    assert not is_known_dead(holder)
    assert holder.count(":") >= 2


@pytest.mark.django_db(transaction=True)
def test_the_message_of_a_task_that_ran_here_asks_for_nothing(superuser) -> None:
    task = Invoice.objects.create()

    post_action(superuser, EXECUTE_HERE, task)

    (message,) = get_queue().claim(Invoice.get_event_channel(), worker="test", limit=10, lease=60)
    assert message.id == task.get_task_id()
    task.refresh_from_db()
    assert task.status == Status.SUCCESS


def test_the_streams_are_downloaded_and_prove_themselves(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), status) for status in Status]

    response = post_action(superuser, EXPORT, *tasks, reason="for the auditor")

    file = response.file.decode()
    lines = [json.loads(line) for line in file.splitlines()]
    notes = [line for line in lines if line.get("reason") == "for the auditor"]
    assert ".jsonl" in response.headers["Content-Disposition"]
    assert [found.streams for found in verify_export(StringIO(file))] == [len(tasks)]
    assert {note["task"] for note in notes} == {str(task.pk) for task in tasks}


def test_a_task_whose_limit_is_full_waits_for_it_and_that_is_said(superuser) -> None:
    *others, task = errands(3)
    start_all(others)

    response = post_action(superuser, EXECUTE_HERE, task)

    assert shown_messages(response) == [
        "1 task was not run: all places of its limit are taken. It waits for one."
    ]
    assert task.events.last().kind == "block"
