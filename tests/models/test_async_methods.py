"""What coroutines call: the methods with an ``a`` in front, and ``await_result()``."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.db.transaction import TransactionManagementError

from django_simpletask3.exceptions import IllegalTransition, TaskUnsuccessful, WaitTimeout
from django_simpletask3.models import SimpleTask
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds, bring_to, kinds, status_of, stream_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run ``coroutine`` as Django runs views: its ORM calls come back to this thread."""

    async def wait() -> Any:
        return await coroutine

    return async_to_sync(wait)()


def test_a_task_is_enqueued(redis_url: str) -> None:
    task = run(Invoice.objects.aenqueue(amount=3, blocked="later"))

    assert (task.amount, status_of(task)) == (3, Status.BLOCKED)


def test_many_tasks_are_enqueued(redis_url: str) -> None:
    tasks = run(Invoice.objects.abulk_enqueue([{"amount": 1}, {"amount": 2}]))

    assert [task.amount for task in Invoice.objects.order_by("pk")] == [1, 2]
    assert [task.status for task in tasks] == [Status.PENDING] * 2


def test_a_task_is_reset_canceled_noted_and_unblocked(redis_url: str) -> None:
    task = Invoice.objects.enqueue(blocked=True)

    run(task.aunblock("approved"))
    run(task.anote("seen", by="me"))
    run(task.acancel("not needed"))
    run(task.areset("needed", run_after=60))

    assert kinds(task) == ["enqueue", "block", "unblock", "note", "cancel", "reset"]
    reasons = [event.reason for event in stream_of(task)][2:]
    assert reasons == ["approved", "seen", "not needed", "needed"]


def test_the_tasks_of_a_queryset_are_unblocked_canceled_and_reset(redis_url: str) -> None:
    tasks = Invoice.objects.bulk_enqueue([{}, {}], blocked=True)

    assert run(Invoice.objects.filter(pk=tasks[0].pk).aunblock("approved")) == 1
    assert run(Invoice.objects.all().acancel("not needed")) == 2
    assert run(Invoice.objects.canceled().areset("needed", restart=True)) == 2

    assert kinds(tasks[0]) == ["enqueue", "block", "unblock", "cancel", "reset"]
    last = stream_of(tasks[1])[-1]
    assert (last.reason, last.data["restart"]) == ("needed", True)
    # As Django's adelete(): not for a whole table by mistake.
    assert not any(hasattr(Invoice.objects, name) for name in ("acancel", "areset"))


def test_a_refusal_is_raised(redis_url: str) -> None:
    with pytest.raises(IllegalTransition):
        run(bring_to(Invoice.objects.create(), Status.SUCCESS).acancel())


def test_the_result_is_returned_when_it_is_there(redis_url: str) -> None:
    task = apply_kinds(Invoice.objects.create(), EventKind.START)

    async def wait() -> Any:
        found = await Invoice.objects.aget(pk=task.pk)
        waiting = asyncio.ensure_future(found.await_result(60))
        await asyncio.sleep(0.1)  # the loop goes on
        assert not waiting.done()
        await sync_to_async(apply_kinds)(task, EventKind.ACK, result={"paid": 7})
        return await waiting

    assert run(wait()) == {"paid": 7}


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED])
def test_a_task_without_a_result_raises(status: Status, redis_url: str) -> None:
    details = (
        {"error_data": {"type": "OSError", "message": "no"}} if status is Status.FAILED else {}
    )
    task = bring_to(Invoice.objects.create(), status, **details)

    with pytest.raises(TaskUnsuccessful, match=status.name) as raised:
        run(task.await_result())

    assert raised.value.task is task
    assert status is Status.CANCELED or "(OSError: no)" in str(raised.value)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_waiting_ends_with_the_timeout(timeout: float, redis_url: str) -> None:
    with pytest.raises(WaitTimeout):
        run(Invoice.objects.create().await_result(timeout))


def test_a_transaction_is_refused(redis_url: str) -> None:
    task = Invoice.objects.create()

    with transaction.atomic(), pytest.raises(TransactionManagementError):
        run(task.await_result(1))


def test_wait_does_not_block_an_event_loop(redis_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    task = Invoice.objects.create()

    async def wait() -> None:
        task.wait(1)

    with pytest.raises(SynchronousOnlyOperation, match="await_result"):
        asyncio.run(wait())


def test_migrations_do_not_name_a_class_of_this_package() -> None:
    assert [base for base in SimpleTask.__bases__ if not hasattr(base, "_meta")] == []
