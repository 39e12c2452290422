"""Tasks that wait or are blocked are canceled soon after they have expired, each once."""

import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_simpletask3.audit.check import audit
from django_simpletask3.db import clock
from django_simpletask3.db.backends import store_for
from django_simpletask3.ledger.task_row import has_expiry
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.models.registry import table_models
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery import expired_tasks, service
from django_simpletask3.recovery.due_check import read_due_times
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.signals import event_recorded, task_expired
from django_simpletask3.states import EventKind, Status
from tests.redis_servers import RedisServer
from tests.steps import (
    PAST,
    apply_kinds,
    bring_to,
    has_message,
    kinds,
    message_count,
    row_of,
    status_of,
)
from tests.testapp.models import FlashOffer, Invoice, Offer

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def test_waiting_and_blocked_tasks_expire(redis_url: str) -> None:
    waiting, later = Offer.objects.enqueue(expires=PAST), Offer.objects.enqueue(expires=HOUR)
    blocked = Offer.objects.enqueue(expires=PAST, blocked=True)
    due_later = Offer.objects.enqueue(expires=PAST, run_after=HOUR)
    never = Offer.objects.enqueue()

    count = expire_tasks()

    assert count == 3
    assert [status_of(t) for t in (waiting, blocked, due_later)] == [Status.CANCELED] * 3
    assert [status_of(t) for t in (later, never)] == [Status.PENDING] * 2
    assert kinds(blocked) == ["enqueue", "block", "expire"]
    assert list(audit(Offer, "default")) == []


def test_time_passes_until_a_task_expires(pass_time: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    assert expire_tasks() == 0

    pass_time(HOUR)

    assert expire_tasks() == 1
    assert status_of(task) is Status.CANCELED


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.PENDING, Status.BLOCKED)])
def test_a_task_that_has_started_does_not_expire(
    status: Status, pass_time: Any, redis_url: str
) -> None:
    task = bring_to(Offer.objects.enqueue(expires=HOUR), status)
    rows_of(Offer, "default").update_managed(check_at=clock.now("default"))  # its lease has ended
    before = kinds(task)

    pass_time(2 * HOUR)
    expire_tasks()

    assert kinds(task) == before


@pytest.mark.parametrize("kind", [EventKind.RETRY, EventKind.RECOVER, EventKind.RELEASE])
def test_a_task_that_waits_again_expires(kind: EventKind, pass_time: Any, redis_url: str) -> None:
    task = apply_kinds(Offer.objects.enqueue(expires=HOUR), EventKind.START, kind)

    pass_time(HOUR)

    assert expire_tasks() == 1
    assert kinds(task)[-2:] == [kind, "expire"]


def test_the_message_of_an_expired_task_is_removed(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST)
    assert has_message(task)

    expire_tasks()

    assert message_count(task) == 0


def test_a_lost_message_is_no_obstacle(redis_client: Any) -> None:
    task = Offer.objects.enqueue(expires=PAST)
    redis_client.flushall()

    assert service.recover_all() == 1
    assert kinds(task) == ["enqueue", "expire"]


def test_without_redis_tasks_expire(own_redis_server: RedisServer) -> None:
    task = Offer.objects.enqueue(expires=PAST)
    own_redis_server.kill()

    assert expire_tasks() == 1
    assert status_of(task) is Status.CANCELED


def test_an_expired_task_is_no_task_whose_message_was_lost(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST, run_after=HOUR)

    assert service.push_overdue() == 0
    assert kinds(task) == ["enqueue"]


def test_a_task_that_becomes_due_before_it_expires_is_pushed(
    pass_time: Any, redis_url: str
) -> None:
    task = Offer.objects.enqueue(expires=2 * HOUR, run_after=HOUR)
    assert row_of(task).check_at == task.run_after

    pass_time(1.5 * HOUR)

    assert service.push_overdue() == 1
    assert kinds(task) == ["enqueue"]
    assert row_of(task).check_at > clock.now("default")


def test_a_check_of_messages_is_not_later_than_the_expiry(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=60)
    rows_of(Offer, "default").update_managed(check_at=clock.now("default"))

    service.push_overdue()

    assert row_of(task).check_at == task.expires_at


