"""Tasks run in the process and the transaction of a test, as a node would run them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.limits import Limit
from django_simpletask3.retries import Fixed
from django_simpletask3.signals import (
    event_recorded,
    task_failed,
    task_succeeded,
    task_transitioned,
)
from django_simpletask3.states import Status
from django_simpletask3.testing import TooManyRuns, arun_tasks, eager_tasks, run_tasks
from tests.steps import create_task, kinds, status_of
from tests.subscriptions.conftest import Follow
from tests.subscriptions.conftest import follow as follow  # noqa: PLC0414 - a fixture
from tests.testapp.models import (
    Elsewhere,
    Everywhere,
    ForeignInvoice,
    Invoice,
    Ledger,
    PaidInvoice,
    Receipt,
    Reminder,
    Scripted,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let this be the task function of Invoice."""

    def use(function: Any) -> None:
        monkeypatch.setattr(Invoice, "do_task", function)

    return use


def create_group(name: str) -> Group:
    return Group.objects.create(name=name)


def create_groups(*names: str) -> None:
    for name in names:
        create_group(name)


def groups() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


# What is run, and the result


def test_all_due_tasks_run() -> None:
    paid, failing = Invoice.objects.create(), Invoice.objects.create(fails=True)
    later = Reminder.objects.create(run_after=timedelta(hours=1))

    result = run_tasks()

    assert (result.succeeded, result.failed, result.left) == ([paid], [failing], [later])
    assert kinds(paid) == ["enqueue", "start", "ack"]
    assert kinds(failing) == ["enqueue", "start", "fail"]
    assert result.succeeded[0].task_biz_field == "task biz data"
    assert result.failed[0].error_data["message"] == "invoice of 0 cannot be sent"


def test_only_the_tasks_of_a_model_run_and_those_of_its_subclasses() -> None:
    tasks = [create_task(m) for m in (Invoice, PaidInvoice, ForeignInvoice, Reminder)]

    result = run_tasks(Invoice)

    assert result.succeeded == tasks[:3]
    assert [type(task) for task in result.succeeded] == [Invoice, PaidInvoice, ForeignInvoice]
    assert kinds(tasks[3]) == ["enqueue"]


def test_a_proxy_stands_for_itself() -> None:
    create_task(Invoice)
    paid = create_task(PaidInvoice)

    result = run_tasks(PaidInvoice)

    assert (result.succeeded, result.left) == ([paid], [])


def test_a_given_task_is_refreshed() -> None:
    task, other = create_task(Invoice), create_task(Invoice)

    result = run_tasks(task)

    assert task.status == Status.SUCCESS
    assert task.result_data == "OK"
    assert result.succeeded[0] is task
    assert kinds(other) == ["enqueue"]


def test_the_order_is_that_of_a_node() -> None:
    first = create_task(Reminder, text="first")
    due = create_task(Scripted, run_after=timedelta(seconds=-5))
    low, high = create_task(Invoice, priority=-1), create_task(Invoice, priority=1)

    result = run_tasks()

    assert result.succeeded == [high, first, due, low]


def test_tasks_that_tasks_enqueue_run_too(function: Any) -> None:
    def enqueue_next(self: Any) -> None:
        if self.amount:
            Invoice.objects.create(amount=self.amount - 1)
            Reminder.objects.create(priority=5)

    function(enqueue_next)
    Invoice.objects.create(amount=1)

    result = run_tasks()

    assert [type(task) for task in result.succeeded] == [Invoice, Reminder, Invoice]
    child = result.succeeded[1]
    assert child.parent == f"testapp.Invoice:{result.succeeded[0].pk}"


def test_a_task_that_is_retried_at_once_is_in_two_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "django_simpletask3_max_retries", 2)
    monkeypatch.setattr(Scripted, "django_simpletask3_retry_backoff", Fixed(0))
    script = [{"do": "raise", "attempt": 1}, {"do": "value", "value": 3}]
    task = create_task(Scripted, script=script)

    result = run_tasks()

    assert (result.retried, result.succeeded, result.failed) == ([task], [task], [])
    assert kinds(task) == ["enqueue", "start", "retry", "start", "ack"]
    assert result.succeeded[0].result_data == 3


