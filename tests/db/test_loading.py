"""Rows are loaded as Django loads them, whichever query reads them."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.contrib.tasks.models import queue_models
from django_simpletask3.db.loading import load_instances, load_tasks, models_of_rows
from django_simpletask3.db.postgresql.reader import _build_reader
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.models.queryset import rows_of
from tests.steps import TASK_MODELS, create_task, label_of
from tests.testapp.models import ForeignInvoice, Invoice, Numbered, Odd, PaidInvoice, Secret

pytestmark = pytest.mark.django_db(databases="__all__")


def said(task: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(task).items() if name != "_state"}


@pytest.mark.parametrize(
    "model", [m for m in TASK_MODELS if m._meta.label != "testapp.Elsewhere"], ids=label_of
)
def test_rows_are_as_django_reads_them(model: Any) -> None:
    tasks = [create_task(model) for _ in range(3)]
    rows = model._base_manager.defer("result_data", "error_data")

    found = load_instances(model, "default", [task.pk for task in tasks[:2]])

    expected = {task.pk: said(task) for task in rows.filter(pk__in=[t.pk for t in tasks[:2]])}
    assert {task.pk: said(task) for task in found} == expected
    assert {type(task) for task in found} == {model}
    if connection.vendor == "postgresql":
        assert _build_reader(model, "default") is not None
    assert not any(task._state.adding for task in found)
    assert {task._state.db for task in found} == {"default"}


def test_columns_are_converted_as_their_fields_say() -> None:
    task = create_task(Odd, mirrored="abc", amount=4)

    [found] = load_instances(Odd, "default", [task.pk])

    assert (found.mirrored, found.doubled) == ("abc", 8)


def test_a_key_that_no_row_can_have_finds_none() -> None:
    task = create_task(Numbered)

    assert load_instances(Numbered, "default", [2**40, task.pk]) == [task]


def test_a_manager_that_hides_rows_hides_none() -> None:
    task = create_task(Secret)
    assert task not in Secret.objects.all()

    assert load_instances(Secret, "default", [task.pk]) == [task]


def test_results_are_read_when_they_are_asked_for() -> None:
    [found] = load_instances(Invoice, "default", [create_task(Invoice).pk])

    assert found.get_deferred_fields() == {"result_data", "error_data"}
    assert found.result_data is None


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Django words the question here")
def test_the_reading_is_the_same_for_any_number_of_rows() -> None:
    keys = [create_task(Invoice).pk for _ in range(4)]

    with CaptureQueriesContext(connection) as asked:
        for count in (1, 4):
            assert len(load_instances(Invoice, "default", keys[:count])) == count

    assert len({query["sql"].partition("ANY")[0] for query in asked}) == 1
    assert all("= ANY(" in query["sql"] for query in asked)


@pytest.mark.parametrize("models", [[Invoice, PaidInvoice, ForeignInvoice], queue_models()])
def test_the_models_of_rows_are_those_of_the_tasks_that_are_loaded(models: Any) -> None:
    for model in models:
        queue = {"queue_name": model._queue_name} if model._queue_name else {}
        create_task(model, **queue)
    root = table_model(models[0])
    pks = list(rows_of(root, "default").values_list("pk", flat=True))

    with CaptureQueriesContext(connection) as statements:
        found = models_of_rows(root, "default", pks)

    assert found == {task.pk: type(task) for task in load_tasks(root, "default", pks)}
    assert set(found.values()) == set(models)
    assert len(statements) <= 2
