"""The steps of a task through a worker, one at a time."""

from typing import Any

import pytest
from django.db import OperationalError, connection

from django_simpletask3.context import RESERVED_KEYS, TaskContext, lazy_context, task_context
from django_simpletask3.db import clock
from django_simpletask3.execution import finish, perform, start
from django_simpletask3.execution.run import Run
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.queue import get_queue
from django_simpletask3.retries import Fixed
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import Status
from tests.steps import kinds
from tests.testapp import models as testapp
from tests.testapp.models import Document, Invoice, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"


def claimed(model: Any, limit: int = 10, worker: str = WORKER) -> list[Any]:
    """What a fetcher claims of the model's queue."""
    return get_queue().claim(model.get_event_channel(), worker=worker, limit=limit, lease=60)


def started(model: Any, limit: int = 10, worker: str = WORKER) -> list[Run]:
    return start.start(model, claimed(model, limit, worker), worker=worker, lease=60)[0]


def performed(model: Any) -> list[Run]:
    runs = started(model)
    for run in runs:
        perform.perform(run)
    return runs


def depth(model: Any) -> tuple[int, int]:
    channel = model.get_event_channel()
    return get_queue().waiting(channel), get_queue().running(channel)


def test_starting_claims_the_rows_of_a_batch_in_one_transaction() -> None:
    Invoice.objects.bulk_enqueue([{} for _ in range(5)])

    runs = started(Invoice)

    assert len(runs) == 5
    assert Invoice.objects.running().filter(worker=WORKER, attempt=1).count() == 5
    assert depth(Invoice) == (0, 5)


def test_the_queries_of_a_batch_do_not_grow_with_it(django_assert_num_queries: Any) -> None:
    testapp.Ledger.objects.bulk_enqueue([{} for _ in range(20)])
    messages = claimed(testapp.Ledger, limit=20)
    clock.refresh("default")  # as each process does once a minute

    # PostgreSQL moves rows that it has not read, and appends their events, in one statement that is
    # a transaction by itself; where no rows can be locked, one statement more takes the database's
    # own lock.
    more = {"postgresql": -4, "sqlite": 1}.get(connection.vendor, 0)

    # tasks; BEGIN, rows, update, events, COMMIT
    with django_assert_num_queries(6 + more):
        runs = start.start(testapp.Ledger, messages, worker=WORKER, lease=60)[0]
    for run in runs:
        perform.perform(run)
    with django_assert_num_queries(5 + more):
        finish.finish(runs)

    assert testapp.Ledger.objects.succeeded().count() == 20


def test_a_start_whose_commit_was_not_answered_is_recognised_by_its_claim() -> None:
    task = Invoice.objects.create()
    messages = claimed(Invoice)
    start.start(Invoice, messages, worker=WORKER, lease=60)[0]

    again = start.start(Invoice, messages, worker=WORKER, lease=60)[0]

    assert [run.task.pk for run in again] == [task.pk]
    assert again[0].task.status == Status.RUNNING
    assert kinds(task) == ["enqueue", "start"]


def test_a_task_that_runs_elsewhere_is_not_started_and_its_second_message_is_settled() -> None:
    task = Invoice.objects.create()
    started(Invoice)
    get_queue().push(
        task.get_event_channel(), [(task.get_task_id(), task.get_task_data())], take_over=True
    )

    runs = started(Invoice, worker="node:2:other")

    assert runs == []
    assert kinds(task) == ["enqueue", "start"]
    assert depth(Invoice) == (0, 0)


def test_a_task_that_is_not_due_yet_is_left_for_later(settings: Any) -> None:
    task = Invoice.objects.create()
    messages = claimed(Invoice)
    task.refresh_from_db()
    task.run_after = task.add_time.replace(year=task.add_time.year + 1)
    task.save()

    runs = start.start(Invoice, messages, worker=WORKER, lease=60)[0]

    assert runs == []
    assert depth(Invoice) == (0, 0)
    assert kinds(task) == ["enqueue"]


