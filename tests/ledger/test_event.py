"""The stream beside every task table: its model, its seal, and that it only grows."""

import copy
import pickle
import sys
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction
from django.db.models.signals import post_init, pre_init

from django_simpletask3.exceptions import AppendOnly
from django_simpletask3.ledger.event import event_model_of, events_of
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.models import TaskEvent
from django_simpletask3.states import EventKind, Status
from tests.steps import (
    TABLES,
    TASK_MODELS,
    apply_kinds,
    bring_to,
    create_task,
    kinds,
    label_of,
    row_of,
    stream_of,
)
from tests.testapp import models as testapp
from tests.testapp.models import Audited, AuditEntry, Invoice

SEALED = {
    "sequence": 9,
    "kind": EventKind.DROP,
    "from_status": Status.CANCELED,
    "to_status": Status.CANCELED,
    "attempt": 7,
    "event_time": None,
    "worker": "w2",
    "actor": "bob",
    "reason": "another",
    "data": {"a": 2},
    "digest": "0" * 64,
    "task_id": None,
}


@pytest.fixture
def long_stream(db: None) -> Any:
    """A task to which a lot has happened; its neighbour's stream is as long."""
    for _ in range(2):
        task = bring_to(create_task(Invoice), Status.SUCCESS)
        task.note("halfway", a=1)
        task.reset()
        apply_kinds(task, EventKind.START, EventKind.FAIL, error_data={"type": "E", "message": "m"})
    return task


def rewritten(event: Any, **columns: Any) -> None:
    """Change a row of the stream past everything that forbids it."""
    models.QuerySet(type(event)).filter(pk=event.pk).update(**columns)


@pytest.mark.parametrize("model", [m for m in TABLES if m is not Audited], ids=label_of)
def test_a_companion_stands_beside_its_model(model: type[Any]) -> None:
    companion = model.event_model

    assert companion.__name__ == companion.__qualname__ == f"{model.__name__}Event"
    assert getattr(sys.modules[model.__module__], companion.__name__) is companion
    assert companion._meta.app_label == model._meta.app_label
    assert companion.__mro__[1:3] == (TaskEvent, models.Model)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_proxies_and_children_share_the_stream_of_their_root(model: type[Any]) -> None:
    root = table_model(model)

    assert not root._meta.proxy
    assert model.event_model is event_model_of(root) is root.event_model
    assert root._meta.get_field("sequence").model is root


def test_a_model_may_have_an_event_model_of_its_own() -> None:
    assert Audited.event_model is AuditEntry
    assert not hasattr(testapp, "AuditedEvent")


@pytest.mark.django_db
def test_an_event_model_of_its_own_may_have_columns_of_its_own() -> None:
    task = bring_to(create_task(Audited), Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "ack"]
    assert [event.reviewed for event in task.events.all()] == [False] * 3
    assert [event.is_first for event in task.events.all()] == [True, False, False]


@pytest.mark.django_db
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_events_are_reached_from_the_task_and_the_task_from_its_events(model: type[Any]) -> None:
    task = bring_to(create_task(model), Status.RUNNING)

    found = list(task.events.all())

    assert [event.sequence for event in found] == [1, 2]
    assert found == stream_of(task)
    assert all(event.task_id == task.pk for event in found)
    assert found[0].task.pk == task.pk


@pytest.mark.django_db
@pytest.mark.parametrize("model", TABLES, ids=label_of)
def test_an_event_reaches_another_process_whole(model: type[Any]) -> None:
    event = stream_of(create_task(model))[0]

    arrived = pickle.loads(pickle.dumps(event))

    assert type(arrived) is type(event)
    assert arrived.expected_digest("") == event.digest == copy.deepcopy(event).digest


@pytest.mark.django_db
def test_an_event_says_of_which_task_it_is_which_one_and_what() -> None:
    task = create_task(Invoice)

    assert str(stream_of(task)[0]) == f"{task.pk} #1 enqueue"


def is_found(task: Any) -> bool:
    """Whether the stream of ``task`` shows by itself, or by its row, that it is not what it was."""
    events = stream_of(task)
    return bool(broken_links(events)) or row_of(task).digest != events[-1].digest


FORBIDDEN = {
    "save": lambda event, events: event.save(),
    "save some columns": lambda event, events: event.save(update_fields=["reason"]),
    "delete": lambda event, events: event.delete(),
    "update": lambda event, events: events.update(reason="x"),
    "update all": lambda event, events: type(event).objects.update(reason="x"),
    "delete all": lambda event, events: events.all().delete(),
    "bulk_update": lambda event, events: events.bulk_update([event], ["reason"]),
    "update_or_create": lambda event, events: events.update_or_create(
        sequence=1, defaults={"reason": "x"}
    ),
    "bulk_create over it": lambda event, events: type(event).objects.bulk_create(
        [event], update_conflicts=True, unique_fields=["id"], update_fields=["reason"]
    ),
}


