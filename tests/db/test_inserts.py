"""A row and its first event: together, or not at all, in as few statements as the database can."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Now, Upper
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.signals import event_recorded, task_enqueued
from tests.steps import create_task, kinds, stream_of
from tests.testapp.models import (
    ForeignInvoice,
    Invoice,
    Odd,
    PaidInvoice,
    Scripted,
    TextKeyed,
    UuidKeyed,
)

pytestmark = pytest.mark.django_db(transaction=True)

TERSE = connection.vendor == "postgresql"


def verbs(made: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in made]


def _save() -> None:
    Odd(span=timedelta(1)).save()


def _bulk() -> None:
    Odd.objects.bulk_create([Odd(span=timedelta(1))])


def refuse(**_: Any) -> None:
    raise ValueError("not this one")


def test_a_task_without_receivers_is_saved_by_one_statement() -> None:
    with CaptureQueriesContext(connection) as made:
        Invoice(amount=3).save()

    assert verbs(made) == (["WITH"] if TERSE else ["BEGIN", "INSERT", "INSERT", "COMMIT"])


@pytest.mark.parametrize(
    "script", [{"a": ["é", None, "\u2028'%s"]}, ["x", 1], "x", "", 0, 1.5, True]
)
def test_json_is_stored_alike_alone_and_in_bulk(script: Any) -> None:
    one = Scripted(script=script)
    one.save()
    [other] = Scripted.objects.bulk_create([Scripted(script=script)])

    assert [Scripted.objects.get(pk=task.pk).script for task in (one, other)] == [script] * 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(script AS char(60)) FROM testapp_scripted")
        assert len(set(cursor.fetchall())) == 1


def test_a_task_in_an_open_transaction_is_saved_within_it() -> None:
    def save_and_refuse() -> None:
        with transaction.atomic():
            Invoice().save()
            refuse()

    with pytest.raises(ValueError, match="not this one"):
        save_and_refuse()

    assert Invoice.objects.count() == 0
    assert Invoice.event_model.objects.count() == 0


@pytest.mark.parametrize("signal", [post_save, event_recorded], ids=["post_save", "event_recorded"])
def test_a_receiver_that_raises_undoes_row_and_event(signal: Any, request: Any) -> None:
    signal.connect(refuse, sender=Invoice)
    request.addfinalizer(lambda: signal.disconnect(refuse, sender=Invoice))

    with pytest.raises(ValueError, match="not this one"):
        Invoice().save()

    assert Invoice.objects.count() == 0
    assert Invoice.event_model.objects.count() == 0


def test_what_receivers_of_pre_save_write_is_in_the_transaction_of_the_row(request: Any) -> None:
    seen: list[bool] = []
    receiver = lambda **_: seen.append(connection.in_atomic_block)  # noqa: E731
    pre_save.connect(receiver, sender=Invoice)
    request.addfinalizer(lambda: pre_save.disconnect(receiver, sender=Invoice))

    Invoice().save()

    assert seen == [True]


def test_a_bulk_of_one_is_a_transaction() -> None:
    with CaptureQueriesContext(connection) as made:
        Invoice.objects.bulk_enqueue([{"amount": 3}])

    assert (verbs(made)[0], verbs(made)[-1]) == ("BEGIN", "COMMIT")


@pytest.mark.parametrize(
    "make", [lambda: Odd(span=timedelta(1)).save(), _bulk], ids=["save", "bulk"]
)
def test_columns_that_are_not_plain_are_written_by_django(make: Any) -> None:
    with CaptureQueriesContext(connection) as made:
        make()

    task = Odd.objects.get()
    assert (verbs(made)[0], verbs(made)[-1]) == ("BEGIN", "COMMIT")
    assert (task.span, task.mirrored, task.doubled) == (timedelta(1), "", 0)
    assert kinds(task) == ["enqueue"]


def test_a_field_class_of_the_user_decides_what_is_stored() -> None:
    Odd.objects.bulk_create([Odd(mirrored="abc"), Odd(mirrored="abc")])

    with connection.cursor() as cursor:
        cursor.execute("SELECT mirrored FROM testapp_odd")
        stored = {str(text).strip('"') for (text,) in cursor.fetchall()}
    assert stored == {"cba"}


def test_a_task_that_could_not_be_saved_keeps_nothing_of_it() -> None:
    task = Invoice(amount="no number")

    with pytest.raises(ValueError, match="no number"):
        task.save()

    assert not [name for name in vars(task) if "event" in name]


@pytest.mark.parametrize("model", [Invoice, PaidInvoice, ForeignInvoice, UuidKeyed, TextKeyed])
def test_the_event_that_is_reported_is_the_one_that_stands(model: Any, request: Any) -> None:
    reported: list[Any] = []
    receiver = lambda event, **_: reported.append(event)  # noqa: E731
    task_enqueued.connect(receiver, sender=model)
    request.addfinalizer(lambda: task_enqueued.disconnect(receiver, sender=model))

    task = create_task(model)

    [event] = stream_of(task)
    assert [(one.pk, one.task_id, one.digest) for one in reported] == [
        (event.pk, task.pk, task.digest)
    ]
    assert (kinds(task), broken_links([event])) == (["enqueue"], [])


@pytest.mark.parametrize("batch_size", [None, 1], ids=["one statement", "one each"])
def test_expressions_in_a_later_row_of_a_bulk_are_what_the_database_makes_of_them(
    batch_size: int | None,
) -> None:
    plain = Invoice(amount=1, task_biz_field="plain")
    computed = Invoice(
        amount=Value(40) + Value(2), task_biz_field=Upper(Value("late")), run_after=Now()
    )

    Invoice.objects.bulk_create([plain, computed, Invoice(amount=3)], batch_size=batch_size)

    rows = Invoice.objects.order_by("pk")
    found = list(rows.values_list("amount", "task_biz_field"))
    assert found == [(1, "plain"), (42, "LATE"), (3, None)]
    assert abs(timezone.now() - rows[1].run_after) < timedelta(minutes=5)
    assert [kinds(task) for task in rows] == [["enqueue"]] * 3


def test_a_column_that_the_model_leaves_out_of_the_insert_stays_out(monkeypatch: Any) -> None:
    def shortened(self: Any, manager: Any, using: str, fields: Any, *rest: Any, **more: Any) -> Any:
        kept = [field for field in fields if field.name != "run_after"]
        return super(Invoice, self)._do_insert(manager, using, kept, *rest, **more)

    monkeypatch.setattr(Invoice, "_do_insert", shortened, raising=False)
    task = Invoice(run_after=timezone.now() + timedelta(hours=1))
    task.save()

    task.refresh_from_db()
    assert (task.run_after, kinds(task)) == (None, ["enqueue"])
