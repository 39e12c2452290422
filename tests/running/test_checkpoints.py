"""``once()``: a step that has been recorded is not repeated, and what the record holds."""

import datetime
import decimal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_simpletask3.context import TaskContext, lazy_context
from django_simpletask3.exceptions import (
    CheckpointErased,
    CheckpointInTransaction,
    CheckpointNotRecorded,
    CheckpointRepeated,
    NotInTaskFunction,
    StopReason,
    TaskStopped,
)
from django_simpletask3.execution.finish import finish
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.models import SimpleTask
from django_simpletask3.states import EventKind
from tests.running.conftest import Perform, finished, statements_of
from tests.steps import apply_kinds, create_task, kinds, row_of, stream_of, without_salt
from tests.testapp.models import Customer, Invoice

pytestmark = pytest.mark.django_db(transaction=True)

one_statement = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="several statements here"
)
forms = pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])


class Lost(Exception):
    """The end of an attempt, after which there is another."""


class Step:
    """A step that counts its calls."""

    def __init__(self, value: Any = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.value = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return self.value


def again(task: Any, perform_function: Perform, function: Any) -> Any:
    """The task after another attempt with ``function``."""
    task = row_of(task)
    if task.status == SimpleTask.RUNNING:
        apply_kinds(task, EventKind.RECOVER)
    return finished(perform_function(function, task))


def checkpoints(task: Any) -> list[dict[str, Any]]:
    events = [event for event in stream_of(task) if event.kind == EventKind.CHECKPOINT]
    return [without_salt(event.data) for event in events]


@forms
def test_a_recorded_step_is_not_repeated(perform_function: Perform, atomic: bool) -> None:
    step = Step({"charge": 7})

    def function(task: Any) -> Any:
        return task.once("charge", step, 1, currency="CHF", atomic=atomic)

    run = perform_function(function)  # and it is lost before its outcome is recorded
    task = again(run.task, perform_function, function)

    assert step.calls == [((1,), {"currency": "CHF"})]
    assert run.transition is not None
    assert run.transition.result == task.result_data == {"charge": 7}
    assert kinds(task) == ["enqueue", "start", "checkpoint", "recover", "start", "ack"]
    assert checkpoints(task) == [{"name": "charge", "phase": "done", "value": {"charge": 7}}]
    assert broken_links(stream_of(task)) == []


@forms
def test_the_value_is_the_same_the_first_time_and_later(
    perform_function: Perform, atomic: bool
) -> None:
    tagged = [decimal.Decimal("1.10"), datetime.date(2024, 2, 29), {(1, 2): {3}}, b"\xff", 1j]
    step = Step({"tuple": (1, "ä\x00\ud800"), "tagged": tagged})
    values: list[Any] = []

    def function(task: Any) -> None:
        values.append(task.once("value", step, atomic=atomic))

    run = perform_function(function)
    again(run.task, perform_function, function)

    assert values == [{"tuple": [1, "ä\x00\ud800"], "tagged": tagged}] * 2
    assert values[0] is not step.value


@forms
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(object(), "JSON cannot hold a value of type object", id="object"),
        pytest.param([{"deep": [Step()]}], r"of type tests\..*Step", id="within"),
        pytest.param("x" * 65_535, "more than 65536 bytes", id="large"),
        pytest.param([1] * 40_000, "more than 65536 bytes", id="long"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused_and_the_step_has_run(
    perform_function: Perform, atomic: bool, value: Any, problem: str
) -> None:
    step = Step(value)

    def function(task: Any) -> str:
        with pytest.raises(CheckpointNotRecorded, match=problem) as refused:
            task.once("step", step, atomic=atomic)
        return f"{refused.value.name}: {refused.value}"

    task = finished(perform_function(function))

    assert len(step.calls) == 1
    assert task.result_data.startswith("step: The step 'step' has run")
    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_value_up_to_64_kb_is_whole_whatever_the_limit_of_results(
    perform_function: Perform, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT = 300
    step = Step("x" * 65_534)

    run = perform_function(lambda task: task.once("large", step))
    task = again(run.task, perform_function, lambda task: len(task.once("large", step)))

    assert (task.error_data, task.result_data) == (None, 65_534)
    assert len(step.calls) == 1


@forms
def test_a_name_stands_for_one_step_of_an_attempt(perform_function: Perform, atomic: bool) -> None:
    step = Step(1)

    def function(task: Any) -> str:
        task.once("step", step, atomic=atomic)
        with pytest.raises(CheckpointRepeated) as refused:
            task.once("step", step, atomic=atomic)
        return refused.value.name

    assert finished(perform_function(function)).result_data == "step"
    assert len(step.calls) == 1


@forms
def test_a_step_that_raised_may_be_tried_again_with_its_steps(
    perform_function: Perform, atomic: bool
) -> None:
    inner = Step("inner")

    def function(task: Any) -> list[Any]:
        def outer(fails: bool) -> list[Any]:
            value = task.once("inner", inner, atomic=atomic)
            if fails:
                raise Lost
            return ["outer", value]

        with suppress(Lost):
            task.once("outer", outer, True, atomic=atomic)
        return task.once("outer", outer, False, atomic=atomic)

    task = finished(perform_function(function))

    assert task.result_data == ["outer", "inner"]
    # The transaction of the outer step was rolled back, and with it the record of the inner one.
    assert len(inner.calls) == (2 if atomic else 1)
    assert [checkpoint["name"] for checkpoint in checkpoints(task)] == ["inner", "outer"]


def test_a_step_inside_of_a_transaction_is_refused_before_it_runs(
    perform_function: Perform,
) -> None:
    step = Step()

    def function(task: Any) -> str:
        with transaction.atomic(), pytest.raises(CheckpointInTransaction) as refused:
            task.once("step", step)
        return refused.value.name

    assert finished(perform_function(function)).result_data == "step"
    assert step.calls == []


def test_a_step_without_autocommit_is_refused_before_it_runs(perform_function: Perform) -> None:
    step = Step()

    def function(task: Any) -> None:
        transaction.set_autocommit(False)
        try:
            with pytest.raises(CheckpointInTransaction, match="in a transaction"):
                task.once("step", step)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    assert finished(perform_function(function)).success
    assert step.calls == []


def test_a_transaction_on_another_database_is_none_of_the_tasks(perform_function: Perform) -> None:
    def function(task: Any) -> Any:
        with transaction.atomic(using="other"):
            return task.once("step", Step("fine"))

    assert finished(perform_function(function)).result_data == "fine"


@pytest.mark.django_db(transaction=False)
def test_the_transaction_of_a_test_case_is_none_of_the_task_function(
    perform_function: Perform,
) -> None:
    assert finished(perform_function(lambda task: task.once("step", Step(3)))).result_data == 3


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_an_atomic_step_shares_the_fate_of_the_transaction_around_it(
    perform_function: Perform, is_rolled_back: bool
) -> None:
    def step(task: Any) -> None:
        task.once("step", lambda: Customer.objects.create(name="Ada").pk, atomic=True)

    def within_transaction(task: Any) -> None:
        with suppress(Lost), transaction.atomic():
            step(task)
            if is_rolled_back:
                raise Lost

    run = perform_function(within_transaction)
    assert Customer.objects.count() == (0 if is_rolled_back else 1)
    task = again(run.task, perform_function, step)

    assert Customer.objects.count() == 1
    assert len(checkpoints(task)) == 1
    assert broken_links(stream_of(task)) == []


def test_a_step_that_raises_after_writing_has_written_nothing(perform_function: Perform) -> None:
    def step() -> None:
        Customer.objects.create(name="Ada")
        raise Lost

    def function(task: Any) -> None:
        with suppress(Lost):
            task.once("step", step, atomic=True)

    assert kinds(finished(perform_function(function))) == ["enqueue", "start", "ack"]
    assert not Customer.objects.exists()


@forms
def test_a_superseded_attempt_records_no_step(perform_function: Perform, atomic: bool) -> None:
    if atomic and not connection.features.has_select_for_update:
        pytest.skip("no other writer comes in between")

    def step(pk: Any) -> None:
        Customer.objects.create(name="Ada")
        with ThreadPoolExecutor(1) as other:
            other.submit(reset, pk).result(20)

    def reset(pk: Any) -> None:
        Invoice.objects.get(pk=pk).reset()
        connection.close()

    def function(task: Any) -> None:
        with pytest.raises(TaskStopped) as stopped:
            task.once("step", step, task.pk, atomic=atomic)
        assert stopped.value.reason is StopReason.SUPERSEDED
        assert task.should_stop
        with pytest.raises(TaskStopped):
            task.once("next", Step())

    run = perform_function(function)

    assert Customer.objects.count() == (0 if atomic else 1)
    assert kinds(run.task) == ["enqueue", "start", "reset", *([] if atomic else ["reject"])]
    if not atomic:
        refused = stream_of(run.task)[-1].data
        expected = ("checkpoint", "step", 1)
        assert (refused["refused"], refused["name"], refused["attempt"]) == expected


def test_a_deleted_task_records_no_step(perform_function: Perform) -> None:
    def function(task: Any) -> None:
        with pytest.raises(TaskStopped):
            task.once("step", lambda: Invoice.objects.get(pk=task.pk).delete() and None)

    assert kinds(perform_function(function).task) == ["enqueue", "start", "delete"]


@forms
def test_a_first_attempt_asks_nothing_and_a_later_one_asks_once(
    perform_function: Perform, atomic: bool
) -> None:
    reads: list[list[str]] = []

    def function(task: Any) -> None:
        task.note("reads the context of the task")
        for name in "ab":
            made = statements_of(lambda name=name: task.once(name, Step(), atomic=atomic))
            reads.append(made)

    run = perform_function(function)
    again(run.task, perform_function, function)

    first, second, known, also_known = reads
    assert first == second
    assert (known, also_known) == (["SELECT"], [])


@one_statement
def test_a_step_is_recorded_by_one_statement_and_so_is_the_outcome(
    perform_function: Perform,
) -> None:
    made: list[str] = []

    def function(task: Any) -> None:
        task.note("reads the context of the task")
        made.extend(statements_of(lambda: task.once("step", Step())))

    run = perform_function(function)

    assert made == ["WITH"]
    assert statements_of(lambda: finish([run])) == ["WITH"]


@one_statement
def test_the_outcome_after_an_atomic_step_is_one_statement(perform_function: Perform) -> None:
    run = perform_function(lambda task: task.once("step", Step(), atomic=True))

    assert statements_of(lambda: finish([run])) == ["WITH"]


def test_a_reset_keeps_the_steps_unless_it_says_restart(perform_function: Perform) -> None:
    step = Step()

    def function(task: Any) -> None:
        task.once("step", step)

    task = finished(perform_function(function))
    for number, restart in enumerate([False, True, False], start=1):
        task.reset(restart=restart)
        task = again(task, perform_function, function)
        assert len(step.calls) == (1 if number == 1 else 2)

    resets = [event.data for event in stream_of(task) if event.kind == EventKind.RESET]
    assert [data["restart"] for data in resets] == [False, True, False]


def test_a_context_makes_no_reset_a_restart(perform_function: Perform) -> None:
    step = Step()
    task = finished(perform_function(lambda task: task.once("step", step)))

    with lazy_context(lambda: TaskContext(data={"restart": True})):  # of an earlier version
        apply_kinds(task, EventKind.RESET)
    again(task, perform_function, lambda task: task.once("step", step))

    assert len(step.calls) == 1


def test_a_task_that_takes_the_key_of_a_deleted_one_has_none_of_its_steps(
    perform_function: Perform,
) -> None:
    step, keys = Step(), []

    def function(task: Any) -> None:
        task.once("step", step)
        keys.append(task.idempotency_key("step"))

    task = finished(perform_function(function))
    pk = task.pk
    task.delete()
    again(create_task(Invoice, pk=pk), perform_function, function)

    assert len(step.calls) == 2
    assert keys[0] != keys[1]


def test_an_erased_value_raises_until_the_task_begins_again(perform_function: Perform) -> None:
    def read(task: Any) -> None:
        with pytest.raises(CheckpointErased) as erased:
            task.once("step", Step())
        assert erased.value.name == "step"

    task = finished(perform_function(lambda task: task.once("step", Step("secret")) and None))
    assert task.erase()
    assert "secret" not in str([event.data for event in stream_of(task)])
    assert broken_links(stream_of(task)) == []
    task.reset()
    task = again(task, perform_function, read)
    task.reset(restart=True)

    assert again(task, perform_function, lambda task: task.once("step", Step("new"))).success


def test_the_key_of_a_step_lasts_as_long_as_its_checkpoint(perform_function: Perform) -> None:
    keys: list[str] = []

    def function(task: Any) -> None:
        keys.append(task.idempotency_key("charge"))
        assert task.idempotency_key("other") != keys[-1]

    run = perform_function(function)
    task = again(run.task, perform_function, function)
    task.reset()
    task = again(task, perform_function, function)
    assert task.idempotency_key("charge") == keys[0]
    task.reset(restart=True)
    task = again(task, perform_function, function)

    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert str(uuid.UUID(keys[0])) == keys[0]
    assert task.idempotency_key("charge") == keys[3]
    other = perform_function(function)
    assert other.task.pk != task.pk
    assert keys[4] != keys[0]


def test_a_restart_before_the_first_attempt_changes_no_key(perform_function: Perform) -> None:
    keys: list[str] = []
    task = create_task(Invoice)
    task.reset(restart=True)

    run = perform_function(lambda task: keys.append(task.idempotency_key("charge")), task)
    again(run.task, perform_function, lambda task: keys.append(task.idempotency_key("charge")))

    assert keys[0] == keys[1]


def test_outside_of_a_task_function_there_are_no_checkpoints() -> None:
    task = create_task(Invoice)

    with pytest.raises(NotInTaskFunction, match=f"^once.. of testapp.Invoice {task.pk} was called"):
        task.once("step", Step())


def test_the_copy_of_a_task_has_no_task_function(perform_function: Perform) -> None:
    def function(task: Any) -> None:
        with pytest.raises(NotInTaskFunction):
            Invoice.objects.get(pk=task.pk).once("step", Step())
        task.pk = None
        with pytest.raises(NotInTaskFunction):
            task.once("step", Step())

    assert finished(perform_function(function)).success


@pytest.mark.parametrize("name", ["", "x" * 201, 7, None], ids=["empty", "long", "int", "none"])
def test_a_name_is_a_text(perform_function: Perform, name: Any) -> None:
    def function(task: Any) -> None:
        with pytest.raises((TypeError, ValueError), match=r"^The name of a step"):
            task.once(name, Step())

    assert finished(perform_function(function)).success


def test_a_coroutine_function_is_refused(perform_function: Perform) -> None:
    async def step() -> None: ...

    def function(task: Any) -> None:
        with pytest.raises(TypeError, match="coroutine function"):
            task.once("step", step)

    assert finished(perform_function(function)).success


@contextmanager
def lost_answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next commit succeeds, but the connection is lost before its answer."""
    lost: list[str] = []

    def lose(answer: Any) -> Any:
        if not lost:
            lost.append("answer")
            raise OperationalError("server closed the connection unexpectedly")
        return answer

    def execute_and_lose(execute: Any, sql: str, *args: Any) -> Any:
        answer = execute(sql, *args)
        return lose(answer) if sql.strip().startswith("WITH") and _is_alone() else answer

    def commit_and_lose(self: Any) -> Any:
        return lose(commit(self))

    commit = BaseDatabaseWrapper._commit
    with monkeypatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "_commit", commit_and_lose)
        connection.execute_wrappers.append(execute_and_lose)
        try:
            yield
        finally:
            connection.execute_wrappers.remove(execute_and_lose)
        assert lost


def _is_alone() -> bool:
    return not connection.in_atomic_block


def test_a_record_whose_answer_was_lost_is_not_written_twice(
    perform_function: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step("done")

    def function(task: Any) -> Any:
        with lost_answer(monkeypatch):
            return task.once("step", step)

    task = finished(perform_function(function))

    assert (task.result_data, len(step.calls)) == ("done", 1)
    assert kinds(task) == ["enqueue", "start", "checkpoint", "ack"]


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "not seen at first"])
def test_a_committed_step_whose_answer_was_lost_is_not_repeated(
    perform_function: Perform, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    def see_nothing(execute: Any, sql: str, *args: Any) -> Any:
        # As while the database still works on the commit of the connection that was lost.
        return execute(sql.replace("WHERE", "WHERE 1 = 0 AND", 1) if hidden else sql, *args)

    hidden: list[bool] = []
    calls: list[str] = []

    def step(name: str) -> str:
        calls.append(name)
        hidden.clear()
        Customer.objects.create(name=name)
        return name

    def function(task: Any) -> Any:
        with pytest.raises(OperationalError), lost_answer(monkeypatch):
            task.once("step", step, "first", atomic=True)
        hidden.extend([] if is_seen else [True])
        with connection.execute_wrapper(see_nothing):
            return task.once("step", step, "second", atomic=True)

    task = finished(perform_function(function))

    assert task.result_data == "first"
    assert calls == (["first"] if is_seen else ["first", "second"])
    assert [customer.name for customer in Customer.objects.all()] == ["first"]
    assert kinds(task) == ["enqueue", "start", "checkpoint", "ack"]


def test_a_database_that_is_away_for_a_while_costs_no_step(
    perform_function: Perform,
) -> None:
    step, refusals = Step("done"), iter(range(3))

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if next(refusals, None) is not None:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *args)

    def function(task: Any) -> Any:
        task.note("reads the context of the task")
        session = connection.connection
        connection.execute_wrappers.append(refuse)
        try:
            return task.once("step", step)
        finally:
            connection.execute_wrappers.remove(refuse)
            # It works, and has what a middleware may have set, such as the search path.
            assert connection.connection is session

    task = finished(perform_function(function))

    assert (task.result_data, len(step.calls)) == ("done", 1)
    assert kinds(task) == ["enqueue", "start", "note", "checkpoint", "ack"]


def test_an_error_that_stays_names_the_step_that_has_run(perform_function: Perform) -> None:
    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        raise DatabaseError("no such table")

    def function(task: Any) -> str:
        with (
            pytest.raises(CheckpointNotRecorded, match="The step 'step' has run") as refused,
            connection.execute_wrapper(refuse),
        ):
            task.once("step", Step())
        assert isinstance(refused.value.__cause__, DatabaseError)
        return refused.value.name

    assert finished(perform_function(function)).result_data == "step"


@forms
def test_a_coroutine_records_steps_of_both_kinds(perform_function: Perform, atomic: bool) -> None:
    calls: list[str] = []

    async def create(name: str) -> int:
        calls.append(name)
        return (await Customer.objects.acreate(name=name)).pk

    async def function(task: Any) -> list[int]:
        first = await task.aonce("first", create, "Ada", atomic=atomic)
        second = await task.aonce(
            "second", lambda: Customer.objects.create(name="Bea").pk, atomic=atomic
        )
        return [first, second]

    run = perform_function(function)
    task = again(run.task, perform_function, function)

    assert task.result_data == [customer.pk for customer in Customer.objects.order_by("name")]
    assert calls == ["Ada"]
    assert [checkpoint["name"] for checkpoint in checkpoints(task)] == ["first", "second"]


def test_an_atomic_step_of_a_coroutine_is_rolled_back(perform_function: Perform) -> None:
    async def create() -> None:
        await Customer.objects.acreate(name="Ada")
        raise Lost

    async def function(task: Any) -> None:
        with suppress(Lost):
            await task.aonce("step", create, atomic=True)

    assert kinds(finished(perform_function(function))) == ["enqueue", "start", "ack"]
    assert not Customer.objects.exists()
