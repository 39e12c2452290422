"""Starting the tasks of messages: read together, claimed by compare-and-set."""

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db.backends import store_for
from django_simpletask3.db.loading import models_by_label
from django_simpletask3.execution import start
from django_simpletask3.ledger.projection import Projection, broken_links, fold
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.queue import get_queue
from django_simpletask3.signals import event_recorded, task_started
from django_simpletask3.states import EventKind, Status
from tests.steps import (
    TASK_MODELS,
    apply_kinds,
    create_task,
    kinds,
    label_of,
    locked_elsewhere,
    row_of,
    stream_of,
)
from tests.testapp.models import (
    Audited,
    AuditEntry,
    Elsewhere,
    Errand,
    Invoice,
    Ledger,
    Letter,
    PaidInvoice,
    Reminder,
)

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

has_batch_statements = pytest.mark.skipif(
    not store_for(Invoice, "default").has_batch_statements, reason="several statements here"
)
has_row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="rows cannot be locked")

WORKER = "node:1:token"
#: Models of which a message names a row of the model itself; no two Errands have the same columns.
ALONE = [
    m
    for m in TASK_MODELS
    if table_model(m) is m and len(models_by_label(m)) == 1 and m is not Errand
]


def claimed(model: Any) -> list[Any]:
    return get_queue().claim(model.get_event_channel(), worker=WORKER, limit=10, lease=60)


def started(model: Any, worker: str = WORKER) -> list[Any]:
    return start.start(model, claimed(model), worker=worker, lease=60)[0]


def said(task: Any) -> dict[str, Any]:
    """What ``task`` says that is not its own: key, place in time, digest."""
    own = {"digest", "start_time", "add_time", "mod_time", "check_at", "expires_at"}
    own.add(task._meta.pk.attname)
    return {
        name: value
        for name, value in vars(task).items()
        if name not in own | {"_state", "_known_columns"}
    }


@pytest.mark.parametrize("model", ALONE, ids=label_of)
def test_a_task_is_started_alone_as_with_others(model: Any) -> None:
    create_task(model), create_task(model)
    together = started(model)
    alone = create_task(model)
    using = alone._state.db

    [run] = started(model)

    assert said(run.task) == said(together[0].task)
    assert Projection.of(run.task) == Projection.of(row_of(alone)) == fold(stream_of(alone))
    assert broken_links(stream_of(alone)) == []
    assert (run.pk, run.attempt, run.using) == (alone.pk, 1, using)
    for name in ("worker", "check_at", "mod_time"):
        assert getattr(run.task, name) == getattr(row_of(alone), name)
    assert not run.task._state.adding


def test_the_event_is_the_one_that_is_stored() -> None:
    task = create_task(Ledger)
    reported: list[Any] = []

    def hear(event: Any, **_: Any) -> None:
        reported.append(event)

    task_started.connect(hear)
    try:
        started(Ledger)
    finally:
        task_started.disconnect(hear)

    stored = stream_of(task)[-1]
    assert [(e.pk, e.digest, e.data, e.task_id) for e in reported] == [
        (stored.pk, stored.digest, stored.data, task.pk)
    ]
    assert not reported[0]._state.adding


def test_a_task_that_has_become_due_is_started() -> None:
    task = create_task(Ledger)
    messages = claimed(Ledger)
    Ledger.objects.filter(pk=task.pk).update(run_after=task.add_time - timedelta(days=1))

    assert len(start.start(Ledger, messages, worker=WORKER, lease=60)[0]) == 1


def test_a_task_that_is_not_due_is_not_started() -> None:
    task = create_task(Ledger)
    messages = claimed(Ledger)
    Ledger.objects.filter(pk=task.pk).update(run_after=task.add_time + timedelta(days=1))

    assert start.start(Ledger, messages, worker=WORKER, lease=60)[0] == []
    assert kinds(task) == ["enqueue"]


def test_a_task_to_which_something_happened_before_is_started() -> None:
    noted = create_task(Ledger)
    noted.note("look")
    failed = apply_kinds(create_task(Reminder), EventKind.START, EventKind.FAIL)
    failed.reset()

    runs = [*started(Ledger), *started(Reminder)]

    assert [run.attempt for run in runs] == [1, 2]
    assert kinds(noted) == ["enqueue", "note", "start"]
    assert kinds(failed) == ["enqueue", "start", "fail", "reset", "start"]
    assert broken_links(stream_of(noted)) == broken_links(stream_of(failed)) == []


def test_a_row_that_came_past_save_is_adopted_first() -> None:
    task = Ledger()
    Ledger.objects.using("default")._insert(
        [task], fields=Ledger._meta.concrete_fields[1:], using="default"
    )
    [row] = Ledger.objects.all()
    get_queue().push(row.get_event_channel(), [(row.get_task_id(), row.get_task_data())])

    [run] = started(Ledger)

    assert kinds(run.task) == ["enqueue", "start"]


@has_row_locks
def test_a_locked_row_is_not_waited_for() -> None:
    task = create_task(Ledger)

    with locked_elsewhere(task):
        messages = claimed(Ledger)
        runs, again = start.start(Ledger, messages, worker=WORKER, lease=60)

    assert (runs, again) == ([], messages)
    assert kinds(task) == ["enqueue"]


def test_a_start_that_a_receiver_refuses_is_undone() -> None:
    task = create_task(Ledger)

    def refuse(**_: Any) -> None:
        raise OperationalError("not now")

    event_recorded.connect(refuse, sender=Ledger)
    try:
        with pytest.raises(OperationalError):
            started(Ledger)
    finally:
        event_recorded.disconnect(refuse, sender=Ledger)

    assert (kinds(task), row_of(task).status) == (["enqueue"], Status.PENDING)


