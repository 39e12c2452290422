"""Any life of tasks leaves the same rows, events and digests through both stores of PostgreSQL."""

import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F

from django_simpletask3.context import task_context
from django_simpletask3.db import backends, clock
from django_simpletask3.db.postgresql.store import PostgresStore
from django_simpletask3.db.store import Store
from django_simpletask3.exceptions import TaskHeld
from django_simpletask3.ledger.projection import broken_links, fold
from django_simpletask3.states import EVENTS, EventKind, Holder
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.transition import Transition, known_row
from django_simpletask3.transitions.writer import apply_all
from tests.steps import projection_of, row_of, stream_of
from tests.testapp.models import ForeignInvoice, Invoice, PaidInvoice

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="one store here"),
]

START = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
MODELS = [Invoice, Invoice, PaidInvoice, ForeignInvoice]
TEXTS = ["", "é\u2028\"'\\%s {0}", "{params}", "x" * 64, None]
TIMES = [None, START + timedelta(days=400), START.replace(microsecond=1), START]
RESULTS = [
    *(
        None,
        0,
        -0.0,
        float("nan"),
        True,
        "",
        "\x00\ud800",
        Decimal("1.10"),
        START,
        [1, {"a": None}],
    ),
    *({"error": "head"}, {1: 2}, {"__simpletask3__": "set"}, "y" * 3000, {3}),
]
KINDS = [kind for kind in EventKind if kind not in (EventKind.ENQUEUE, EventKind.DELETE)]
#: Kinds that can happen often come more often: else most would be refused.
WEIGHTS = [8 if kind in (EventKind.START, EventKind.NOTE, EventKind.RESET) else 1 for kind in KINDS]
TABLES = ("testapp_invoice", "testapp_foreigninvoice", "testapp_invoiceevent")
#: Set by Django's clock, or in whatever order a statement inserts its rows.
NOT_COMPARED = {
    "testapp_invoice": ("add_time", "mod_time"),
    "testapp_foreigninvoice": (),
    "testapp_invoiceevent": ("id",),
}


class Life:
    """What happens to the tasks of one run; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.now = START
        self.outcomes: list[object] = []

    def live(self) -> list[object]:
        """Every outcome, then every row and event."""
        with_weights = {
            self.enqueue: 2,
            self.insert: 1,
            self.move: 4,
            self.finish: 3,
            self.delete: 1,
        }
        self.enqueue()
        for step in self.draw.choices(list(with_weights), list(with_weights.values()), k=20):
            self.now += timedelta(seconds=self.draw.random())
            with task_context(actor=self.draw.choice(["", "é"]), step=str(step.__name__)):
                step()
        for task in models.QuerySet(Invoice).filter(sequence__gt=0):
            assert fold(stream_of(task)) == projection_of(task)
            assert broken_links(stream_of(task)) == []
        return [*self.outcomes, *(dump(table) for table in TABLES)]

    def make(self, model: type[Any]) -> Any:
        columns = {"amount": self.draw.randrange(-5, 5), "run_after": self.draw.choice(TIMES)}
        return model(task_biz_field=self.draw.choice(TEXTS), check_at=self.now, **columns)

    def enqueue(self) -> None:
        for _ in range(self.draw.randrange(3)):
            self.make(self.draw.choice(MODELS)).save()
        number = self.draw.choice([1, 2, 5])
        Invoice.objects.bulk_create([self.make(Invoice) for _ in range(number)])

    def insert(self) -> None:
        models.QuerySet(Invoice).bulk_create([self.make(Invoice)])

    def tasks(self) -> list[Any]:
        found = list(models.QuerySet(Invoice).order_by("pk"))
        drawn = self.draw.sample(found, min(len(found), self.draw.choice([1, 2, 6])))
        children = {child.pk: child for child in models.QuerySet(ForeignInvoice)}
        return [children.get(task.pk, task) for task in drawn]

    def move(self) -> None:
        """Any kinds, under lock; several of one row follow each other."""
        tasks = self.draw.choices(self.tasks()[:3], k=6)
        moves = map(self.transition, tasks, self.draw.choices(KINDS, WEIGHTS, k=6))
        self.apply(apply_all, list(moves))

    def finish(self) -> None:
        """As a worker does: rows are written without being read, where they can."""
        for kind in (EventKind.START, self.draw.choice([EventKind.ACK, EventKind.RETRY])):
            tasks = self.tasks()
            self.apply(apply_each, [self.transition(t, kind, is_known=True) for t in tasks])

    def delete(self) -> None:
        with suppress(TaskHeld):
            self.outcomes.append(self.tasks()[0].delete()[0])

    def transition(self, task: Any, kind: EventKind, *, is_known: bool = False) -> Transition:
        values: dict[str, Any] = {}
        if EVENTS[kind].changes_state:
            values = self.draw.choice([{}, {"amount": 7}, {"amount": F("amount") + 1}])
            if isinstance(task, ForeignInvoice):
                values = {**values, **self.draw.choice([{}, {"currency": "'%s"}])}
        return Transition(
            task,
            kind,
            worker=self.draw.choice(["w1", "w2"]),
            reason=self.draw.choice(["", "why"]),
            result=self.draw.choice(RESULTS),
            error_data=self.draw.choice([None, {"type": "E", "message": "\x00"}]),
            data={"claim": self.draw.randrange(3)} if kind is EventKind.START else {},
            values=values,
            by_holder=EVENTS[kind].holder is Holder.ALWAYS,
            last_known_row=known_row(task) if is_known else None,
        )

    def apply(self, apply_moves: Callable[..., None], moves: list[Transition]) -> None:
        apply_moves(moves)
        for move in moves:
            event = move.event and (move.event.sequence, move.event.digest)
            row = row_of(move.task)
            self.outcomes.append((event, repr(move.refusal), repr(move.error), row and row.digest))


def dump(table: str) -> list[dict[str, object]]:
    """All rows of a table, as the driver reads them, in the order of their values."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    compared = [n for n in names if n not in NOT_COMPARED[table]]
    return sorted(({n: row[n] for n in compared} for row in rows), key=repr)


@pytest.fixture
def live_with(monkeypatch: Any) -> Callable[..., list[object]]:
    """Have a life with a store, in empty tables whose keys begin with 1."""

    def live(store: type[Store], seed: int) -> list[object]:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
        life = Life(seed)
        monkeypatch.setitem(backends._STORES, "postgresql", store)
        monkeypatch.setattr(clock, "now", lambda using: life.now)
        monkeypatch.setattr(secrets, "token_hex", lambda size: "5a" * size)
        return life.live()

    return live


@pytest.mark.parametrize("seed", range(2))
def test_both_stores_leave_the_same(seed: int, live_with: Callable[..., list[object]]) -> None:
    assert live_with(PostgresStore, seed) == live_with(Store, seed)
