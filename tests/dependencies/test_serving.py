"""Dependents are released and canceled once, in batches, whatever happens meanwhile."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from django_simpletask3.conf.options import options
from django_simpletask3.context import task_context
from django_simpletask3.dependencies import chain, group, participant, serving
from django_simpletask3.dependencies.loading import load_by_key
from django_simpletask3.dependencies.tables import (
    DependentState,
    GroupState,
    LinkState,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.exceptions import RowBusy
from django_simpletask3.ledger.encoding import TAG
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.recovery.dependents import delete_unused_groups, serve_all
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.transition import Transition, known_row
from tests.dependencies.steps import (
    FAILURES,
    dependent_on,
    fail,
    group_of,
    link_states,
    status,
    step,
    succeed,
)
from tests.steps import apply_kinds, create_task, has_message, kinds, stream_of
from tests.testapp.models import Invoice, Scripted, Step, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def killed_after_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process does after its commit what is left to do."""
    for module in (participant, serving):
        monkeypatch.setattr(module, "serve_after_commit", lambda using: None)


@pytest.mark.parametrize("how", ["cancel", "delete", "fail"])
def test_maintenance_does_what_a_killed_process_did_not(
    how: str, killed_after_commit: None
) -> None:
    first = step()
    task, other = dependent_on(first), dependent_on(first, on_failure="run")

    FAILURES[how](first)
    before = status(task)
    serve_all()

    assert before is Status.BLOCKED
    assert [status(task), status(other)] == [Status.CANCELED, Status.PENDING]
    assert serve_all() == 0


def test_a_user_who_ends_a_prerequisite_locks_no_group(killed_after_commit: None) -> None:
    first = step()
    task = dependent_on(first)

    first.cancel()

    assert link_states(first) == [LinkState.HAS_FAILED]
    assert group_of(task).failed == 0


def test_more_than_a_hundred_dependents_are_released_in_batches(redis_url: str) -> None:
    first, *tasks = group(Step()).then(*(Invoice() for _ in range(130))).enqueue()

    succeed(first)
    serve_all()

    assert set(map(status, tasks)) == {Status.PENDING}
    assert all(map(has_message, tasks))
    assert {kinds(task)[-1] for task in tasks} == {"unblock"}
    assert group_of(tasks[0]).state == GroupState.SERVED


def test_the_end_of_a_prerequisite_of_many_groups_is_counted_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(participant, "_MAX_AT_ONCE", 3)
    first = step()
    tasks = [dependent_on(first) for _ in range(5)]
    others = [dependent_on(first, on_failure="wait") for _ in range(5)]

    fail(first)
    serve_all()
    first.reset()
    succeed(first)
    serve_all()

    assert set(map(status, tasks)) == {Status.CANCELED}
    assert set(map(status, others)) == {Status.PENDING}