def test_a_receiver_that_raises_keeps_one_task_from_expiring(
    listen: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Offer.objects.bulk_enqueue([{}, {}], expires=PAST)

    def refuse(task: Any, **_: Any) -> None:
        if task.pk == broken.pk:
            raise RuntimeError("not this one")

    listen(refuse, event_recorded)
    count = expire_tasks()

    assert count == 1
    assert (status_of(broken), status_of(sound)) == (Status.PENDING, Status.CANCELED)
    assert row_of(broken).check_at > clock.now("default")  # later


def test_many_tasks_expire_in_batches(redis_url: str) -> None:
    Offer.objects.bulk_enqueue([{} for _ in range(25)], expires=PAST)

    assert expire_tasks(limit=10) == 25
    assert Offer.objects.canceled().count() == 25


@pytest.mark.skipif(
    not store_for(Offer, "default").has_batch_statements, reason="several statements here"
)
def test_a_batch_is_one_statement(redis_url: str) -> None:
    Offer.objects.bulk_enqueue([{} for _ in range(50)], expires=PAST)

    with CaptureQueriesContext(connection) as queries:
        expire_tasks()

    assert len([q for q in queries if "UPDATE" in q["sql"] and "offer" in q["sql"]]) == 1


def statements_of(backlog: int) -> int:
    """How many statements one pass makes that meets so many expired tasks, or more."""
    Offer.objects.bulk_enqueue([{} for _ in range(backlog)], expires=PAST)
    with CaptureQueriesContext(connection) as queries:
        assert expire_tasks(limit=10) == min(backlog, 40)
    # Where rows are updated one by one, the updates are left out.
    return len([query for query in queries if not query["sql"].startswith("UPDATE")])


def test_a_pass_does_not_grow_with_the_backlog(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setattr(expired_tasks, "MAX_TASKS", 40)
    expire_tasks()

    of_some, of_many = statements_of(40), statements_of(400)

    assert of_many <= of_some
    assert of_some <= 4 * 10 + 5  # four batches


def test_no_batch_begins_when_the_time_of_a_pass_is_over(redis_url: str) -> None:
    Offer.objects.bulk_enqueue([{} for _ in range(30)], expires=PAST)

    assert expire_tasks(limit=10, seconds=0) == 10
    assert expire_tasks(limit=10) == 20


def test_a_backlog_of_one_table_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setattr(expired_tasks, "MAX_TASKS", 40)
    Offer.objects.bulk_enqueue([{} for _ in range(100)], expires=PAST)
    FlashOffer.objects.bulk_enqueue([{} for _ in range(100)], expires=PAST)

    assert expire_tasks(limit=10) == 40

    assert Offer.objects.canceled().count() == FlashOffer.objects.canceled().count() == 20
    assert expire_tasks(limit=10) == 40


def test_a_table_that_fails_does_not_keep_the_others_from_expiring(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = Offer.objects.enqueue(expires=PAST), FlashOffer.objects.enqueue(expires=PAST)
    rows = expired_tasks.rows_of

    def fail_for_offers(root: Any, using: str) -> Any:
        if root is Offer:
            raise DatabaseError("gone")
        return rows(root, using)

    monkeypatch.setattr(expired_tasks, "rows_of", fail_for_offers)

    assert expire_tasks() == 1
    assert [status_of(task) for task in tasks] == [Status.PENDING, Status.CANCELED]
    assert "recovery_failed model=testapp.Offer database=default error=gone" in caplog.text


def test_two_nodes_expire_a_task_once(redis_url: str, listen: Any) -> None:
    tasks = Offer.objects.bulk_enqueue([{} for _ in range(60)], expires=PAST)
    counts: list[int] = []
    sent: list[Any] = []
    listen(lambda task, **_: sent.append(task.pk), task_expired)

    def expire() -> None:
        try:
            counts.append(expire_tasks(limit=20))
        finally:
            connections.close_all()

    nodes = [threading.Thread(target=expire) for _ in range(3)]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()
    expire_tasks()  # rows that another node has locked are left to the next pass

    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "expire")}
    assert sorted(sent) == sorted(task.pk for task in tasks)


def test_a_task_that_is_reset_meanwhile_does_not_expire(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    task, load = Offer.objects.enqueue(expires=PAST), expired_tasks.load_readable

    def reset_meanwhile(*arguments: Any) -> Any:
        tasks = load(*arguments)
        task.reset("more time", expires=HOUR)
        return tasks

    monkeypatch.setattr(expired_tasks, "load_readable", reset_meanwhile)

    assert expire_tasks() == 0
    assert kinds(task) == ["enqueue", "reset"]


def test_a_user_who_unblocks_an_expired_task_does_not_start_it(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST, blocked=True)

    task.unblock("approved, too late")

    assert expire_tasks() == 1
    assert kinds(task) == ["enqueue", "block", "unblock", "expire"]


def test_the_due_check_knows_of_tasks_that_may_expire(redis_url: str) -> None:
    roots = table_models([Invoice, Offer])
    Invoice.objects.enqueue(blocked=True)
    assert read_due_times("default", roots).expiring_check_at is None

    blocked = Offer.objects.enqueue(blocked=True, expires=HOUR)
    later = read_due_times("default", roots)
    pending = Offer.objects.enqueue(expires=PAST)
    due = read_due_times("default", roots)

    assert later.expiring_check_at == later.pending_check_at == blocked.expires_at
    assert not later.may_have_expired
    assert due.expiring_check_at == due.pending_check_at == pending.expires_at
    assert due.may_have_expired


def test_a_waiting_task_that_cannot_expire_is_no_reason_to_look(redis_url: str) -> None:
    Invoice.objects.create()

    times = read_due_times("default", table_models([Invoice, Offer]))

    assert times.pending_check_at is not None
    assert times.expiring_check_at is None


def test_models_that_do_not_expire_cost_no_statement(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    lasting = [root for root in expired_tasks.tables_in("default") if not has_expiry(root)]
    monkeypatch.setattr(expired_tasks, "table_models", lambda models: lasting)

    with CaptureQueriesContext(connection) as queries:
        assert expire_tasks() == 0

    assert len(lasting) > 5
    assert not queries.captured_queries


def test_the_number_that_has_expired_is_logged(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_simpletask3")
    Offer.objects.bulk_enqueue([{}, {}], expires=PAST)
    FlashOffer.objects.enqueue(expires=PAST)

    expire_tasks()

    logged = [m for m in caplog.messages if m.startswith("tasks_expired")]
    assert sorted(logged) == [
        "tasks_expired model=testapp.FlashOffer tasks=1",
        "tasks_expired model=testapp.Offer tasks=2",
    ]


def test_an_expiry_that_is_rolled_back_has_not_happened(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST)

    with transaction.atomic():
        expire_tasks()
        transaction.set_rollback(True)

    assert status_of(task) is Status.PENDING
    assert get_queue().waiting(task.get_event_channel()) == 1
    assert expire_tasks() == 1