@pytest.mark.parametrize(
    ("asked", "lists"),
    [
        ({"request": "Retry", "after": 60}, {"retried", "left"}),
        ({"request": "Snooze", "after": 60}, {"left"}),
        ({"request": "Cancel"}, {"canceled"}),
    ],
    ids=lambda value: value.get("request") if isinstance(value, dict) else "",
)
def test_what_a_function_asks_for_is_in_the_result(
    asked: Any, lists: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "django_simpletask3_max_retries", 2)
    task = create_task(Scripted, script={"do": "ask", **asked})

    result = run_tasks(raise_errors=True)

    assert {name for name, tasks in vars(result).items() if tasks == [task]} == lists


def test_blocked_tasks_are_in_the_result() -> None:
    task = Invoice.objects.enqueue(blocked="approval")

    result = run_tasks()

    assert (result.blocked, result.left, result.succeeded) == ([task], [], [])


def test_the_tasks_of_a_paused_queue_are_left() -> None:
    control.pause(Invoice, "month end")
    task, other = create_task(Invoice), create_task(PaidInvoice)

    result = run_tasks()

    assert (result.left, result.succeeded) == ([task], [other])
    control.resume(Invoice)
    assert run_tasks().succeeded == [task]


def statements_of_run(*models: Any) -> int:
    with CaptureQueriesContext(connection) as statements:
        run_tasks(*models)
    return len(statements)


@pytest.mark.parametrize("is_paused", [True, False], ids=["paused", "of another model"])
def test_rows_that_do_not_start_are_looked_at_once(is_paused: bool) -> None:
    if is_paused:
        control.pause(Invoice)
    numbers = []
    for _ in range(3):
        Invoice.objects.bulk_enqueue([Invoice() for _ in range(4)])
        PaidInvoice.objects.bulk_enqueue([PaidInvoice() for _ in range(4)])
        numbers.append(statements_of_run(PaidInvoice, *([Invoice] if is_paused else [])))

    # Three for each of four more rows, and not for each run.
    assert numbers[2] - numbers[1] <= 4 * 3


def test_many_rows_of_a_paused_queue_cost_nothing() -> None:
    control.pause(Ledger)
    numbers = []
    for _ in range(2):
        Ledger.objects.bulk_enqueue([Ledger() for _ in range(5)])
        create_task(Invoice)
        numbers.append(statements_of_run())

    assert numbers[1] <= numbers[0]


def test_a_task_of_another_database_runs() -> None:
    task = create_task(Elsewhere)
    everywhere = Everywhere(script={"do": "value"})
    everywhere.save(using="other")

    result = run_tasks()

    assert result.succeeded == [task, everywhere]


@pytest.mark.django_db(databases=["default"])
def test_a_database_that_the_test_must_not_use_is_left_alone() -> None:
    task = create_task(Invoice)

    assert run_tasks().succeeded == [task]


@pytest.mark.django_db(databases=["other"])
def test_the_default_database_is_left_alone_too() -> None:
    task = create_task(Elsewhere)

    assert run_tasks().succeeded == [task]


@pytest.mark.parametrize("wrong", [int, 7, "Invoice"])
def test_what_is_no_task_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"is no task model|is neither a task"):
        run_tasks(wrong)


@pytest.mark.parametrize("several", [list, tuple, lambda tasks: Invoice.objects.all()])
def test_several_tasks_are_passed_one_by_one(several: Any) -> None:
    tasks = several([Invoice.objects.create()])

    with pytest.raises(TypeError, match=r"Pass its tasks one by one: with a \* before it\.$"):
        run_tasks(tasks)

    assert len(run_tasks(*tasks).succeeded) == 1


