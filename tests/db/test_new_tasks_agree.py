"""New tasks leave the same rows, events and digests however much of the work is done at once."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.db.models import Value
from django.utils import timezone

from django_simpletask3.context import task_context
from django_simpletask3.db import backends, fast_instances
from django_simpletask3.db.store import Store
from django_simpletask3.exceptions import InvalidKey
from django_simpletask3.ledger import projection
from django_simpletask3.ledger.digests import SALT_KEY
from django_simpletask3.ledger.outbox import Delivery
from django_simpletask3.ledger.subscribers import subscribe, unsubscribe
from django_simpletask3.signals import event_recorded, task_enqueued
from django_simpletask3.testing.clock import task_clock
from django_simpletask3.transitions.new_tasks import first_event
from django_simpletask3.transitions.new_tasks import plain as plain_tasks
from tests.steps import label_of, row_of, stream_of
from tests.testapp.models import (
    Audited,
    Bill,
    Document,
    Errand,
    FlashOffer,
    Invoice,
    Letter,
    Numbered,
    Odd,
    Offer,
    PaidInvoice,
    Parcel,
    Reminder,
    Scripted,
    Step,
    TextKeyed,
    UuidKeyed,
)

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
LATER = START + timedelta(days=1)
EXPIRING = (Offer, FlashOffer, Errand)

#: For each model, what its columns may be; those of other tasks are left out of the dict.
COLUMNS: dict[Any, dict[str, list[Any]]] = {
    Invoice: {"amount": [1, -2, 3], "task_biz_field": [None, "", "é\u2028%s"], "fails": [True]},
    PaidInvoice: {"amount": [1, 2]},
    Scripted: {"script": [{"a": [1]}, [], "text", 0]},
    Reminder: {"text": ["one", "two"]},
    Odd: {"amount": [1, 2], "span": [None, timedelta(1)], "mirrored": ["abc"]},
    Parcel: {"weight": [0.5, 2]},
    Document: {"labels": [{"a": 1}], "upload": ["", "documents/a"]},
    Letter: {"pages": [1, 2], "customer": [None], "customer_id": [None]},
    Audited: {},
    Numbered: {"number": [None]},
    Step: {"script": [{"do": "value"}]},
    UuidKeyed: {"id": [UUID(int=1)]},
    TextKeyed: {"id": ["a"]},
    Offer: {"script": [{}], "expires_at": [LATER, None, timedelta(hours=2)]},
    FlashOffer: {"expires_at": [LATER, None]},
    Errand: {"customer": ["a", "b"], "expires_at": [LATER]},
    Bill: {"number": ["1"], "amount": [1, "2.50"], "due": [None, START]},
}
ANY_COLUMNS: dict[str, list[Any]] = {
    "run_after": [None, LATER, timedelta(hours=1), 60, START.astimezone(), LATER],
    "priority": [0, 5, -5],
}
CONTEXTS: list[dict[str, Any]] = [
    *({}, {}, {"actor": "é"}, {"reason": "why", "request": "r1", "parts": [1, {"a": None}]}),
    *({"payload": "secret"}, {"actor": "x", "payload": {"a": 1}}),
]


class Bulk:
    """A bulk of tasks of one model and what is around it; the same for the same seed."""

    def __init__(self, model: type[Any], seed: int) -> None:
        draw = self._draw = Random(f"{model.__name__} {seed}")
        self.model = model
        self.rows = [self._columns(number) for number in range(draw.choice([1, 2, 7]))]
        self.context = draw.choice(CONTEXTS)
        self.options: dict[str, Any] = {"batch_size": draw.choice([None, 2, 100])}
        if draw.random() < 0.3:
            self.options["blocked"] = draw.choice([True, "later"])
        if model in EXPIRING and draw.random() < 0.5:
            self.options["expires"] = draw.choice([LATER, 90, timedelta(days=2)])
        self.has_receivers, self.has_subscriber = draw.random() < 0.3, draw.random() < 0.3
        self.atomic_blocks = draw.choice([0, 0, 1, 2])
        self.from_instances = draw.random() < 0.4
        self.way: Callable[..., list[Any]] = self._enqueue_in_bulk
        self.seen: list[Any] = []

    def _columns(self, number: int) -> dict[str, Any]:
        draw = self._draw
        columns = {
            name: draw.choice(values)
            for name, values in (COLUMNS[self.model] | ANY_COLUMNS).items()
            if draw.random() < 0.4
        }
        if self.model is Letter and "customer" in columns:
            columns.pop("customer_id", None)
        if self.model is Invoice and draw.random() < 0.1:
            columns["amount"] = Value(40) + Value(2)
        # Of their own, if they are to be unique.
        own = {UuidKeyed: ("id", UUID(int=number)), TextKeyed: ("id", f"k{number}")}
        if self.model in own and (self.model is TextKeyed or "id" in columns):
            name, columns[name] = own[self.model][0], own[self.model][1]
        if self.model is Bill:
            columns["number"] = draw.choice([None, str(number)])
        return columns

    def enqueue(self) -> Any:
        """All that the bulk leaves: instances, rows, streams, deliveries, what receivers saw."""
        with ExitStack() as around:
            around.enter_context(task_context(**self.context))
            around.enter_context(self._listeners())
            for _ in range(self.atomic_blocks):
                around.enter_context(transaction.atomic())
            tasks = self.way()
        streams = [stream_of(task) for task in tasks]
        assert all(projection.broken_links(stream) == [] for stream in streams)
        order = {task.pk: n for n, task in enumerate(tasks)}
        pks = {event.pk for stream in streams for event in stream}
        assert len(pks) == sum(map(len, streams))
        assert all(event.pk in pks and event.task_id in order for _, event in self.seen)
        return {
            "instances": [plain(task) for task in tasks],
            "rows": [plain(row_of(task)) for task in tasks],
            "streams": [[plain(event) for event in stream] for stream in streams],
            "seen": [(order[event.task_id], plain(event)) for _, event in self.seen],
            "deliveries": sorted(
                (order_of_key(order, key), *rest)
                for key, *rest in Delivery.objects.values_list("task_key", "sequence", "kind")
            ),
            "same objects": len({id(event) for _, event in self.seen}),
        }

    def _enqueue_in_bulk(self) -> list[Any]:
        made = [self.model(**row) for row in self.rows] if self.from_instances else self.rows
        return list(self.model._default_manager.bulk_enqueue(made, **self.options))

    def save(self) -> list[Any]:
        """The way to save each task by itself, as a user would."""
        tasks = [self.model(**row) for row in self.rows]
        for task in tasks:
            task.save()
        return tasks

    def create(self) -> list[Any]:
        """The way of Django's managers."""
        return [self.model._default_manager.create(**row) for row in self.rows]

    def enqueue_each(self) -> list[Any]:
        """The way of ``enqueue()``."""
        options = {
            name: self.options[name] for name in ("blocked", "expires") & self.options.keys()
        }
        return [self.model.objects.enqueue(**row, **options) for row in self.rows]

    @contextmanager
    def _listeners(self) -> Iterator[None]:
        receiver = lambda task, event, **_: self.seen.append((task, event))  # noqa: E731
        signals = [event_recorded, task_enqueued] if self.has_receivers else []
        for signal in signals:
            signal.connect(receiver, sender=self.model, weak=False)
        if self.has_subscriber:
            subscribe("agree", models=self.model)(lambda task, event: None)
        try:
            yield
        finally:
            for signal in signals:
                signal.disconnect(receiver, sender=self.model)
            if self.has_subscriber:
                unsubscribe("agree")


