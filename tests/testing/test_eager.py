"""Tasks that run as soon as they are committed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import connection, transaction

from django_simpletask3.signals import (
    event_recorded,
    task_enqueued,
    task_started,
    task_succeeded,
)
from django_simpletask3.states import Status
from django_simpletask3.testing import TooManyRuns, eager_tasks, run_tasks
from tests.steps import create_task, kinds, status_of
from tests.testapp.models import Everywhere, Invoice, Reminder, Step

pytestmark = [
    pytest.mark.usefixtures("is_in_transaction"),
    pytest.mark.parametrize(
        "is_in_transaction",
        [
            pytest.param(True, marks=pytest.mark.django_db, id="test case"),
            pytest.param(False, marks=pytest.mark.django_db(transaction=True), id="commits"),
        ],
        indirect=True,
    ),
]


@pytest.fixture
def is_in_transaction(request: pytest.FixtureRequest) -> bool:
    """Whether the test is in a transaction that is rolled back."""
    assert connection.in_atomic_block is request.param
    return bool(request.param)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let this be the task function of Invoice."""

    def use(function: Any) -> None:
        monkeypatch.setattr(Invoice, "do_task", function)

    return use


def test_a_saved_task_has_run() -> None:
    before = create_task(Invoice)

    with eager_tasks():
        task = create_task(Invoice)
        assert status_of(task) is Status.SUCCESS

    after = create_task(Invoice)
    assert kinds(task) == ["enqueue", "start", "ack"]
    assert [status_of(other) for other in (before, after)] == [Status.PENDING] * 2


def test_it_runs_at_the_commit() -> None:
    with eager_tasks():
        with transaction.atomic():
            task = create_task(Invoice)
            assert status_of(task) is Status.PENDING
        assert status_of(task) is Status.SUCCESS


def test_what_is_rolled_back_does_not_run() -> None:
    with eager_tasks():
        with transaction.atomic():
            create_task(Invoice)
            transaction.set_rollback(True)

    assert not Invoice.objects.exists()


def test_a_task_for_later_is_left() -> None:
    with eager_tasks():
        task = create_task(Invoice, run_after=timedelta(hours=1))

    assert kinds(task) == ["enqueue"]


def test_what_a_task_enqueues_runs_when_its_function_has_ended(function: Any) -> None:
    seen: list[Status] = []

    def work(self: Any) -> None:
        seen.append(status_of(create_task(Reminder)))

    function(work)
    with eager_tasks():
        create_task(Invoice)

    assert seen == [Status.PENDING]
    assert kinds(Reminder.objects.get()) == ["enqueue", "start", "ack"]


def test_what_a_run_of_other_tasks_enqueues_runs_with_them(function: Any) -> None:
    function(lambda self: create_task(Reminder).pk)
    task = create_task(Invoice)

    with eager_tasks():
        run_tasks(task)

    assert kinds(Reminder.objects.get()) == ["enqueue", "start", "ack"]


def test_reset_and_released_tasks_run() -> None:
    blocked = Invoice.objects.enqueue(blocked=True)
    first = create_task(Step)
    second = Invoice().after(first)
    second.save()
    with eager_tasks():
        blocked.unblock()
        first.reset()

    assert [status_of(task) for task in (blocked, first, second)] == [Status.SUCCESS] * 3


def test_a_note_runs_nothing() -> None:
    task = create_task(Invoice)

    with eager_tasks():
        task.note("wait a little")

    assert status_of(task) is Status.PENDING


def test_all_tasks_of_a_bulk_run() -> None:
    with eager_tasks():
        Invoice.objects.bulk_enqueue([{"amount": number} for number in range(3)])

    assert Invoice.objects.succeeded().count() == 3


def test_the_signals_of_a_task_are_sent_in_order(listen: Any) -> None:
    sent: list[Any] = []
    signals = {task_enqueued: "enqueued", task_started: "started", task_succeeded: "succeeded"}
    listen(lambda signal, **_: sent.append(signals[signal]), *signals)

    with eager_tasks():
        create_task(Invoice)

    assert sent == ["enqueued", "started", "succeeded"]


def test_the_hooks_of_the_code_under_test_follow_its_commit(is_in_transaction: bool) -> None:
    order: list[str] = []
    transaction.on_commit(lambda: order.append("before"))

    with eager_tasks():
        with transaction.atomic():
            transaction.on_commit(lambda: order.append("hook"))
            order.append("inside")
        order.append("after")

    expected = ["inside", "hook", "after"]
    assert order == (expected if is_in_transaction else ["before", *expected])