def test_an_unsaved_task_is_refused() -> None:
    with pytest.raises(ValueError, match="save it first"):
        run_tasks(Invoice())


# Where it ends


def test_a_task_that_enqueues_itself_meets_the_limit(function: Any) -> None:
    function(lambda self: Invoice.objects.create().pk)
    Invoice.objects.create()

    with pytest.raises(TooManyRuns, match=r"5 tasks were run \(testapp.Invoice 5 times\)"):
        run_tasks(limit=5)


def test_it_stops_when_it_is_to() -> None:
    tasks = [create_task(Invoice) for _ in range(3)]

    result = run_tasks(until=lambda: Invoice.objects.succeeded().count() == 2)

    assert (result.succeeded, result.left) == (tasks[:2], tasks[2:])


def test_what_it_stops_before_is_left() -> None:
    task, blocked = create_task(Invoice), Reminder.objects.enqueue(blocked="for ever")

    result = run_tasks(until=lambda: True)

    assert (result.left, result.blocked) == ([task], [blocked])


def test_a_task_that_does_not_start_does_not_count_as_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_limit", Limit(rate="1/h", key="{amount}"))
    tasks = [create_task(Invoice, amount=amount) for amount in (1, 1, 2)]

    result = run_tasks(limit=2)

    assert (result.succeeded, result.blocked) == ([tasks[0], tasks[2]], [tasks[1]])


def test_a_task_that_is_claimed_for_ever_is_an_error(
    monkeypatch: pytest.MonkeyPatch, listen: Any
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_limit", Limit(rate="1/h"))
    monkeypatch.setattr("django_simpletask3.testing.run._MAX_CLAIMS", 3)
    create_task(Invoice)
    run_tasks()
    task = create_task(Invoice)

    def unblock(event: Any, **_: Any) -> None:
        if event.kind == "block":
            Invoice.objects.get(pk=task.pk).unblock()

    listen(unblock, task_transitioned)

    with pytest.raises(TooManyRuns, match=rf"Invoice {task.pk} was claimed 3 times, did not start"):
        run_tasks(limit=2)


def test_the_limit_of_runs_is_none_of_deliveries(follow: Follow) -> None:
    seen: list[str] = []
    follow("one", lambda task, event: seen.append(event.kind), Invoice, kinds=["cancel"])
    create_task(Invoice).cancel()

    run_tasks(limit=0)

    assert seen == ["cancel"]


def test_the_error_of_a_function_is_raised_if_that_is_asked_for() -> None:
    task = create_task(Scripted, script={"do": "raise", "error": "LookupError"})

    with pytest.raises(LookupError, match="as written"):
        run_tasks(task, raise_errors=True)

    assert task.status == Status.FAILED
    assert kinds(task) == ["enqueue", "start", "fail"]


def test_ctrl_c_ends_the_test() -> None:
    task = create_task(Scripted, script={"do": "interrupt"})

    with pytest.raises(KeyboardInterrupt):
        run_tasks(task)

    assert task.status == Status.FAILED


def test_a_receiver_that_refuses_the_start_is_seen(listen: Any) -> None:
    def refuse(event: Any, **_: Any) -> None:
        if event.kind == "start":
            raise PermissionError("not today")

    task = create_task(Invoice)
    listen(refuse, event_recorded)

    with pytest.raises(PermissionError, match="not today"):
        run_tasks()

    assert kinds(task) == ["enqueue"]


# The transaction of the test


def test_hooks_of_the_run_follow_its_transactions(function: Any) -> None:
    order: list[str] = []

    def work(self: Any) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: order.append("hook"))
            order.append("inside")
        order.append("after")
        transaction.on_commit(lambda: order.append("at once"))

    function(work)
    transaction.on_commit(lambda: order.append("of the test"))
    create_task(Invoice)

    run_tasks()

    assert order == ["inside", "hook", "after", "at once"]