def order_of_key(order: Mapping[Any, int], key: str) -> int:
    return next(n for pk, n in order.items() if str(pk) == key)


def plain(instance: Any) -> dict[str, Any]:
    """What ``instance`` holds, except keys and what it has from the database alone."""
    fields = instance._meta.concrete_fields
    left_out = {"_state", "_known_columns", "task_id"}
    left_out |= {f.attname for f in fields if f.primary_key or f.generated}
    if isinstance(instance, Errand) and len(instance.customer) == 32:
        left_out.add("customer")  # its default is random
    values = {name: value for name, value in vars(instance).items() if name not in left_out}
    known = sorted(getattr(instance, "_known_columns", ((), (), {}))[2].items())
    state = (instance._state.adding, instance._state.db)
    return {name: repr(value) for name, value in {**values, "known": known, "": state}.items()}


@pytest.fixture
def one_by_one(monkeypatch: Any) -> Callable[[], None]:
    """Have everything done for each task of its own, by Django where it can do it."""

    def patch() -> None:
        monkeypatch.setattr(fast_instances, "may_skip_init", lambda model: False)
        monkeypatch.setattr(first_event, "_is_copyable", lambda task, change: False)
        monkeypatch.setattr(plain_tasks, "_may_be_plain", lambda model: False)
        monkeypatch.setitem(backends._STORES, connection.vendor, Store)

    return patch


@pytest.fixture(autouse=True)
def still_time(monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setattr(timezone, "now", lambda: START)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "5a" * size)
    with task_clock(START):
        yield


