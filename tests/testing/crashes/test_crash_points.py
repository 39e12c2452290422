"""The worker of ``run_tasks()`` dies at an event: ``crash_after()`` and ``crash_before()``."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from django_simpletask3.exceptions import Cancel, Retry, Snooze
from django_simpletask3.signals import event_recorded, task_succeeded
from django_simpletask3.states import Status
from django_simpletask3.testing import (
    arun_tasks,
    assertTaskEvents,
    crash_after,
    crash_before,
    eager_tasks,
    recover,
    run_tasks,
)
from tests.steps import kinds, status_of
from tests.testapp.models import Customer, Elsewhere, Everywhere, Invoice

pytestmark = pytest.mark.django_db
COMMITTED = pytest.mark.django_db(transaction=True)


def create(name: str) -> str:
    return Customer.objects.create(name=name).name


def names() -> list[str]:
    return sorted(Customer.objects.values_list("name", flat=True))


def work_in_steps(self: Any) -> None:
    self.once("one", create, "one")
    self.once("two", create, "two", atomic=True)


async def work_in_steps_awaiting(self: Any) -> None:
    await self.aonce("one", create, "one")
    await self.aonce("two", create, "two", atomic=True)


# The crash, how many events it leaves, and what the function has written by then
EVENTS = ["enqueue", "start", "checkpoint", "checkpoint", "ack"]
POINTS = {
    "before start": (partial(crash_before, "start"), 1, []),
    "after start": (partial(crash_after, "start"), 2, []),
    "before the first step": (partial(crash_before, "checkpoint"), 2, ["one"]),
    "after the first step": (partial(crash_after, "checkpoint", step="one"), 3, ["one"]),
    "before the second step": (partial(crash_before, "checkpoint", step="two"), 3, ["one"]),
    "after the second step": (
        partial(crash_after, "checkpoint", step="two"),
        4,
        ["one", "two"],
    ),
    "before ack": (partial(crash_before, "ack"), 4, ["one", "two"]),
    "after ack": (partial(crash_after, "ack"), 5, ["one", "two"]),
}
STATUSES = [Status.PENDING, Status.RUNNING, Status.RUNNING, Status.RUNNING, Status.SUCCESS]


def die_and_run_again(point: str) -> None:
    crash, number, written = POINTS[point]
    task = Invoice.objects.create()

    with crash():
        result = run_tasks()

    assertTaskEvents(task, *EVENTS[:number])
    assert names() == written
    assert status_of(task) is STATUSES[number - 1]
    assert result.left == [task] * (number < 5)
    assert result.succeeded == [task] * (number == 5)
    recover()
    run_tasks()
    assert status_of(task) is Status.SUCCESS


@pytest.mark.parametrize("point", POINTS)
def test_it_leaves_what_was_committed_before(function: Any, point: str) -> None:
    function(work_in_steps)

    die_and_run_again(point)


@pytest.mark.parametrize("point", ["before the first step", "after the second step"])
def test_a_coroutine_function_dies_there_too(function: Any, point: str) -> None:
    function(work_in_steps_awaiting)

    die_and_run_again(point)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["before start", "after the second step"])
def test_it_does_so_without_a_transaction_around_it(function: Any, point: str) -> None:
    function(work_in_steps)

    die_and_run_again(point)

    assert not connection.in_atomic_block
    assert connection.execute_wrappers == []


# The function, its outcome, and the status that the outcome leaves
OUTCOMES: dict[str, tuple[BaseException, Status]] = {
    "fail": (ValueError("no"), Status.FAILED),
    "retry": (Retry("again", after=60), Status.PENDING),
    "snooze": (Snooze(60), Status.PENDING),
    "cancel": (Cancel("not needed"), Status.CANCELED),
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_each_outcome_is_a_point(function: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error, status = OUTCOMES[kind]

    def work(self: Any) -> None:
        raise error

    function(work)
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", int(kind == "retry"))
    first, second = Invoice.objects.create(), Invoice.objects.create()

    with crash_before(kind):
        run_tasks(first)
    with crash_after(kind):
        run_tasks(second)

    assert (first.status, second.status) == (Status.RUNNING, status)
    assertTaskEvents(first, "enqueue", "start")
    assertTaskEvents(second, "enqueue", "start", kind)


def test_a_note_is_a_point(function: Any) -> None:
    function(lambda self: self.note("half"))
    task = Invoice.objects.create()

    with crash_after("note"):
        run_tasks(task)

    assertTaskEvents(task, "enqueue", "start", "note")


def test_nothing_follows_the_commit(function: Any, listen: Any) -> None:
    sent: list[str] = []

    def work_later(event: Any, **_: Any) -> None:
        transaction.on_commit(partial(sent.append, "hook"))

    listen(lambda **_: sent.append("signal"), task_succeeded)
    listen(work_later, event_recorded)
    task = Invoice.objects.create()
    sent.clear()

    with crash_after("ack"):
        run_tasks(task)
    assert (task.status, sent) == (Status.SUCCESS, ["hook"])  # of the start

    run_tasks(Invoice.objects.create())
    assert "signal" in sent


def test_the_other_tasks_wait_for_another_worker(function: Any) -> None:
    function(lambda self: create(str(self.pk)))
    first, second = Invoice.objects.create(), Invoice.objects.create()

    with crash_before("ack"):
        assert run_tasks().left == [first, second]
        assert run_tasks().succeeded == [second]

    assert names() == sorted([str(first.pk), str(second.pk)])
    assert (status_of(first), status_of(second)) == (Status.RUNNING, Status.SUCCESS)


@pytest.mark.parametrize("is_committed", [False, pytest.param(True, marks=COMMITTED)])
def test_a_wrapper_of_the_function_neither_stays_nor_opens_the_database(
    function: Any, is_committed: bool
) -> None:
    def pass_on(execute: Any, *args: Any) -> Any:
        return execute(*args)

    def work(self: Any) -> None:
        try:
            with connection.execute_wrapper(pass_on):
                self.once("one", lambda: 1)
        finally:
            create("cleaned up")

    function(work)
    task = Invoice.objects.create()

    with crash_before("checkpoint"):
        run_tasks(task)

    assert (task.status, names()) == (Status.RUNNING, [])
    assert connection.execute_wrappers == []


def test_a_crash_for_each_of_several_runs() -> None:
    task = Invoice.objects.create()

    with crash_after("start"), crash_before("ack"):
        run_tasks(task)
        recover(task)
        run_tasks(task)

    assertTaskEvents(task, "enqueue", "start", "recover", "start")


def finish_in_transaction(self: Any) -> None:
    with transaction.atomic():
        create("rolled back")
        self.once("one", create, "rolled back", atomic=True)


def clean_up(self: Any) -> None:
    try:
        self.once("one", create, "step")
    finally:
        create("cleaned up")


def catch_exceptions(self: Any) -> None:
    with suppress(Exception):
        self.once("one", create, "step")
    create("went on")


def catch_everything(self: Any) -> None:
    with suppress(BaseException):
        self.once("one", create, "step")
    with suppress(BaseException), transaction.atomic():
        create("went on")


def catch_everything_in_transaction(self: Any) -> None:
    with transaction.atomic():
        create("rolled back")
        with suppress(BaseException):
            self.once("one", create, "step", atomic=True)


async def catch_everything_awaiting(self: Any) -> None:
    with suppress(BaseException):
        await self.aonce("one", create, "step")


# What the function does, and what it has written
ENDINGS = {
    finish_in_transaction: [],
    clean_up: ["step"],
    catch_exceptions: ["step"],
    catch_everything: ["step"],
    catch_everything_in_transaction: [],
    catch_everything_awaiting: ["step"],
}


@pytest.mark.parametrize("work", ENDINGS)
def test_what_the_function_does_after_the_crash_reaches_no_database(
    function: Any, work: Any
) -> None:
    function(work)

    die_in_step(ENDINGS[work])


def die_in_step(written: list[str]) -> None:
    task = Invoice.objects.create()

    with crash_before("checkpoint"):
        run_tasks(task)

    assert names() == written
    assertTaskEvents(task, "enqueue", "start")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("work", [clean_up, catch_everything_in_transaction])
def test_nor_does_it_without_a_transaction_of_the_test(function: Any, work: Any) -> None:
    function(work)

    die_in_step(ENDINGS[work])

    assert not connection.in_atomic_block


def test_finally_runs_all_the_same(function: Any) -> None:
    ended = []

    def work(self: Any) -> None:
        try:
            self.note()
        finally:
            ended.append(self.pk)

    function(work)
    task = Invoice.objects.create()

    with crash_after("note"):
        run_tasks(task)

    assert ended == [task.pk]


def test_a_backoff_is_not_asked(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    function(lambda self: self.note())
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 3)
    monkeypatch.setattr(
        Invoice, "django_simpletask3_retry_backoff", lambda *args: asked.append(args) or 1.0
    )

    with crash_after("note"):
        run_tasks(Invoice.objects.create())

    assert asked == []


def test_a_point_that_is_not_reached_fails_the_block() -> None:
    def run() -> None:
        with crash_before("checkpoint", step="charge"):
            run_tasks(Invoice.objects.create())

    def run_nothing() -> None:
        with crash_after("start"):
            run_tasks()

    with pytest.raises(AssertionError) as raised:
        run()
    assert str(raised.value) == (
        "crash_before('checkpoint', step='charge'): no worker has recorded such an event, only: "
        "start, ack."
    )
    with pytest.raises(AssertionError, match=r"^crash_after\('start'\): .*, and no other\.$"):
        run_nothing()


def test_the_steps_that_were_reached_are_listed(function: Any) -> None:
    """A name that is spelled wrong is found at once."""
    function(work_in_steps)

    with (
        pytest.raises(
            AssertionError,
            match=r"only: start, checkpoint \(step='one'\), checkpoint \(step='two'\)",
        ),
        crash_before("checkpoint", step="oen"),
    ):
        run_tasks(Invoice.objects.create())


def test_the_error_of_the_block_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), crash_after("start"):
        raise ZeroDivisionError


@pytest.mark.parametrize("wrong", ["stop", "enqueue", "recover", ""])
def test_a_wrong_kind_is_refused_with_the_right_ones(wrong: str) -> None:
    with (
        pytest.raises(
            ValueError, match=r"none of start, ack, fail, retry, snooze, release, cancel"
        ),
        crash_after(wrong),
    ):
        pass


def test_a_step_of_another_kind_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="step is for the kind 'checkpoint'"),
        crash_after("ack", step="charge"),
    ):
        pass


def test_an_event_of_the_test_is_no_point() -> None:
    task = Invoice.objects.create()

    def run() -> None:
        with crash_after("note"):
            task.note("of the test")
            run_tasks(task)
            task.note("of the test")

    with pytest.raises(AssertionError, match=r"such an event, only: start, ack\."):
        run()
    assertTaskEvents(task, "enqueue", "note", "start", "ack", "note")


def test_what_a_function_does_to_another_task_is_no_point(function: Any) -> None:
    other = Invoice.objects.enqueue(blocked="for ever")
    function(lambda self: other.cancel())
    task = Invoice.objects.create()

    def run() -> None:
        with crash_after("cancel"):
            run_tasks(task)

    with pytest.raises(AssertionError, match=r"such an event, only: start, ack\."):
        run()


def test_the_transactions_of_other_databases_are_rolled_back(function: Any) -> None:
    def work(self: Any) -> None:
        with transaction.atomic(using="other"):
            Everywhere().save(using="other")
            with suppress(BaseException):
                self.note()

    function(work)

    with crash_before("note"):
        run_tasks(Invoice.objects.create())

    assert not Everywhere.objects.using("other").exists()


def test_within_eager_tasks() -> None:
    with eager_tasks(), crash_after("start"):
        task = Invoice.objects.create()
    assert status_of(task) is Status.RUNNING


def test_in_a_coroutine() -> None:
    async def test() -> Any:
        with crash_before("ack"):
            return await arun_tasks()

    task = Invoice.objects.create()

    assert async_to_sync(test)().left == [task]
    assert kinds(task) == ["enqueue", "start"]


def test_as_a_decorator() -> None:
    task = Invoice.objects.create()

    crash_after("start")(run_tasks)(task)

    assert task.status == Status.RUNNING


def test_a_task_function_that_runs_tasks_dies_with_them(function: Any) -> None:
    went_on = []

    def work(self: Any) -> None:
        if self.amount:
            self.note()
        run_tasks(*Invoice.objects.filter(amount=1))
        went_on.append(self)

    function(work)
    outer, inner = Invoice.objects.create(), Invoice.objects.create(amount=1)

    with crash_after("note"):
        run_tasks(outer)

    assert went_on == []
    assertTaskEvents(outer, "enqueue", "start")
    assertTaskEvents(inner, "enqueue", "start", "note")


@pytest.mark.django_db(databases=["default", "other"])
def test_a_task_of_another_database() -> None:
    task = Elsewhere.objects.create()

    with crash_after("start"):
        run_tasks(task)
    assert task.status == Status.RUNNING
    assert recover(task) == 1
    run_tasks(task)

    assertTaskEvents(task, "enqueue", "start", "recover", "start", "ack")
