"""Wait until a task is final, whichever process finishes it."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.db.transaction import TransactionManagementError

from django_simpletask3.exceptions import WaitTimeout
from django_simpletask3.models import waiting
from django_simpletask3.queue import get_queue
from django_simpletask3.states import FINAL, EventKind, Status
from tests.eventually import eventually
from tests.steps import apply_kinds, bring_to, create_task, row_of
from tests.testapp.models import Invoice

transactional = pytest.mark.django_db(transaction=True)


class Bystander(threading.Thread):
    """Another thread that does something with its own connection."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.start()

    def run(self) -> None:
        try:
            self.work()
        finally:
            connections.close_all()


@pytest.mark.django_db
@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_task_is_not_waited_for(status: Status) -> None:
    stale = create_task(Invoice)
    bring_to(row_of(stale), status)

    returned = stale.wait(0)

    assert returned is stale
    assert stale.status == status


@pytest.mark.django_db
@pytest.mark.parametrize("timeout", ["soon", float("nan"), Decimal("nan"), [1], 10**400], ids=str)
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"^timeout is .*; expected seconds, a timedelta or None"):
        create_task(Invoice).wait(timeout)


@transactional
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
@pytest.mark.parametrize("timeout", [0, 0.1, -1, timedelta(seconds=0.1)])
def test_waiting_for_a_task_that_is_not_finished_in_time_times_out(
    timeout: Any, status: Status
) -> None:
    task = bring_to(create_task(Invoice), status)
    began = time.monotonic()

    with pytest.raises(WaitTimeout):
        task.wait(timeout)

    assert time.monotonic() - began < 2


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_inside_a_transaction_nothing_is_waited_for(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)

    with pytest.raises(TransactionManagementError, match=rf"testapp.Invoice {task.pk} cannot be"):
        task.wait()


@transactional
def test_a_task_that_another_thread_finishes_is_returned_with_its_result() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    finisher = Bystander(lambda: apply_kinds(row_of(task), EventKind.ACK, result={"sum": 7}))

    found = task.wait(10)

    finisher.join()
    assert (found.status, found.result_data) == (Status.SUCCESS, {"sum": 7})


@transactional
def test_waiting_ends_at_once_when_the_message_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_RECHECK_SECONDS", 60.0)
    task = create_task(Invoice)
    (message,) = get_queue().claim(task.get_event_channel(), worker="w1", lease=60)
    apply_kinds(task, EventKind.START)
    queue, seen = get_queue(), []

    def wait() -> None:
        began = time.monotonic()
        row_of(task).wait(60)
        seen.append(time.monotonic() - began)

    waiter = Bystander(wait)
    eventually(lambda: len(queue.db.client_list()) > 1 and _is_blocked(queue))
    apply_kinds(task, EventKind.ACK)
    queue.ack_many([message])
    done = time.monotonic()
    waiter.join()

    assert time.monotonic() - done < 20
    assert seen


def _is_blocked(queue: Any) -> bool:
    return int(queue.db.info("clients")["blocked_clients"]) > 0


@transactional
def test_a_run_that_follows_a_reset_is_waited_for_and_not_the_one_before() -> None:
    task = create_task(Invoice)
    (message,) = get_queue().claim(task.get_event_channel(), worker="w1", lease=60)
    bring_to(task, Status.SUCCESS)
    get_queue().ack_many([message])

    task.reset()

    with pytest.raises(WaitTimeout):
        task.wait(0.2)


@transactional
def test_waiting_needs_no_redis(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    task = bring_to(create_task(Invoice), Status.RUNNING)
    finisher = Bystander(lambda: apply_kinds(row_of(task), EventKind.ACK, result="OK"))

    found = task.wait(10)

    finisher.join()
    assert found.result_data == "OK"


@transactional
def test_a_broken_message_in_redis_does_not_matter() -> None:
    task = create_task(Invoice)
    queue = get_queue()
    queue.db.hset(queue.get_item_key(task.get_task_id()), "data", b"!!python/object:os.system [")
    apply_kinds(task, EventKind.START)
    finisher = Bystander(lambda: apply_kinds(row_of(task), EventKind.ACK, result="OK"))

    found = task.wait(10)

    finisher.join()
    assert found.result_data == "OK"


@pytest.mark.django_db
def test_a_task_that_is_deleted_meanwhile_does_not_exist() -> None:
    task = create_task(Invoice)
    row_of(task).delete()

    with pytest.raises(Invoice.DoesNotExist):
        task.wait(1)


@pytest.mark.django_db
def test_a_task_that_was_not_saved_cannot_be_waited_for() -> None:
    with pytest.raises(ValueError, match=r"testapp\.Invoice \(not saved\) .* save it first"):
        Invoice().wait(1)