def test_a_message_whose_body_redis_lost_still_finds_its_row(redis_client: Any) -> None:
    task = testapp.TextKeyed.objects.create(id="a: b/ü")
    redis_client.delete(get_queue().get_item_key(task.get_task_id()))

    runs = started(testapp.TextKeyed)

    assert [run.task.pk for run in runs] == [task.pk]


def test_a_message_without_body_finds_its_row_in_another_database(redis_client: Any) -> None:
    task = testapp.Reminder(text="over there")
    task.save(using="other")
    redis_client.delete(get_queue().get_item_key(task.get_task_id()))

    runs = started(testapp.Reminder)

    assert [(run.pk, run.using) for run in runs] == [(task.pk, "other")]


def test_only_columns_that_the_task_function_assigned_are_written() -> None:
    task = Invoice.objects.create(amount=1)
    [run] = performed(Invoice)
    Invoice.objects.filter(pk=task.pk).update(amount=99)

    finish.finish([run])

    task.refresh_from_db()
    assert (task.amount, task.task_biz_field) == (99, "task biz data")


def test_a_value_changed_in_place_is_written_too(tmp_path: Any) -> None:
    from django.core.files.base import ContentFile

    task = Document(labels={"kind": "letter"})
    task.upload.save("letter.txt", ContentFile(b"dear"), save=True)

    finish.finish(performed(Document))

    task.refresh_from_db()
    assert task.labels == {"kind": "letter", "read": True}
    assert task.result_data == 4


def test_own_columns_of_a_multi_table_child_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(self: Any) -> None:
        self.currency, self.amount = "EUR", 7

    monkeypatch.setattr(testapp.ForeignInvoice, "do_task", body)
    task = testapp.ForeignInvoice.objects.create()

    finish.finish(performed(testapp.ForeignInvoice))

    task.refresh_from_db()
    assert (task.status, task.currency, task.amount) == (Status.SUCCESS, "EUR", 7)


def test_a_column_that_the_database_refuses_is_the_tasks_own_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(self: Any) -> str:
        self.amount = "many" if self.fails else 5
        return "OK"

    monkeypatch.setattr(Invoice, "do_task", body)
    healthy, broken = Invoice.objects.create(), Invoice.objects.create(fails=True)

    finish.finish(performed(Invoice))

    healthy.refresh_from_db()
    broken.refresh_from_db()
    assert (healthy.status, healthy.amount) == (Status.SUCCESS, 5)
    assert (broken.status, broken.amount) == (Status.FAILED, 0)
    assert broken.error_data["type"] == "ValueError"
    assert depth(Invoice) == (0, 0)