def test_a_failure_is_recorded_and_not_raised() -> None:
    with eager_tasks():
        task = create_task(Invoice, fails=True)

    assert status_of(task) is Status.FAILED


def test_a_task_that_enqueues_itself_meets_the_limit(function: Any) -> None:
    function(lambda self: create_task(Invoice).pk)

    with pytest.raises(TooManyRuns):
        with eager_tasks(limit=3):
            create_task(Invoice)

    assert Invoice.objects.succeeded().count() == 3


def test_a_receiver_that_refuses_the_start_is_seen(listen: Any) -> None:
    def refuse(task: Any, event: Any, **_: Any) -> None:
        if event.kind == "start":
            raise PermissionError(f"not {task.amount}")

    listen(refuse, event_recorded)

    with pytest.raises(PermissionError, match="not 1"):
        with eager_tasks():
            tasks = [create_task(Invoice, amount=amount) for amount in (1, 2)]

    assert [status_of(task) for task in tasks] == [Status.PENDING] * 2


def test_an_error_of_the_block_comes_first(listen: Any) -> None:
    def refuse(event: Any, **_: Any) -> None:
        if event.kind == "start":
            raise PermissionError

    listen(refuse, event_recorded)

    def save_and_fail() -> None:
        with eager_tasks():
            create_task(Invoice)
            raise LookupError

    with pytest.raises(LookupError):
        save_and_fail()


def refuse_start(event: Any, **_: Any) -> None:
    if event.kind == "start":
        raise PermissionError("not today")


def test_an_error_of_the_block_has_that_of_the_task_as_a_note(listen: Any) -> None:
    listen(refuse_start, event_recorded)

    def save_and_look() -> None:
        with eager_tasks():
            assert status_of(create_task(Invoice)) is Status.SUCCESS

    with pytest.raises(AssertionError) as raised:
        save_and_look()

    assert "PermissionError: not today" in raised.value.__notes__[-1]


def test_an_error_is_raised_once(listen: Any) -> None:
    block = eager_tasks()
    listen(refuse_start, event_recorded)
    with pytest.raises(PermissionError), block:
        create_task(Invoice)
    event_recorded.disconnect(refuse_start)

    with block:
        task = create_task(Invoice)

    assert status_of(task) is Status.SUCCESS


def test_a_block_may_be_entered_within_itself(is_in_transaction: bool) -> None:
    block = eager_tasks()

    with block:
        with block:
            first = create_task(Invoice)
        second = create_task(Invoice)
    third = create_task(Invoice)

    assert [kinds(task)[1:] for task in (first, second)] == [["start", "ack"]] * 2
    assert status_of(third) is Status.PENDING
    assert connection.in_atomic_block is is_in_transaction
    assert connection.execute_wrappers == []


@pytest.mark.parametrize("is_kept", [True, False], ids=["committed", "rolled back"])
def test_an_open_transaction_of_another_database_goes_on(is_kept: bool) -> None:
    with eager_tasks():
        with transaction.atomic(using="other"):
            written = Everywhere.objects.using("other").enqueue()
            with transaction.atomic():
                task = create_task(Invoice)
            assert status_of(task) is Status.SUCCESS
            transaction.set_rollback(not is_kept, using="other")

    found = Everywhere.objects.using("other").filter(pk=written.pk)
    assert [row.status for row in found] == [Status.SUCCESS] * is_kept


def test_a_function_can_be_decorated() -> None:
    @eager_tasks()
    def test(amount: int) -> Any:
        return create_task(Invoice, amount=amount)

    assert [status_of(test(1)), status_of(test(amount=2))] == [Status.SUCCESS] * 2


def test_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"such as Tests: (?s:.*)in setUp\(\)"):

        @eager_tasks()
        class Tests:
            pass


def test_a_coroutine_can_be_decorated() -> None:
    @eager_tasks()
    async def test() -> Any:
        return await Invoice.objects.aenqueue()

    assert status_of(async_to_sync(test)()) is Status.SUCCESS


def test_a_statement_that_fails_leaves_the_test_its_transaction(function: Any) -> None:
    function(lambda self: [Group.objects.create(name=name) for name in "aab"])

    with eager_tasks():
        task = create_task(Invoice)

    assert status_of(task) is Status.FAILED
    assert Group.objects.count() == 1
