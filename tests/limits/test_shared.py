"""Limits that several models share, and models that have none."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.limits import Limit
from django_simpletask3.limits.maintenance import due_queries
from django_simpletask3.limits.tables import LimitGate
from django_simpletask3.queue import get_queue
from tests.limits.steps import end, errands, start, start_all, statuses
from tests.steps import create_task, has_message, row_of
from tests.testapp.models import Errand, Invoice, PaidInvoice, Scripted, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)


def share(monkeypatch: pytest.MonkeyPatch, *models: Any, running: int = 1) -> None:
    for model in models:
        monkeypatch.setattr(model, "django_simpletask3_limit", Limit(running, name="shared"))


def test_models_share_the_places_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, Errand, TextKeyed)
    [first] = errands(1)
    second, third = create_task(TextKeyed), errands(1)[0]
    [run] = start_all([first, second, third])

    end(run)

    assert statuses([second, third]) == ["PENDING", "BLOCKED"]
    assert has_message(second)
    end(start_all([second])[0])
    assert statuses([third]) == ["PENDING"]


def test_a_proxy_waits_as_what_it_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, Invoice)
    first, second = create_task(PaidInvoice), create_task(PaidInvoice)
    run = start(first)
    assert start(second) is None
    assert run is not None

    end(run)

    assert type(run.task) is PaidInvoice
    assert has_message(second)
    end(start_all([second])[0])
    assert row_of(second).result_data == "paid"


def test_a_cancel_as_another_model_of_the_table_leaves_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PaidInvoice, "django_simpletask3_limit", Limit(1))
    first, second = create_task(PaidInvoice), create_task(PaidInvoice)
    [run] = start_all([first, second])

    Invoice.objects.get(pk=second.pk).cancel()
    end(run)

    assert statuses([second]) == ["CANCELED"]
    assert not LimitGate.objects.get().has_waiters


def test_flushall_costs_no_task_its_place(redis_url: str) -> None:
    tasks = errands(4)
    first, second = start_all(tasks)
    get_queue().db.flushall()

    end(first)
    end(second)

    assert statuses(tasks[2:]) == ["PENDING", "PENDING"]
    assert all(map(has_message, tasks[2:]))
    assert len(start_all(tasks[2:])) == 2


def test_the_life_of_a_task_without_a_limit_touches_no_table_of_limits() -> None:
    task = create_task(Scripted)

    with CaptureQueriesContext(connection) as seen:
        run = start(task)
        assert run is not None
        end(run)
        create_task(Scripted).cancel()

    assert seen.captured_queries
    assert not [q["sql"] for q in seen.captured_queries if "django_simpletask3_limit" in q["sql"]]


def test_without_a_limited_model_the_due_check_asks_for_no_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert due_queries("default")
    monkeypatch.setattr(Errand, "django_simpletask3_limit", None)
    monkeypatch.setattr(FunctionTask, "_declared_limits", list)

    assert due_queries("default") == {}