def test_many_links_that_are_counted_already_hide_no_others(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setattr(participant, "_MAX_AT_ONCE", 3)
    again, other = step(), apply_kinds(step(), EventKind.START)
    for _ in range(5):
        dependent_on(again, on_failure="run")
    fail(again)
    again.reset()
    apply_kinds(again, EventKind.START)
    task = dependent_on(other)

    # In one batch with an acknowledgment; the links of the first come first.
    apply_each(
        [
            Transition(again, EventKind.FAIL, worker="w1"),
            Transition(other, EventKind.ACK, worker="w1"),
        ]
    )

    assert status(task) is Status.PENDING


def test_dependents_of_canceled_dependents_are_canceled(redis_url: str) -> None:
    first = step()
    second = dependent_on(first, model=Step)
    last = dependent_on(second)

    fail(first)

    assert [status(second), status(last)] == [Status.CANCELED, Status.CANCELED]
    assert [event.reason for event in last.events.all()][-1] == "prerequisite_failed"


def test_an_end_is_recorded_also_if_no_dependent_can_be_released(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    first = apply_kinds(step(), EventKind.START)
    task = dependent_on(first)

    with monkeypatch.context() as broken:
        broken.setattr(serving, "load_by_key", lambda *arguments: 1 / 0)
        apply_each([Transition(first, EventKind.ACK, worker="w1")])
    before = status(task)
    serve_all()

    assert status(first) is Status.SUCCESS
    assert [before, status(task)] == [Status.BLOCKED, Status.PENDING]


#: What ends a transaction on the server, unknown to Django: a deadlock does so on MariaDB.
ENDS_TRANSACTION = {
    "rollback": dict.fromkeys(("sqlite", "postgresql", "mysql"), "ROLLBACK"),
    "session cut": {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    },
}


@pytest.mark.parametrize("where", ["load", "unblock"])
@pytest.mark.parametrize("how", ENDS_TRANSACTION)
def test_an_end_is_not_lost_with_the_transaction_that_releases_the_dependents(
    how: str, where: str, monkeypatch: pytest.MonkeyPatch, listen: Callable[..., None]
) -> None:
    if (statement := ENDS_TRANSACTION[how].get(connection.vendor)) is None:
        pytest.skip("no session")
    first, second = (apply_kinds(step(), EventKind.START) for _ in range(2))
    task, other = dependent_on(first), dependent_on(second)
    ended: list[str] = []

    def end_transaction(at: str) -> None:
        if at == where and len(ended) < 2:
            ended.append(at)
            with connection.cursor() as cursor:
                cursor.execute(statement)
            raise OperationalError("the transaction is over")

    def load(*arguments: Any) -> Any:
        end_transaction("load")
        return load_by_key(*arguments)

    monkeypatch.setattr(serving, "load_by_key", load)
    listen(lambda event, **_: end_transaction(event.kind), event_recorded)
    with pytest.raises(DatabaseError):
        apply_each([Transition(first, EventKind.ACK, worker="w1")])
    lost = status(first)
    acks = [Transition(each, EventKind.ACK, worker="w1") for each in (first, second)]
    apply_each(acks)  # together and then, since that fails, one by one

    assert lost is Status.RUNNING
    assert [ack.error for ack in acks] == [None, None]
    assert [status(first), status(second)] == [Status.SUCCESS] * 2
    assert [status(task), status(other)] == [Status.PENDING] * 2


def test_what_breaks_the_transaction_of_the_caller_is_raised(listen: Callable[..., None]) -> None:
    tasks = [apply_kinds(step(), EventKind.START) for _ in range(2)]

    def end_transaction(**_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")
        raise ValueError("no error of the database")

    listen(end_transaction, event_recorded)
    with pytest.raises(ValueError, match="no error"), transaction.atomic():
        apply_each([Transition(task, EventKind.ACK, worker="w1") for task in tasks])


def test_a_dependent_that_cannot_be_released_does_not_hold_up_its_prerequisite(
    listen: Callable[..., None], redis_url: str
) -> None:
    first = apply_kinds(step(), EventKind.START)
    poisoned, other = dependent_on(first), dependent_on(first)

    def refuse(task: Any, event: Any, **_: Any) -> None:
        if task.pk == poisoned.pk and event.kind == EventKind.UNBLOCK:
            raise ValueError("poison")

    listen(refuse, event_recorded)
    apply_each([Transition(first, EventKind.ACK, worker="w1")])

    assert status(first) is Status.SUCCESS
    assert [status(poisoned), status(other)] == [Status.BLOCKED, Status.PENDING]


@pytest.mark.parametrize("together", [True, False], ids=["one group", "two groups"])
def test_a_dependent_that_cannot_be_loaded_holds_up_no_other(
    together: bool, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    first, from_db = step(), Invoice.from_db.__func__  # type: ignore[attr-defined]
    if together:
        _, unreadable, other = group(first).then(Invoice(), Invoice()).enqueue()
    else:
        unreadable, other = dependent_on(first), dependent_on(first)

    def read(model: Any, using: Any, names: Any, values: Any, **rest: Any) -> Any:
        if dict(zip(names, values, strict=True))["id"] == unreadable.pk:
            raise ValueError("a value that this version cannot read")
        return from_db(model, using, names, values, **rest)

    with monkeypatch.context() as broken:
        broken.setattr(Invoice, "from_db", classmethod(read))
        first.cancel()
        for _ in range(2):
            serve_all()
        served = status(other)
    before = status(unreadable)
    serve_all()

    assert served is Status.CANCELED
    assert [before, status(unreadable)] == [Status.BLOCKED, Status.CANCELED]


def test_a_key_of_another_type_is_that_of_no_task(
    killed_after_commit: None, redis_url: str
) -> None:
    first, second, third = (step() for _ in range(3))
    for prerequisite in (first, second):
        task = dependent_on(prerequisite)
        TaskDependent.objects.filter(task_key=str(task.pk)).update(task_key=f"no {task.pk}")
    other = dependent_on(third, second)
    TaskPrerequisite.objects.filter(task_key=str(first.pk)).update(
        task_key="no number", state=LinkState.WAS_RESET, to_be_counted=1
    )

    third.cancel()
    serve_all()

    assert status(other) is Status.CANCELED
    assert delete_unused_groups() == 2
    assert serve_all() == 0


@pytest.mark.parametrize("how", FAILURES)
def test_keys_that_differ_by_case_only_are_those_of_different_tasks(
    how: str, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setattr(TextKeyed, "django_simpletask3_can_be_awaited", True)
    first = create_task(TextKeyed, id="ada")
    task = dependent_on(first)
    # As if it waited for another task, in a table whose collation tells them apart.
    TaskPrerequisite.objects.filter(task_key="ada").update(task_key="Ada")

    FAILURES[how](first)
    serve_all()

    assert status(task) is Status.BLOCKED
    assert [link_states(TextKeyed(id=key)) for key in ("ada", "Ada")] == [[], [LinkState.OPEN]]
    assert task.prerequisites.count() == 1


def test_dependents_are_served_by_the_package_and_not_by_who_commits_next(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    first, second = step(), step()
    tasks = [dependent_on(first), dependent_on(second)]

    with monkeypatch.context() as killed, task_context(actor="alice"):
        killed.setattr(participant, "serve_after_commit", lambda using: None)
        first.cancel()
    with task_context(actor="bob", reason="not mine", ticket=7):
        second.cancel()

    for task in tasks:
        event = task.events.last()
        assert (event.kind, event.actor, event.reason) == (
            EventKind.CANCEL,
            "dependencies",
            "prerequisite_failed",
        )
        assert event.data == {"group": group_of(task).pk}


@pytest.mark.parametrize("how", ["reset", "unblock", "cancel", "delete"])
def test_a_dependent_that_does_not_wait_any_more_is_left_alone(how: str, redis_url: str) -> None:
    first = step()
    task = dependent_on(first)

    getattr(task, how)()
    before = kinds(task, task.pk) if task.pk else []
    rows = list(TaskDependent.objects.values_list("state", flat=True))
    if how == "reset":
        apply_kinds(task, EventKind.BLOCK)  # for another reason
        before = kinds(task)
    succeed(first)
    serve_all()

    assert rows == [DependentState.LEFT]
    assert not task.pk or kinds(task) == before


def test_reset_with_dependents_lets_them_wait_again(redis_url: str) -> None:
    first, other = step(), step()
    second = dependent_on(first, other, model=Step)
    last = dependent_on(second)
    fail(first)

    first.reset(dependents=True)
    blocked = [status(second), status(last)]
    messages = [has_message(second), has_message(last)]
    for task in (first, other, second):
        succeed(task)

    assert blocked == [Status.BLOCKED, Status.BLOCKED]
    assert messages == [False, False]
    assert status(last) is Status.PENDING


def test_what_participants_read_is_not_cut_with_the_context(redis_url: str) -> None:
    first = step()
    task = dependent_on(first)
    fail(first)

    with task_context(text="x" * (options.result_size_limit + 10)):
        first.reset(dependents=True)
    event = first.events.last()

    assert status(task) is Status.BLOCKED
    assert event.data[TAG] == "truncated"
    assert (event.data["dependents"], event.data["restart"]) == (True, False)
    assert not broken_links(stream_of(first))


def test_a_prerequisite_that_is_canceled_and_reset_at_once_cancels_no_dependent(
    redis_url: str,
) -> None:
    first = step()
    task = dependent_on(first)

    with transaction.atomic():
        first.cancel()
        first.reset(dependents=True)
    before = kinds(task)
    succeed(first)

    assert before == ["enqueue", "block"]
    assert status(task) is Status.PENDING


def test_a_success_before_the_failure_was_counted_is_not_missed(
    killed_after_commit: None,
) -> None:
    first = step()
    task = dependent_on(first, on_failure="wait")

    first.cancel()
    first.reset()
    succeed(first)
    serve_all()

    assert status(task) is Status.PENDING
    assert group_of(task).failed == 0


def test_reset_with_dependents_leaves_alone_what_failed_otherwise(redis_url: str) -> None:
    first, other = step(), step()
    both, canceled, restarted = (
        dependent_on(*tasks) for tasks in [(first, other)] + [(first,)] * 2
    )
    canceled.cancel()
    fail(first)
    fail(other)
    restarted.reset()

    first.reset(dependents=True)
    serve_all()

    assert status(both) is Status.CANCELED
    assert kinds(canceled) == ["enqueue", "block", "cancel"]
    assert kinds(restarted) == ["enqueue", "block", "cancel", "reset"]


def test_a_prerequisite_that_has_succeeded_before_it_is_looked_at(
    killed_after_commit: None,
) -> None:
    first = step()
    task = dependent_on(first)
    fail(first)
    serve_all()

    first.reset(dependents=True)
    succeed(first)
    serve_all()

    assert kinds(task) == ["enqueue", "block", "cancel", "reset", "block", "unblock"]


def test_a_queryset_resets_with_dependents(redis_url: str) -> None:
    tasks = [step(), step()]
    dependents = [dependent_on(task) for task in tasks]
    fail(*tasks)

    assert Step.objects.all().reset(dependents=True) == 2

    assert set(map(status, dependents)) == {Status.BLOCKED}


def test_a_dependent_that_is_not_blocked_any_more_is_not_canceled(redis_url: str) -> None:
    first = step()
    task = dependent_on(first)
    task.reset()
    # As if the group was served at the same time.
    TaskDependent.objects.update(state=DependentState.WAITING)

    fail(first)

    assert kinds(task) == ["enqueue", "block", "reset"]
    assert TaskDependent.objects.get().state == DependentState.LEFT


def needs_row_locks() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("one writer")


def in_thread(work: Callable[[], object]) -> None:
    """Call ``work`` in another session; it must not wait for this one."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive(), "it waits"
    assert errors == []


def test_an_open_transaction_on_a_dependent_delays_no_other_task(redis_url: str) -> None:
    needs_row_locks()
    first = step()
    held, other = dependent_on(first), dependent_on(first)

    with transaction.atomic():
        Invoice.objects.select_for_update().get(pk=held.pk)
        in_thread(lambda: succeed(first))
        between = status(other)
    serve_all()

    assert between is Status.PENDING
    assert status(held) is Status.PENDING


def test_an_open_transaction_on_a_prerequisite_delays_no_other_task(redis_url: str) -> None:
    needs_row_locks()
    first, second = step(), step()
    task, other = dependent_on(first, second, on_failure="run"), dependent_on(second)

    with transaction.atomic():
        first.cancel()
        in_thread(lambda: succeed(second))
        between = status(task), status(other)

    assert between == (Status.BLOCKED, Status.PENDING)
    assert status(task) is Status.PENDING


def test_two_workers_that_end_the_last_two_at_once_release_once(redis_url: str) -> None:
    needs_row_locks()
    for _ in range(5):
        first, second = (apply_kinds(step(), EventKind.START) for _ in range(2))
        task = dependent_on(first, second)
        barrier = threading.Barrier(2, timeout=20)

        def end(prerequisite: Any, barrier: Any = barrier) -> None:
            barrier.wait()
            apply_each([Transition(prerequisite, EventKind.ACK, worker="w1")])
            connection.close()

        threads = [threading.Thread(target=end, args=[each]) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert kinds(task) == ["enqueue", "block", "unblock"]


def test_a_long_chain_is_canceled_without_recursion(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    serve_once, depths = serving._serve_once, [0]

    def count_depth(*arguments: Any) -> int:
        depths.append(depths[-1] + 1)
        try:
            return serve_once(*arguments)
        finally:
            depths.append(depths[-1] - 1)

    monkeypatch.setattr(serving, "_serve_once", count_depth)
    tasks = chain(*(Step() for _ in range(30))).enqueue()

    fail(tasks[0])
    serve_all()

    assert {status(task) for task in tasks[1:]} == {Status.CANCELED}
    assert max(depths) == 1


def test_a_prerequisite_does_not_end_unseen_while_a_dependent_is_saved(redis_url: str) -> None:
    needs_row_locks()
    first = apply_kinds(step(), EventKind.START)
    ack = Transition(first, EventKind.ACK, worker="w1", last_known_row=known_row(first))

    with transaction.atomic():
        task = dependent_on(Step.objects.get(pk=first.pk))
        in_thread(lambda: apply_each([ack]))
        error = ack.error
    apply_each([ack])

    assert isinstance(error, RowBusy)
    assert status(task) is Status.PENDING


def statements_to_end(model: Any, django_assert_max_num_queries: Any) -> int:
    task = apply_kinds(create_task(model), EventKind.START)
    with django_assert_max_num_queries(100) as statements:
        apply_each([Transition(task, EventKind.ACK, worker="w1", last_known_row=known_row(task))])
    return len(statements)


def test_the_end_of_other_tasks_costs_what_it_did(
    django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, awaited = (
        statements_to_end(model, django_assert_max_num_queries) for model in (Scripted, Step)
    )
    monkeypatch.setattr("django_simpletask3.transitions.participants._participants", {})
    without = statements_to_end(Scripted, django_assert_max_num_queries)

    assert other == without
    # BEGIN is a statement on SQLite, and one statement needs no transaction elsewhere.
    assert 1 <= awaited - other <= 3
