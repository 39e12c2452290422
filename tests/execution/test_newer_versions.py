"""Rows and events of a newer version, as a node of this version meets them in a rolling deploy."""

import logging
from typing import Any

import pytest
from django.db import models

from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.execution import start
from django_simpletask3.ledger.event import event_model_of, events_of
from django_simpletask3.queue import get_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.steps import create_task, kinds, message_count, row_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"


def started(model: Any) -> list[Any]:
    messages = get_queue().claim(model.get_event_channel(), worker=WORKER, limit=10, lease=60)
    return start.start(model, messages, worker=WORKER, lease=60)[0]


def with_status(task: Any, status: int) -> Any:
    models.QuerySet(type(task)).filter(pk=task.pk).update(status=status)
    return task


@pytest.mark.parametrize("others", [0, 2])
def test_a_row_of_an_unknown_status_is_settled_and_logged(
    others: int, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = with_status(create_task(Invoice), 7)
    known = [create_task(Invoice) for _ in range(others)]

    with caplog.at_level(logging.WARNING):
        runs = started(Invoice)

    assert [run.task.pk for run in runs] == [task.pk for task in known]
    assert (row_of(unknown).status, kinds(unknown)) == (7, ["enqueue"])
    assert message_count(unknown) == 0
    assert f"unknown_status model=testapp.Invoice pk={unknown.pk} status=7" in caplog.text


@pytest.mark.parametrize("kind", [EventKind.RESET, EventKind.CANCEL, EventKind.RECOVER])
def test_a_row_of_an_unknown_status_is_not_moved(kind: EventKind) -> None:
    task = with_status(create_task(Invoice), 7)

    with pytest.raises(IllegalTransition, match=f"a 7 task cannot {kind}"):
        apply(task, kind)


def test_a_row_of_an_unknown_status_takes_a_note() -> None:
    task = with_status(create_task(Invoice), 7)

    event = apply(task, EventKind.NOTE, reason="seen")

    assert (event.from_status, event.to_status, row_of(task).status) == (7, 7, 7)


def test_a_task_with_an_event_of_an_unknown_kind_is_started() -> None:
    task = create_task(Invoice)
    event = events_of(Invoice, "default").get(task=task.pk)
    values = {field.attname: getattr(event, field.attname) for field in event._meta.fields}
    later = event_model_of(Invoice)(**{**values, "id": None, "sequence": 2, "kind": "later"})
    later.save()
    models.QuerySet(Invoice).filter(pk=task.pk).update(sequence=2)

    [run] = started(Invoice)

    assert run.task.status == Status.RUNNING
    assert kinds(task) == ["enqueue", "later", "start"]
