"""The status command says why the oldest waiting task of each table does not run."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.utils import translation

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.monitoring.health import snapshot
from django_simpletask3.monitoring.health_types import TableHealth
from django_simpletask3.monitoring.oldest_tasks import explain_oldest
from django_simpletask3.states import EventKind, Status
from tests.monitoring.test_health import reported, table_of
from tests.steps import TABLES, apply_kinds, bring_to, create_task, run_command
from tests.testapp.models import Elsewhere, Invoice, Ledger, PaidInvoice, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db(transaction=True)

command = partial(run_command, "django-simpletask3-status")


def explained(model: Any) -> TableHealth:
    return table_of(explain_oldest(snapshot()), model)


def test_the_oldest_task_is_the_one_that_waits_longest(redis_url: str) -> None:
    reported()
    tasks = [Invoice.objects.create() for _ in range(3)]
    bring_to(Invoice.objects.create(), Status.RUNNING)
    hour_ago = clock.now("default") - timedelta(hours=1)
    rows_of(Invoice, "default").filter(pk=tasks[1].pk).update_managed(mod_time=hour_ago)

    table = explained(Invoice)

    assert (table.oldest, table.cause) == (str(tasks[1].pk), "queued")
    assert table.explanation == "It waits behind 1 other task of its queue."


def test_a_table_without_waiting_tasks_has_no_oldest_one(redis_url: str) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.enqueue(blocked=True)

    table = explained(Invoice)

    assert (table.oldest, table.cause, table.explanation) == (None, None, None)


def test_a_task_that_is_due_first_is_the_oldest_if_none_is_due(redis_url: str) -> None:
    reported()
    Invoice.objects.create(run_after=timedelta(days=2))
    first = Invoice.objects.create(run_after=timedelta(hours=5, minutes=30))

    table = explained(Invoice)

    assert (table.oldest, table.cause) == (str(first.pk), "not_due")
    assert str(table.explanation).startswith("It is due in 5 h")


def test_a_task_that_started_meanwhile_is_not_explained(redis_url: str) -> None:
    task = Invoice.objects.create()
    health = snapshot()
    apply_kinds(task, EventKind.START)

    table = table_of(explain_oldest(health), Invoice)

    assert (table.oldest, table.cause, table.explanation) == (str(task.pk), None, None)


def test_a_pause_and_its_reason_are_named(redis_url: str) -> None:
    Invoice.objects.create()
    with task_context(actor="ada"):
        control.pause(Invoice, "stocktaking")

    table = explained(Invoice)

    assert table.cause == "paused"
    assert str(table.explanation).endswith("(ada: stocktaking).")


def test_the_oldest_task_is_explained_as_the_model_that_was_saved(redis_url: str) -> None:
    reported()
    PaidInvoice.objects.create()
    control.pause(PaidInvoice)

    assert explained(Invoice).cause == "paused"


def test_a_failed_attempt_is_named(redis_url: str) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    error = {"type": "TimeoutError", "message": "no answer", "traceback": ""}
    due = clock.now("default") + timedelta(hours=1)
    apply_kinds(task, EventKind.RETRY, error_data=error, values={"run_after": due})

    assert "TimeoutError: no answer" in str(explained(Invoice).explanation)


@pytest.mark.parametrize("model", [TextKeyed, UuidKeyed, Ledger])
def test_a_key_of_any_type_is_written_as_python_does(redis_url: str, model: Any) -> None:
    reported()
    task = create_task(model)

    table = explained(model)

    assert (table.oldest, table.cause) == (str(task.pk), "queued")


def test_all_tables_are_explained_by_two_queries_for_each_database(
    redis_url: str, django_assert_max_num_queries: Any
) -> None:
    reported()
    for model in TABLES:
        create_task(model)
        create_task(model)
    health = snapshot()

    with (
        django_assert_max_num_queries(2, connection=connections["default"]),
        django_assert_max_num_queries(2, connection=connections["other"]),
    ):
        found = explain_oldest(health)

    causes = {table.cause for table in found.tables if table.pending}
    assert causes == {"queued"}


def test_without_redis_the_explanation_says_so(settings: Any) -> None:
    Invoice.objects.create()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    assert explained(Invoice).cause == "redis_unavailable"


def test_a_database_that_goes_away_leaves_the_others_explained(
    redis_url: str, request: pytest.FixtureRequest
) -> None:
    reported()
    Invoice.objects.create()
    Elsewhere.objects.create()
    health = snapshot()
    request.getfixturevalue("other_is_away")

    found = explain_oldest(health)

    causes = {(t.model, t.database): t.cause for t in found.tables}
    assert causes["testapp.Invoice", "default"] == "queued"
    assert causes["testapp.Elsewhere", "other"] is None


def test_the_command_prints_the_explanation_for_people_and_for_programs(redis_url: str) -> None:
    reported()
    task = Invoice.objects.create()

    with translation.override("zh-hans"):
        printed, _ = command()
        document = json.loads(command("--json")[0])

    sentence = "It is the next task of its queue, and waits for a free thread."
    assert f"Oldest    testapp.Invoice {task.pk} (default): {sentence}" in printed.splitlines()
    [table] = [table for table in document["tables"] if table["model"] == "testapp.Invoice"]
    assert (table["oldest"], table["cause"]) == (str(task.pk), "queued")
    assert table["explanation"] == sentence


def test_the_command_says_nothing_of_tables_without_waiting_tasks(redis_url: str) -> None:
    reported()

    assert "Oldest" not in command()[0]