def test_finishing_twice_after_a_lost_answer_records_once() -> None:
    task = Invoice.objects.create()
    runs = performed(Invoice)
    finish.finish(runs)

    finish.finish(runs)

    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_database_that_fails_while_finishing_is_no_failure_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Invoice.objects.create()
    runs = performed(Invoice)

    def broken(**_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    event_recorded.connect(broken)
    try:
        with pytest.raises(OperationalError):
            finish.finish(runs)
    finally:
        event_recorded.disconnect(broken)
    task.refresh_from_db()
    assert task.status == Status.RUNNING

    finish.finish(runs)

    assert kinds(task) == ["enqueue", "start", "ack"]


def test_the_late_result_of_a_superseded_run_is_rejected_and_changes_nothing() -> None:
    task = Invoice.objects.create()
    late = performed(Invoice)
    task.reset(reason="again")
    current = performed(Invoice)
    finish.finish(current)

    finish.finish(late)

    task.refresh_from_db()
    assert (task.status, task.attempt) == (Status.SUCCESS, 2)
    assert kinds(task) == ["enqueue", "start", "reset", "start", "ack", "reject"]
    rejection = task.events.get(kind="reject")
    assert (rejection.data["attempt"], rejection.data["current_attempt"]) == (1, 2)
    assert depth(Invoice) == (0, 0)


def test_a_task_reset_by_its_own_function_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(self: Any) -> str:
        if self.attempt == 1:
            self.reset()
        return "OK"

    monkeypatch.setattr(Invoice, "do_task", body)
    task = Invoice.objects.create()

    finish.finish(performed(Invoice))
    finish.finish(performed(Invoice))

    task.refresh_from_db()
    assert task.status == Status.SUCCESS
    assert kinds(task) == ["enqueue", "start", "reset", "reject", "start", "ack"]


def test_a_row_deleted_while_it_runs_is_not_resurrected() -> None:
    task = Invoice.objects.create()
    runs = performed(Invoice)
    Invoice.objects.get(pk=task.pk).delete()

    finish.finish(runs)

    assert not Invoice.objects.exists()
    assert depth(Invoice) == (0, 0)


def test_a_task_with_retries_left_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    task = Invoice.objects.create(fails=True)

    finish.finish(performed(Invoice))

    task.refresh_from_db()
    retry = task.events.get(kind="retry")
    assert (task.status, task.run_after, task.check_at) == (
        Status.PENDING,
        task.check_at,
        task.run_after,
    )
    assert retry.data["error"]["type"] == "ValueError"
    assert "do_task" in retry.data["traceback"]
    assert depth(Invoice) == (0, 0)


def test_after_its_last_retry_a_task_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    monkeypatch.setattr(Invoice, "django_simpletask3_retry_backoff", Fixed(0))
    task = Invoice.objects.create(fails=True)
    finish.finish(performed(Invoice))
    get_queue().push(task.get_event_channel(), [(task.get_task_id(), task.get_task_data())])

    finish.finish(performed(Invoice))

    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert kinds(task) == ["enqueue", "start", "retry", "start", "fail"]


def test_a_released_task_is_the_next_one_of_its_queue() -> None:
    first, second = Invoice.objects.create(), Invoice.objects.create()
    runs = started(Invoice, limit=1)

    given = finish.release(runs, "worker_stopping")

    assert [run.task.pk for run in given] == [first.pk]
    assert kinds(first) == ["enqueue", "start", "release"]
    assert [run.task.pk for run in started(Invoice)] == [first.pk, second.pk]


def test_the_context_of_the_saving_request_is_current_in_the_task_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(self: Any) -> None:
        Scripted.objects.create()

    monkeypatch.setattr(Invoice, "do_task", body)
    with task_context(actor="ada", order=7):
        Invoice.objects.create()

    performed(Invoice)

    first_event = Scripted.objects.get().events.get()
    assert (first_event.actor, first_event.data["order"]) == ("ada", 7)


def test_what_describes_one_event_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "do_task", lambda self: Scripted.objects.create())
    described = {**dict.fromkeys(RESERVED_KEYS, "x"), "cause": "app.Model:1 #2", "user": "7"}
    with lazy_context(lambda: TaskContext(data=described)):
        parent = Invoice.objects.create()

    performed(Invoice)

    data = Scripted.objects.get().events.get().data
    assert data == {"cause": "app.Model:1 #2", "user": "7", "parent": task_reference(parent)}


def test_a_task_function_may_be_asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(self: Any) -> str:
        return f"awaited {self.amount}"

    monkeypatch.setattr(Invoice, "do_task", body)
    task = Invoice.objects.create(amount=4)

    finish.finish(performed(Invoice))

    task.refresh_from_db()
    assert task.result_data == "awaited 4"


def test_redis_away_while_finishing_costs_one_pop_later(settings: Any) -> None:
    task = Invoice.objects.create()
    runs = performed(Invoice)
    url = settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    finish.finish(runs)

    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url
    task.refresh_from_db()
    assert task.status == Status.SUCCESS
    get_queue().expire_leases([WORKER])
    get_queue().recover()
    assert started(Invoice) == []
    assert depth(Invoice) == (0, 0)


def test_a_task_that_copies_itself_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(self: Any) -> str:
        self.pk = None
        self._state.adding = True
        self.save()
        return "copied"

    monkeypatch.setattr(Invoice, "do_task", body)
    task = Invoice.objects.create()

    finish.finish(performed(Invoice))

    task.refresh_from_db()
    copy = Invoice.objects.exclude(pk=task.pk).get()
    assert (task.status, task.result_data) == (Status.SUCCESS, "copied")
    assert (copy.status, kinds(copy)) == (Status.PENDING, ["enqueue"])