def test_the_hooks_of_the_test_are_still_its_own(
    django_capture_on_commit_callbacks: Any,
) -> None:
    order: list[str] = []

    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        transaction.on_commit(lambda: order.append("of the test"))
        run_tasks()

    assert (order, len(callbacks)) == (["of the test"], 1)


def test_signals_of_the_run_are_sent(received: Any) -> None:
    paid, failing = create_task(Invoice), create_task(Invoice, fails=True)

    run_tasks()

    sent = [(task.pk, signal) for signal, _, task, _ in received]
    assert (paid.pk, task_succeeded) in sent
    assert (failing.pk, task_failed) in sent


def test_what_a_function_wrote_before_it_failed_stays(function: Any) -> None:
    def work(self: Any) -> None:
        create_group("outside")
        with transaction.atomic():
            create_group("inside")
            raise ValueError("no")

    function(work)
    create_task(Invoice)

    run_tasks()

    assert groups() == ["outside"]


def test_a_statement_that_fails_spoils_nothing(function: Any) -> None:
    def work(self: Any) -> str:
        create_group("a")
        with pytest.raises(IntegrityError):
            create_group("a")
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute("INSERT INTO auth_group (name) VALUES ('a')")
        create_group("b")
        return "went on"

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert task.result_data == "went on"
    assert groups() == ["a", "b"]


@pytest.mark.parametrize(
    "commits",
    [
        pytest.param(False, marks=pytest.mark.django_db, id="test case"),
        pytest.param(True, marks=pytest.mark.django_db(transaction=True), id="commits"),
    ],
)
def test_an_error_that_is_caught_within_atomic_does_what_the_database_does(
    function: Any, commits: bool
) -> None:
    order: list[str] = []

    def work(self: Any) -> None:
        with transaction.atomic():
            create_group("inside")
            transaction.on_commit(lambda: order.append("hook"))
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT missing_column FROM auth_group")
        create_group("after")

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    # PostgreSQL rolls back, and reports no error.
    assert groups() == ["after", "inside"][: 1 if connection.vendor == "postgresql" else 2]
    assert order == ["hook"]
    assert kinds(task) == ["enqueue", "start", "ack"]
    assert connection.in_atomic_block is not commits


def test_an_error_that_is_not_caught_spoils_nothing(function: Any) -> None:
    function(lambda self: create_groups("a", "a"))
    task = create_task(Invoice)

    run_tasks(task)

    assert task.error_data["type"] == "django.db.utils.IntegrityError"
    assert groups() == ["a"]


@pytest.mark.parametrize("is_atomic", [True, False], ids=["atomic", "statement"])
@pytest.mark.skipif(connection.vendor == "sqlite", reason="it checks at the end of the test")
def test_a_foreign_key_to_no_row_fails_the_task(function: Any, is_atomic: bool) -> None:
    def work(self: Any) -> None:
        create_group("before")
        with transaction.atomic() if is_atomic else nullcontext():
            Receipt.objects.create(invoice_id=10**9)

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert task.error_data["type"] == "django.db.utils.IntegrityError"
    assert (groups(), Receipt.objects.count()) == (["before"], 0)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL")
def test_a_foreign_key_to_no_row_that_the_test_has_written_is_raised() -> None:
    task = create_task(Invoice)
    Receipt.objects.create(invoice_id=10**9)

    with pytest.raises(IntegrityError):
        run_tasks(task)

    Receipt.objects.all().delete()
    assert run_tasks(task).succeeded == [task]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL")