@pytest.mark.parametrize("way", FORBIDDEN)
def test_an_event_is_neither_changed_nor_removed(way: str, long_stream: Any) -> None:
    before = [vars(event) | {"_state": None} for event in stream_of(long_stream)]
    event = stream_of(long_stream)[1]
    event.reason = "x"

    with pytest.raises(AppendOnly), transaction.atomic():
        FORBIDDEN[way](event, long_stream.events)

    assert [vars(event) | {"_state": None} for event in stream_of(long_stream)] == before


def test_two_events_never_have_the_same_number(long_stream: Any) -> None:
    twin = copy.copy(stream_of(long_stream)[1])
    twin.pk, twin._state.adding = None, True

    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save()


def test_an_untouched_stream_holds(long_stream: Any) -> None:
    events = stream_of(long_stream)

    assert not is_found(long_stream)
    assert len({event.digest for event in events}) == len(events) == 7


def test_every_column_of_an_event_is_under_the_seal() -> None:
    columns = {field.attname for field in testapp.InvoiceEvent._meta.concrete_fields}

    assert columns == {"id", *SEALED}


@pytest.mark.parametrize("column", SEALED)
@pytest.mark.parametrize("number", range(7))
def test_a_changed_event_is_found(number: int, column: str, long_stream: Any) -> None:
    event = stream_of(long_stream)[number]
    values = {**SEALED, "event_time": event.event_time.replace(year=2001), "task_id": 10**6}

    rewritten(event, **{column: values[column]})

    assert is_found(long_stream)


@pytest.mark.parametrize("number", range(7))
def test_a_removed_event_is_found(number: int, long_stream: Any) -> None:
    event = stream_of(long_stream)[number]

    events_of(Invoice, None).filter(pk=event.pk).delete()

    assert is_found(long_stream)
    assert bool(broken_links(stream_of(long_stream))) == (number < 6)


def test_an_inserted_event_is_found(long_stream: Any) -> None:
    last = stream_of(long_stream)[-1]
    inserted = copy.copy(last)
    inserted.pk, inserted._state.adding, inserted.sequence = None, True, last.sequence + 1
    inserted.digest = inserted.expected_digest(last.digest)

    inserted.save()

    assert broken_links(stream_of(long_stream)) == []
    assert is_found(long_stream)


def test_a_gap_in_the_numbers_is_found_also_if_the_seals_fit(long_stream: Any) -> None:
    *_, before, last = stream_of(long_stream)
    last.sequence += 1

    rewritten(last, sequence=last.sequence, digest=last.expected_digest(before.digest))

    assert broken_links(stream_of(long_stream)) == [8]


def test_exchanged_streams_are_found(long_stream: Any) -> None:
    other = Invoice.objects.exclude(pk=long_stream.pk).get()
    ours, theirs = stream_of(long_stream), stream_of(other)
    for event in ours:
        rewritten(event, task=-1)
    for event in theirs:
        rewritten(event, task=long_stream.pk)

    assert broken_links(stream_of(long_stream))[0] == 2


def test_streams_are_read_in_the_order_of_their_numbers(long_stream: Any) -> None:
    first, *_, last = stream_of(long_stream)
    rewritten(first, event_time=last.event_time.replace(year=2099))

    found = list(events_of(Invoice, None).values_list("task_id", "sequence"))

    assert found == sorted(found)
    assert [event.sequence for event in long_stream.events.all()] == list(range(1, 8))


@pytest.mark.django_db
def test_an_event_model_with_a_constructor_of_its_own_is_reported_by_name(monkeypatch) -> None:
    made = Invoice.event_model.__init__

    def tenanted(self: Any, *args: Any, **kwargs: Any) -> None:
        if not args:
            kwargs["reason"] = "of tenant 7"
        made(self, *args, **kwargs)

    monkeypatch.setattr(Invoice.event_model, "__init__", tenanted)

    task = Invoice.objects.create()

    assert [event.reason for event in task.events.all()] == ["of tenant 7"]
    assert broken_links(task.events.all()) == []


@pytest.mark.django_db
@pytest.mark.parametrize("signal", [pre_init, post_init], ids=["pre_init", "post_init"])
def test_the_one_who_listens_to_new_instances_receives_of_events(signal: Any, request: Any) -> None:
    received: list[Any] = []
    listen = lambda **_: received.append(1)  # noqa: E731
    model = event_model_of(Invoice)
    signal.connect(listen, sender=model)
    request.addfinalizer(lambda: signal.disconnect(listen, sender=model))

    create_task(Invoice)

    assert received