@pytest.mark.parametrize("key", [10**30, "1\x00"], ids=["too large", "with NUL"])
def test_a_key_that_the_database_cannot_read_delays_no_other_task(key: Any) -> None:
    model: Any = Invoice if isinstance(key, int) else testapp.TextKeyed
    data = {"app_label": "testapp", "model_name": model._meta.model_name, "id": key}
    get_queue().push(model.get_event_channel(), [("unreadable", data)])
    task = model.objects.create(**({} if model is Invoice else {"id": "readable"}))

    runs = started(model)

    assert [run.task.pk for run in runs] == [task.pk]
    assert depth(model) == (0, 1)


def test_a_row_that_cannot_be_read_delays_no_other_task(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, healthy = Invoice.objects.create(amount=13), Invoice.objects.create()
    _make_unreadable(monkeypatch, broken.pk)

    runs = started(Invoice)

    assert [run.task.pk for run in runs] == [healthy.pk]
    assert get_queue().dead_letters(Invoice.get_event_channel())[0]["id"] == broken.get_task_id()


def _make_unreadable(monkeypatch: pytest.MonkeyPatch, pk: Any) -> None:
    real = Invoice.from_db.__func__

    def from_db(cls: Any, *args: Any, **kwargs: Any) -> Any:
        task = real(cls, *args, **kwargs)
        if task.pk == pk:
            raise ValueError("this row cannot be read")
        return task

    monkeypatch.setattr(Invoice, "from_db", classmethod(from_db))


def test_a_receiver_that_refuses_every_outcome_of_one_task_spoils_no_other() -> None:
    refused, healthy = Invoice.objects.create(), Invoice.objects.create()
    runs = performed(Invoice)

    def refuse(task: Any, **_: Any) -> None:
        if task.pk == refused.pk:
            raise ValueError("never")

    event_recorded.connect(refuse)
    try:
        left = finish.finish(runs)
    finally:
        event_recorded.disconnect(refuse)

    assert [run.pk for run in left] == [refused.pk]
    assert kinds(healthy) == ["enqueue", "start", "ack"]
    assert kinds(refused) == ["enqueue", "start"]


def test_a_database_error_of_one_task_alone_is_that_tasks_failure() -> None:
    culprit, healthy = Invoice.objects.create(), Invoice.objects.create()
    runs = performed(Invoice)

    def too_large(task: Any, event: Any, **_: Any) -> None:
        if task.pk == culprit.pk and event.kind == "ack":
            raise OperationalError("index row requires 50016 bytes")

    event_recorded.connect(too_large)
    try:
        left = finish.finish(runs)
    finally:
        event_recorded.disconnect(too_large)

    assert left == []
    assert kinds(healthy) == ["enqueue", "start", "ack"]
    assert kinds(culprit) == ["enqueue", "start", "fail"]


def test_a_message_that_was_pushed_too_early_by_our_clock_is_pushed_again_when_due() -> None:
    task = Invoice.objects.create()
    messages = claimed(Invoice)
    soon = clock.after("default", 60)
    rows_of(Invoice, "default").update_managed(run_after=soon)

    runs = start.start(Invoice, messages, worker=WORKER, lease=60)[0]

    task.refresh_from_db()
    assert (runs, task.check_at) == ([], task.run_after)


def test_an_executor_that_has_no_hash_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Executor:
        def __hash__(self) -> int:
            raise TypeError("unhashable, as a frozen dataclass with a list is")

        def __call__(self, task: Any) -> str:
            return "called"

    monkeypatch.setattr(testapp.ByCallable, "django_simpletask3_executor", Executor())
    task = testapp.ByCallable.objects.create()
    runs = start.start(testapp.ByCallable, claimed(testapp.ByCallable), worker=WORKER, lease=60)[0]

    perform.perform(runs[0])
    finish.finish(runs)

    task.refresh_from_db()
    assert task.result_data == "called"