def clear(model: type[Any]) -> None:
    with connection.cursor() as cursor:
        for each in (model.event_model, Delivery):
            cursor.execute(f"DELETE FROM {each._meta.db_table}")
    models.QuerySet(model)._raw_delete("default")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model", COLUMNS, ids=label_of)
def test_a_bulk_leaves_what_its_tasks_would_leave_one_by_one(
    model: type[Any], seed: int, one_by_one: Callable[[], None]
) -> None:
    left = Bulk(model, seed).enqueue()
    clear(model)
    one_by_one()

    assert left == Bulk(model, seed).enqueue()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", [Bulk.save, Bulk.create, Bulk.enqueue_each])
@pytest.mark.parametrize("model", COLUMNS, ids=label_of)
def test_each_task_leaves_the_same_by_the_short_way(
    model: type[Any], way: Callable[..., Any], seed: int, one_by_one: Callable[[], None]
) -> None:
    first, second = Bulk(model, seed), Bulk(model, seed)
    first.way, second.way = partial(way, first), partial(way, second)
    left = first.enqueue()
    clear(model)
    one_by_one()

    assert left == second.enqueue()


def enqueue_pair(model: type[Any], first: dict[str, Any], second: dict[str, Any]) -> list[Any]:
    """The first events of two tasks, after one that is as the first."""
    tasks = model.objects.bulk_enqueue([first, first, second])
    assert all(projection.broken_links(stream_of(task)) == [] for task in tasks)
    return [stream_of(task)[-1] for task in tasks[1:]]


def test_tasks_that_are_alike_have_one_digest_and_data_of_their_own() -> None:
    seen: list[Any] = []
    receiver = lambda event, **_: seen.append(event)  # noqa: E731
    event_recorded.connect(receiver, sender=Invoice)
    try:
        with task_context(parts=[1]):
            Invoice.objects.bulk_enqueue([{"amount": 1}, {"amount": 2}])
    finally:
        event_recorded.disconnect(receiver, sender=Invoice)

    first, second = seen
    assert (first.digest, first.data) == (second.digest, second.data)
    assert first.data is not second.data
    assert first.data["parts"] is not second.data["parts"]


def test_the_events_of_tasks_that_are_alike_are_planned_once(monkeypatch: Any) -> None:
    planned: list[Any] = []
    plan = first_event.plan_first_events
    monkeypatch.setattr(
        first_event,
        "plan_first_events",
        lambda task, *rest: (planned.append(task), plan(task, *rest))[1],
    )

    Invoice.objects.bulk_enqueue([{"amount": 1}, {"amount": 2}, {"amount": 3}])

    assert len(planned) <= 1  # the plan may be known from before


def test_each_task_has_the_expiry_that_it_was_given() -> None:
    first, second = enqueue_pair(Offer, {"expires_at": LATER}, {"expires_at": 60})

    moments = [START + timedelta(days=1), START + timedelta(seconds=60)]
    assert [event.data["expires_at"] for event in (first, second)] == [
        moment.isoformat() for moment in moments
    ]


def test_each_task_has_its_unique_key() -> None:
    tasks = Bill.objects.bulk_enqueue([{"number": None}, {"number": "1"}, {"number": "2"}])

    keys = [(stream_of(task)[0].data or {}).get("unique") for task in tasks]
    assert keys == [task.unique_key and str(task.unique_key) for task in tasks]
    assert len(set(keys)) == 3


def test_a_task_goes_on_with_the_stream_of_a_deleted_one() -> None:
    task = TextKeyed(id="b")
    task.save()
    task.delete()

    TextKeyed.objects.bulk_enqueue([{"id": "a"}, {"id": "b"}, {"id": "c"}])

    streams = [stream_of(TextKeyed(id=key)) for key in "abc"]
    assert [len(stream) for stream in streams] == [1, 3, 1]
    assert all(projection.broken_links(stream) == [] for stream in streams)


def test_no_two_tasks_share_a_salt(monkeypatch: Any) -> None:
    numbers = count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers)}")

    with task_context(payload="secret"):
        first, second = enqueue_pair(Invoice, {}, {})

    assert first.data[SALT_KEY] != second.data[SALT_KEY]


class Nameless:
    """Of which no key can be made, but a message can."""

    def __repr__(self) -> str:
        return "Nameless()"

    def __str__(self) -> str:
        raise ValueError("no name")


def test_each_task_of_a_bulk_needs_a_key_for_its_limit() -> None:
    with pytest.raises(InvalidKey, match="no name"):
        Errand.objects.bulk_enqueue([{"customer": "a"}, {"customer": Nameless()}])