def test_constraints_that_are_checked_at_once_still_are(function: Any) -> None:
    insert = "INSERT INTO numbers VALUES (1)"

    def work(self: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(insert)
            with transaction.atomic():
                with pytest.raises(IntegrityError), transaction.atomic():
                    cursor.execute(insert)

    function(work)
    task = create_task(Invoice)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE numbers (number integer UNIQUE DEFERRABLE)")

    run_tasks(task, raise_errors=True)

    assert task.status == Status.SUCCESS


def test_what_production_refuses_outside_of_a_transaction_is_refused(function: Any) -> None:
    function(lambda self: Group.objects.select_for_update().exists())
    task = create_task(Invoice)

    run_tasks(task)

    is_refused = connection.features.has_select_for_update
    assert (task.status == Status.FAILED) is is_refused
    if is_refused:
        assert task.error_data["type"] == "django.db.transaction.TransactionManagementError"


def test_a_durable_transaction_and_savepoints_work(function: Any) -> None:
    def work(self: Any) -> None:
        with transaction.atomic(durable=True):
            create_group("a")
            with pytest.raises(IntegrityError), transaction.atomic():
                create_groups("b", "b")
            create_group("c")

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert task.status == Status.SUCCESS
    assert groups() == ["a", "c"]


def test_a_function_may_close_its_sessions(function: Any) -> None:
    def work(self: Any) -> None:
        create_group("a")
        connection.close()
        create_group("b")

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert task.status == Status.SUCCESS
    assert groups() == ["a", "b"]


def test_a_transaction_that_a_function_leaves_open_is_rolled_back(function: Any) -> None:
    def work(self: Any) -> None:
        create_group("a")
        transaction.set_autocommit(False)
        create_group("b")

    function(work)
    first, second = create_task(Invoice), create_task(Reminder)

    run_tasks()

    assert groups() == ["a"]
    assert [kinds(task)[-1] for task in (first, second)] == ["ack", "ack"]


class NotInMemory:
    """A router by which ``memory`` has no tables."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if db == "memory" else None


@pytest.fixture
def database_in_memory(settings: Any) -> Iterator[str]:
    """A database of SQLite that ``close()`` leaves open."""
    settings.DATABASE_ROUTERS = [NotInMemory(), *settings.DATABASE_ROUTERS]
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connections.settings["memory"] = {**connections.settings["default"], **sqlite, "OPTIONS": {}}
    connections["memory"].connect()
    connections["memory"].connection.execute("CREATE TABLE notes (id integer)")
    yield "memory"
    connections["memory"].connection.close()
    del connections["memory"], connections.settings["memory"]


def test_a_database_in_memory_has_autocommit_again(function: Any, database_in_memory: str) -> None:
    def work(self: Any) -> None:
        transaction.set_autocommit(False, using="memory")
        with connections["memory"].cursor() as cursor:
            cursor.execute("INSERT INTO notes VALUES (1)")

    function(work)
    task = create_task(Invoice)

    assert run_tasks(task).succeeded == [task]

    memory = connections["memory"]
    assert memory.get_autocommit()
    assert memory.connection.execute("SELECT * FROM notes").fetchall() == []


@pytest.mark.parametrize(
    "is_emulated",
    [True, pytest.param(False, marks=pytest.mark.django_db(transaction=True))],
    ids=["emulated", "real"],
)
def test_without_autocommit_each_commit_and_rollback_begins_a_transaction(
    function: Any, is_emulated: bool
) -> None:
    def work(self: Any) -> None:
        transaction.set_autocommit(False)
        create_group("a")
        transaction.commit()
        create_group("b")
        transaction.rollback()
        create_group("c")
        with transaction.atomic():
            create_group("d")
        transaction.commit()
        create_group("e")
        transaction.rollback()
        transaction.set_autocommit(True)
        create_group("f")

    function(work)
    task = create_task(Invoice)

    assert connection.in_atomic_block is is_emulated
    assert run_tasks().succeeded == [task]
    assert groups() == ["a", "c", "d", "f"]


def test_a_transaction_that_the_test_leaves_open_when_it_fails_is_rolled_back() -> None:
    def until() -> bool:
        create_group("a")
        transaction.set_autocommit(False)
        create_group("b")
        raise LookupError

    with pytest.raises(LookupError):
        run_tasks(until=until)

    assert groups() == ["a"]
    assert connection.in_atomic_block


def test_the_transaction_of_the_test_is_restored_if_other_wrappers_end_first() -> None:
    def pass_on(execute: Any, *args: Any) -> Any:
        return execute(*args)

    with ExitStack() as stack:
        with connection.execute_wrapper(pass_on):
            stack.enter_context(eager_tasks())

    assert connection.in_atomic_block
    connection.execute_wrappers.remove(pass_on)


def test_it_is_run_within_a_transaction_of_the_test() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        assert run_tasks().succeeded == [task]
        transaction.set_rollback(True)

    assert not Invoice.objects.exists()


def test_a_broken_transaction_is_refused() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)

        with pytest.raises(TransactionManagementError):
            run_tasks()


@pytest.mark.django_db(transaction=True)
def test_it_works_without_a_transaction_around_it(function: Any) -> None:
    order: list[str] = []

    def work(self: Any) -> None:
        create_group("a")
        with transaction.atomic():
            transaction.on_commit(lambda: order.append("hook"))
            order.append("inside")
        create_group("a")

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert order == ["inside", "hook"]
    assert (task.status, groups()) == (Status.FAILED, ["a"])


# The context of the run


def test_a_run_has_the_context_of_a_worker_and_not_of_the_test(function: Any) -> None:
    task = create_task(Invoice)
    seen: list[str] = []
    function(lambda self: seen.append(translation.get_language()))

    with translation.override("de"), task_context(actor="the test"):
        run_tasks()
        assert translation.get_language() == "de"

    assert seen == ["en"]
    assert [event.actor for event in task.events.all()] == ["", "", ""]


def test_a_function_may_run_tasks(function: Any) -> None:
    def work(self: Any) -> list[int]:
        return [task.pk for task in run_tasks(Reminder).succeeded]

    function(work)
    reminder = create_task(Reminder)
    task = create_task(Invoice, priority=1)

    run_tasks(task)

    assert task.result_data == [reminder.pk]


@pytest.mark.django_db(transaction=True)
def test_a_task_that_is_saved_while_another_thread_runs_one_runs_at_once(function: Any) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    statuses: list[Status] = []

    def work(self: Any) -> None:
        if self.amount == 1:
            has_begun.set()
            assert may_end.wait(20)
        else:
            may_end.set()
            thread.join()

    def run_first() -> None:
        try:
            run_tasks(first)
        finally:
            connections.close_all()

    function(work)
    first = create_task(Invoice, amount=1)
    thread = threading.Thread(target=run_first)
    thread.start()
    assert has_begun.wait(20)

    with eager_tasks():
        second = create_task(Invoice, amount=2)
        statuses.append(status_of(second))
        may_end.set()
        thread.join()
        third = create_task(Reminder)
        statuses.append(status_of(third))

    assert statuses == [Status.SUCCESS] * 2
    assert status_of(first) is Status.SUCCESS


# Coroutines


def test_a_coroutine_function_runs(function: Any) -> None:
    async def work(self: Any) -> str:
        await Group.objects.acreate(name="a")
        return self.__class__.__name__

    function(work)
    task = create_task(Invoice)

    run_tasks(task)

    assert (task.result_data, groups()) == ("Invoice", ["a"])


@pytest.mark.parametrize("is_async", [False, True])
def test_tasks_run_from_a_coroutine(function: Any, is_async: bool) -> None:
    async def work(self: Any) -> str:
        await Group.objects.acreate(name="a")
        return "OK"

    if is_async:
        function(work)

    async def test() -> Any:
        task = await Invoice.objects.aenqueue()
        return task, await arun_tasks(task, limit=1)

    task, result = async_to_sync(test)()

    assert result.succeeded == [task]
    assert task.result_data == "OK"


def test_no_redis_is_used(monkeypatch: pytest.MonkeyPatch, settings: Any, function: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    used: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda self, address: used.append(address))
    function(lambda self: [Reminder.objects.create(run_after=2), create_task(Reminder).cancel()])
    create_task(Invoice)

    result = run_tasks()

    assert (len(result.succeeded), len(result.canceled), len(result.left)) == (1, 1, 1)
    assert used == []
