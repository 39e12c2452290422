"""``cancel()`` and ``reset()`` of a queryset: of which tasks, and in how many statements."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext

from django_simpletask3.queue import get_queue
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import FINAL, EventKind, Status
from django_simpletask3.transitions import batchwise, writer
from tests.steps import bring_to, create_task, kinds, message_count, row_of, status_of, stream_of
from tests.testapp.models import Elsewhere, ForeignInvoice, Invoice, Ledger, PaidInvoice

pytestmark = pytest.mark.django_db

_PER_BATCH = 100


def in_each_status() -> dict[Status, Any]:
    return {status: bring_to(create_task(Invoice), status) for status in Status}


def failed(number: int) -> list[Any]:
    Ledger.objects.bulk_enqueue([{} for _ in range(number)])
    tasks = list(Ledger.objects.all())
    for kind in (EventKind.START, EventKind.FAIL):
        transitions = [writer.Transition(task, kind, worker="w1") for task in tasks]
        writer.apply_all(transitions)
    return tasks


def test_those_that_are_not_finished_are_canceled() -> None:
    tasks = in_each_status()
    finished = {status: kinds(tasks[status]) for status in FINAL}

    count = Invoice.objects.all().cancel("end of the trial")

    assert count == len(Status) - len(FINAL)
    for status, task in tasks.items():
        if status in FINAL:
            assert (status_of(task), kinds(task)) == (status, finished[status])
        else:
            assert (status_of(task), kinds(task)[-1]) == (Status.CANCELED, "cancel")
            assert stream_of(task)[-1].reason == "end of the trial"


def test_only_what_has_failed_is_run_again(commit: Any) -> None:
    tasks = in_each_status()
    before = message_count(Invoice)

    with commit():
        count = Invoice.objects.failed().reset("server is back")

    task = tasks.pop(Status.FAILED)
    assert count == 1
    assert (status_of(task), stream_of(task)[-1].reason) == (Status.PENDING, "server is back")
    assert message_count(Invoice) == before + 1
    assert {status_of(task) for task in tasks.values()} == tasks.keys()


def test_a_reset_runs_everything_again_at_once() -> None:
    tasks = in_each_status()
    Invoice.objects.all().update(run_after=3600)

    assert Invoice.objects.all().reset() == len(tasks)
    assert {(row.status, row.run_after) for row in map(row_of, tasks.values())} == {
        (Status.PENDING, None)
    }


def test_nothing_selected_is_nothing_done(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert Invoice.objects.failed().reset() == 0


def test_refused_ones_do_not_stop_the_others() -> None:
    tasks = [bring_to(create_task(Invoice), status) for status in (Status.SUCCESS, Status.PENDING)]
    tasks.append(create_task(Invoice))

    # A slice is not filtered by status, so that the finished one is refused.
    count = Invoice.objects.order_by("pk")[:3].cancel()

    assert count == 2
    assert [status_of(task) for task in tasks] == [
        Status.SUCCESS,
        Status.CANCELED,
        Status.CANCELED,
    ]


def test_a_slice_and_a_union_are_what_they_select() -> None:
    first, second, third = [create_task(Invoice) for _ in range(3)]
    tasks = Invoice.objects.all()

    assert tasks.order_by("pk")[:1].cancel() == 1
    assert tasks.filter(pk=second.pk).union(tasks.filter(pk=first.pk)).cancel() == 1
    assert [status_of(task) for task in (first, second, third)] == [
        Status.CANCELED,
        Status.CANCELED,
        Status.PENDING,
    ]


def test_a_join_that_repeats_a_row_cancels_it_once() -> None:
    task = create_task(Invoice)
    for _ in range(2):
        task.dunning_set.create()

    assert Invoice.objects.filter(dunning__isnull=False).cancel() == 1
    assert kinds(task) == ["enqueue", "cancel"]


def test_tasks_of_a_child_a_proxy_and_another_database_are_canceled() -> None:
    for model in (ForeignInvoice, PaidInvoice, Elsewhere):
        task = create_task(model)

        assert model.objects.filter(pk=task.pk).cancel() == 1
        assert status_of(task) == Status.CANCELED


@pytest.mark.parametrize("name", ["cancel", "reset"])
def test_a_manager_cannot_do_it_to_all_tasks_by_mistake(name: str) -> None:
    assert not hasattr(Invoice.objects, name)
    assert getattr(Invoice.objects.all(), name).alters_data


def test_a_template_cancels_nothing() -> None:
    task = create_task(Invoice)

    Template("{{ tasks.cancel }}{{ tasks.reset }}").render(
        Context({"tasks": Invoice.objects.all()})
    )

    assert kinds(task) == ["enqueue"]


def statements_of(number: int) -> int:
    """How many statements it takes to reset so many failed tasks."""
    Ledger.objects.all().cancel()
    failed(number)
    with CaptureQueriesContext(connection) as made:
        assert Ledger.objects.failed().reset() == number
    return len([query for query in made if not query["sql"].startswith(("UPDATE", "INSERT"))])


@pytest.mark.thorough
def test_the_statements_of_a_batch_do_not_grow_with_it() -> None:
    # Where rows are updated one by one, the updates and inserts are left out.
    of_ten, of_hundred = statements_of(10), statements_of(_PER_BATCH)
    of_three_batches = statements_of(2 * _PER_BATCH + 1)

    assert of_hundred == of_ten
    assert of_three_batches - 1 == 3 * (of_ten - 1)  # one finds the keys
    assert of_ten <= 12


@pytest.mark.django_db(transaction=True)
def test_each_batch_is_a_transaction() -> None:
    failed(2 * _PER_BATCH + 50)
    moved: list[Any] = []

    def refuse(task: Any, **_: Any) -> None:
        moved.append(task)
        if len(moved) > _PER_BATCH:
            raise RuntimeError("in the second batch")

    event_recorded.connect(refuse, sender=Ledger)
    try:
        with pytest.raises(RuntimeError):
            Ledger.objects.failed().order_by("pk").reset()
    finally:
        event_recorded.disconnect(refuse, sender=Ledger)

    assert Ledger.objects.pending().count() == _PER_BATCH
    assert Ledger.objects.failed().reset() == _PER_BATCH + 50


@pytest.mark.django_db(transaction=True)
def test_a_transaction_around_it_takes_all_back(redis_url: str) -> None:
    tasks = failed(_PER_BATCH + 1)
    get_queue().cancel_many(Ledger.get_event_channel(), [task.get_task_id() for task in tasks])

    with transaction.atomic():
        assert Ledger.objects.failed().reset() == _PER_BATCH + 1
        transaction.set_rollback(True)

    assert Ledger.objects.failed().count() == _PER_BATCH + 1
    assert message_count(Ledger) == 0


@pytest.mark.django_db(transaction=True)
def test_a_task_that_another_transaction_moves_out_of_the_selection_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved, kept = failed(2)
    has_selected, has_read, counts = threading.Event(), threading.Event(), []
    begin, load = batchwise.repeat_on_conflict, batchwise.rows_without_outcomes

    def begin_batch(*arguments: Any) -> Any:
        has_selected.set()
        return begin(*arguments)

    def load_batch(*arguments: Any) -> Any:
        has_read.set()
        return load(*arguments)

    def reset_failed() -> None:
        try:
            counts.append(Ledger.objects.failed().reset("all"))
        finally:
            connections.close_all()

    monkeypatch.setattr(batchwise, "repeat_on_conflict", begin_batch)
    monkeypatch.setattr(batchwise, "rows_without_outcomes", load_batch)
    thread = threading.Thread(target=reset_failed)
    with transaction.atomic():
        Ledger.objects.get(pk=moved.pk).reset("this one first")
        thread.start()
        assert has_selected.wait(30)
        assert not has_read.wait(0.5)  # it waits for the row that is locked here
    thread.join(30)

    assert counts == [1]
    assert [kinds(task).count("reset") for task in (moved, kept)] == [1, 1]
    assert stream_of(moved)[-1].reason == "this one first"


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_a_program_that_is_killed_in_between_leaves_whole_batches(redis_url: str) -> None:
    Ledger.objects.bulk_enqueue([{} for _ in range(3 * _PER_BATCH)])
    code = (
        "import os, signal, django; django.setup()\n"
        "from django_simpletask3.signals import event_recorded\n"
        "from tests.testapp.models import Ledger\n"
        "seen = []\n"
        "def kill(task, **_):\n"
        "    seen.append(task)\n"
        f"    if len(seen) > {_PER_BATCH + 10}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "event_recorded.connect(kill, sender=Ledger)\n"
        "Ledger.objects.all().cancel('killed')\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}

    program = subprocess.run([sys.executable, "-c", code], env=environment, check=False)

    assert program.returncode == -signal.SIGKILL
    assert Ledger.objects.canceled().count() == _PER_BATCH
    assert Ledger.objects.all().cancel("again") == 2 * _PER_BATCH
