"""Who enqueued whom is written on the row and in the stream, and can be followed both ways."""

from typing import Any

import pytest

from django_simpletask3.context import task_context
from django_simpletask3.exceptions import ProjectedColumn
from django_simpletask3.execution.contexts.inherited import inherit_context
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models import SimpleTask, lineage
from tests.testapp.models import Elsewhere, Invoice, PaidInvoice, Parcel, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)


def running(task: SimpleTask) -> Any:
    """Within the block, the body of ``task`` runs."""
    return inherit_context(task)


def test_a_task_saved_by_a_task_function_names_its_parent() -> None:
    with task_context(actor="Ada", order=12):
        parent = Invoice.objects.create()

    with running(parent):
        child = Parcel.objects.create()

    event = child.events.get()
    assert child.parent == f"testapp.Invoice:{parent.pk}"
    assert (event.actor, event.data) == ("Ada", {"order": 12, "parent": child.parent})
    assert lineage.parent_of(child) == parent


def test_a_task_saved_outside_of_a_task_function_has_no_parent() -> None:
    task = Invoice.objects.create()

    assert task.parent is None
    assert lineage.parent_of(task) is None
    assert list(lineage.children_of(task)) == []


def test_children_of_every_model_and_database_are_found() -> None:
    parent = TextKeyed.objects.create(pk="a:b@c")
    with running(parent):
        children = [Invoice.objects.create(), PaidInvoice.objects.create()]
        children += [Parcel.objects.create(), Elsewhere.objects.create()]

    found = list(lineage.children_of(parent))

    assert {(type(one), one.pk) for one in found} == {(type(one), one.pk) for one in children}
    assert all(lineage.parent_of(child) == parent for child in found)


def test_grandchildren_name_their_own_parent() -> None:
    first = Invoice.objects.create()
    with running(first):
        second = Invoice.objects.create()

    with running(second):
        third = Invoice.objects.create()

    assert third.parent == task_reference(second)
    assert third.events.get().data == {"parent": task_reference(second)}


def test_a_key_too_long_for_the_column_is_named_by_its_digest() -> None:
    task = TextKeyed(pk="k" * 250)

    name = task_reference(task)

    assert len(name) <= 255
    assert name.startswith("testapp.TextKeyed#")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "testapp.Invoice",
        "testapp.Nothing:1",
        "testapp.Customer:1",
        "testapp.Invoice@x:1",
        "testapp.Invoice:x",
    ],
)
def test_a_name_that_leads_nowhere_is_no_one(name: str) -> None:
    assert lineage.task_by_reference(name) is None


def test_the_parent_is_not_to_be_written() -> None:
    task = Invoice.objects.create()
    task.parent = "testapp.Invoice:1"

    with pytest.raises(ProjectedColumn, match=r"parent of testapp\.Invoice"):
        task.save()

    assert Invoice.objects.get().parent is None
