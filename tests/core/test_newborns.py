"""A row and its first event: together, or not at all, in as few statements as the database can."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from django_simpletask3.replay import broken_links
from django_simpletask3.signals import event_recorded, task_enqueued
from tests.core.lives import kinds, saved, stream_of
from tests.zoo.models import ForeignInvoice, Invoice, PaidInvoice, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db(transaction=True)

TERSE = connection.vendor == "postgresql"


def verbs(made: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in made]


def refuse(**_: Any) -> None:
    raise ValueError("not this one")


def test_a_task_that_nobody_watches_is_saved_by_one_statement() -> None:
    with CaptureQueriesContext(connection) as made:
        Invoice(amount=3).save()

    assert verbs(made) == (["WITH"] if TERSE else ["BEGIN", "INSERT", "INSERT", "COMMIT"])


def test_a_task_in_a_transaction_of_somebody_is_saved_within_it() -> None:
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


@pytest.mark.parametrize("model", [Invoice, PaidInvoice, ForeignInvoice, UuidKeyed, TextKeyed])
def test_the_event_that_is_told_is_the_one_that_stands(model: Any, request: Any) -> None:
    told: list[Any] = []
    receiver = lambda event, **_: told.append(event)  # noqa: E731
    task_enqueued.connect(receiver, sender=model)
    request.addfinalizer(lambda: task_enqueued.disconnect(receiver, sender=model))

    task = saved(model)

    [event] = stream_of(task)
    assert [(one.pk, one.task_id, one.digest) for one in told] == [(event.pk, task.pk, task.digest)]
    assert (kinds(task), broken_links([event])) == (["enqueue"], [])
