"""Starting the due tasks of a table, without messages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.execution import due_tasks, start
from django_simpletask3.execution.due_tasks import Look, TriedRows, start_from_table
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind
from tests.steps import PAST, create_task, kinds, locked_elsewhere
from tests.testapp.models import ForeignInvoice, Invoice, Ledger, PaidInvoice

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

has_row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="rows cannot be locked")

WORKER = "node:1:token"


def look(limit: int, tried: TriedRows, model: Any = Ledger, **options: Any) -> Look:
    options |= {"worker": WORKER, "lease": 60, "tried": tried}
    return start_from_table(model, "default", limit, **options)


@has_row_locks
def test_a_locked_row_costs_no_other_task_of_the_table_its_start() -> None:
    first, locked, last = (create_task(Ledger) for _ in range(3))
    tried = TriedRows()

    with locked_elsewhere(locked):
        runs, number, postponed = look(3, tried)
        nothing = look(3, tried)

    assert {run.pk for run in runs} == {first.pk, last.pk}
    assert (number, postponed) == (2, 1)
    assert nothing == ([], 0, 1)
    assert [run.pk for run in look(3, tried).runs] == [locked.pk]
    assert {tuple(kinds(task)) for task in (first, locked, last)} == {("enqueue", "start")}
    assert len(tried) == 0


@has_row_locks
def test_the_tasks_behind_a_locked_row_are_started() -> None:
    locked, free = create_task(Ledger, priority=1), create_task(Ledger)

    with locked_elsewhere(locked):
        runs, number, postponed = look(1, TriedRows())

    assert [run.pk for run in runs] == [free.pk]
    assert (number, postponed) == (1, 1)


def test_a_task_of_the_table_that_cannot_start_is_logged_once_until_it_has_changed(
    listen: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "_logged", set())
    task, sound = create_task(Ledger), create_task(Ledger)

    def refuse(task: Any, event: Any, **_: Any) -> None:
        if event.kind == EventKind.START and task.pk != sound.pk:
            raise ValueError("never")

    def failures() -> int:
        return caplog.text.count(f"start_failed model=testapp.Ledger pk={task.pk}")

    listen(refuse, event_recorded)
    runs, number, postponed = look(2, TriedRows())
    assert [run.pk for run in runs] == [sound.pk]
    assert (number, postponed, failures()) == (2, 0, 1)
    assert "ValueError: never" in caplog.text

    look(2, TriedRows())
    start.start_one(Ledger, "default", str(task.pk), worker=WORKER, lease=60)
    assert failures() == 1

    task.note("changed")
    start.start_one(Ledger, "default", str(task.pk), worker=WORKER, lease=60)
    assert failures() == 2


@pytest.fixture
def refuse_starts(listen: Callable[..., None]) -> list[Any]:
    """The keys of the tasks whose start a receiver is to refuse."""
    refused: list[Any] = []

    def refuse(task: Any, event: Any, **_: Any) -> None:
        if event.kind == EventKind.START and task.pk in refused:
            raise ValueError("never")

    listen(refuse, event_recorded)
    return refused


def make_overdue() -> None:
    rows_of(Invoice, "default").update_managed(check_at=PAST)


def test_rows_of_other_models_hide_no_task_while_redis_is_away() -> None:
    for _ in range(3):
        create_task(PaidInvoice)
    own = create_task(Invoice)
    make_overdue()

    runs, *_ = look(2, TriedRows(), Invoice, only_overdue=True)

    assert [run.task.pk for run in runs] == [own.pk]


def test_rows_that_cannot_start_hide_no_task_while_redis_is_away(refuse_starts: list[Any]) -> None:
    refuse_starts += [create_task(Invoice).pk for _ in range(3)]
    own, tried = create_task(Invoice), TriedRows()
    make_overdue()

    looks = [look(2, tried, Invoice, only_overdue=True) for _ in range(3)]

    assert [[run.task.pk for run in found.runs] for found in looks] == [[], [own.pk], []]
    assert looks[-1].number == 0


def test_a_task_with_a_message_that_is_trusted_is_left_to_it(redis_url: str) -> None:
    task = create_task(Invoice)

    assert look(1, TriedRows(), Invoice, only_overdue=True) == ([], 0, 0)
    assert [run.task.pk for run in look(1, TriedRows(), Invoice).runs] == [task.pk]


@pytest.mark.parametrize("model", [Invoice, ForeignInvoice], ids=["parent", "child"])
def test_rows_of_other_models_are_not_loaded_and_looked_up_once(model: Any) -> None:
    PaidInvoice.objects.bulk_enqueue([PaidInvoice() for _ in range(60)])
    own = [create_task(model) for _ in range(2)]
    tried = TriedRows()

    with CaptureQueriesContext(connection) as first:
        [run] = look(1, tried, model).runs
    with CaptureQueriesContext(connection) as second:
        [other] = look(1, tried, model).runs

    assert {run.task.pk, other.task.pk} == {task.pk for task in own}
    # The first has looked up the models of the others, in three steps.
    assert len(first) - len(second) <= 3
    assert len(second) < 12


def test_a_row_whose_child_was_deleted_is_a_task_of_the_parent() -> None:
    child = create_task(ForeignInvoice)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {ForeignInvoice._meta.db_table}")

    runs, *_ = look(1, TriedRows(), Invoice)

    assert [run.task.pk for run in runs] == [child.pk]


def test_the_memory_of_rows_that_cannot_start_has_a_bound(
    refuse_starts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_tasks, "_PAGE_SIZE", 2)
    monkeypatch.setattr(due_tasks, "MAX_TRIED", 4)
    refuse_starts += [create_task(Ledger).pk for _ in range(11)]
    sound, tried = create_task(Ledger), TriedRows()

    found: list[Any] = []
    while (last := look(1, tried)).number:
        found += [run.task.pk for run in last.runs]
        assert len(tried) <= 5
    new = create_task(Ledger)

    assert found == [sound.pk]
    assert [run.task.pk for run in look(1, tried).runs] == [new.pk]
    assert len([kind for pk in refuse_starts for kind in kinds(sound, pk)]) == 11


class Cut(Exception):
    """An error of a driver that says that the connection was cut."""

    sqlstate = "57P01"


def test_a_transient_error_costs_no_task_that_was_started_its_run(
    listen: Callable[..., None],
) -> None:
    failing, sound = create_task(Ledger), create_task(Ledger)
    tried = TriedRows()

    def refuse(task: Any, **_: Any) -> None:
        if task.pk == failing.pk:
            raise OperationalError("not now") from Cut()

    listen(refuse, event_recorded)
    runs, number, postponed = look(2, tried)

    assert [run.pk for run in runs] == [sound.pk]
    assert (number, postponed, len(tried)) == (1, 1, 0)
    with pytest.raises(OperationalError, match="not now"):
        look(2, tried)