def test_a_receiver_of_loaded_rows_receives_it() -> None:
    task = create_task(Ledger)
    received: list[Any] = []

    def hear(instance: Any, **_: Any) -> None:
        received.append(instance.pk)

    post_init.connect(hear, sender=Ledger)
    try:
        [run] = started(Ledger)
    finally:
        post_init.disconnect(hear, sender=Ledger)

    assert task.pk in received
    assert run.pk == task.pk


def test_a_row_that_a_class_reads_in_its_own_way_is_read_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_db(cls: Any, *args: Any, **kwargs: Any) -> Any:
        task = super(Letter, cls).from_db(*args, **kwargs)
        task.is_read_my_way = True
        return task

    monkeypatch.setattr(Letter, "from_db", classmethod(from_db))
    create_task(Letter)

    [run] = started(Letter)

    assert run.task.is_read_my_way


def test_a_message_of_a_database_where_the_router_looks_no_more_starts_nothing_there() -> None:
    task = create_task(Elsewhere)
    data = {**task.get_task_data(), "using": "default"}
    get_queue().push(task.get_event_channel(), [(task.get_task_id(), data)])

    assert started(Elsewhere) == []
    assert kinds(task) == ["enqueue"]


def test_a_message_of_a_database_where_its_model_cannot_be_is_a_dead_letter() -> None:
    task = create_task(Invoice)
    data = {**task.get_task_data(), "using": "other"}
    get_queue().push(task.get_event_channel(), [("forged", data)])

    with CaptureQueriesContext(connections["other"]) as asked:
        [run] = started(Invoice)

    [letter] = get_queue().dead_letters(task.get_event_channel())
    assert (run.task, letter["id"]) == (task, "forged")
    assert letter["reason"] == "message for a database that holds no testapp.Invoice: other"
    assert len(asked) == 0


@has_batch_statements
def test_a_column_that_gets_another_type_dead_letters_no_message() -> None:
    for count in (1, 2, 1, 2, 1, 2):  # both ways may be prepared by then
        Ledger.objects.bulk_enqueue([{} for _ in range(count)])
        started(Ledger)
    tasks = Ledger.objects.bulk_enqueue([{}, {}])
    messages = claimed(Ledger)
    other = connection.copy()
    change = f"ALTER TABLE {Ledger._meta.db_table} ALTER worker TYPE varchar"
    runs: list[Any] = []
    try:
        with other.cursor() as cursor:
            cursor.execute(f"{change}(300)")
        with suppress(DatabaseError):
            runs = start.start(Ledger, messages, worker=WORKER, lease=60)[0]
        if not runs:
            connection.close()  # as a node does after an error
            runs = start.start(Ledger, messages, worker=WORKER, lease=60)[0]
    finally:
        with other.cursor() as cursor:
            cursor.execute(f"{change}(255)")
        other.close()
        connection.close()

    assert {run.pk for run in runs} == {task.pk for task in tasks}
    assert get_queue().dead_letters(Ledger.get_event_channel()) == []


def test_an_event_that_is_sealed_in_its_own_way_is_sealed_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        AuditEntry, "expected_digest", lambda event, previous: f"{previous[-1:]}my seal"
    )
    task = create_task(Audited)

    started(Audited)

    assert stream_of(task)[-1].digest == "lmy seal"


def test_one_of_many_concurrent_starts_succeeds() -> None:
    task = create_task(Ledger)
    [message] = claimed(Ledger)
    claims = [replace(message, running_id=str(number)) for number in range(8)]
    all_there = threading.Barrier(len(claims))
    runs: list[Any] = []

    def compete(claim: Any) -> None:
        worker = f"node:1:{claim.running_id}"
        try:
            connection.ensure_connection()
            all_there.wait(20)
            runs.extend(start.start(Ledger, [claim], worker=worker, lease=60)[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=compete, args=[claim]) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [run.pk for run in runs] == [task.pk]
    assert kinds(task) == ["enqueue", "start"]
    assert runs[0].worker == row_of(task).worker


def test_a_row_is_started_as_the_model_it_was_saved_as() -> None:
    task = create_task(PaidInvoice)

    [run] = started(PaidInvoice)

    assert type(run.task) is PaidInvoice
    assert kinds(task) == ["enqueue", "start"]


def test_a_message_of_its_root_starts_no_task_of_another_model() -> None:
    task = create_task(PaidInvoice)
    root = Invoice.objects.get(pk=task.pk)
    get_queue().push(root.get_event_channel(), [(root.get_task_id(), root.get_task_data())])

    assert started(Invoice) == []
    assert kinds(task) == ["enqueue"]


@has_batch_statements
def test_a_start_whose_answer_was_lost_is_recognised_by_its_claim() -> None:
    task = create_task(Ledger)
    messages = claimed(Ledger)

    cut: list[str] = []

    def cut_off(execute: Any, sql: str, *args: Any) -> Any:
        answer = execute(sql, *args)
        if "INSERT" in sql and not cut:
            cut.append(sql)
            raise OperationalError("the connection was closed")
        return answer

    with connection.execute_wrapper(cut_off):
        [run] = start.start(Ledger, messages, worker=WORKER, lease=60)[0]

    assert kinds(task) == ["enqueue", "start"]
    assert (run.pk, run.attempt) == (task.pk, 1)
