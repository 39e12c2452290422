"""Tasks that say until when they are of use."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from django_simpletask3 import signals
from django_simpletask3.audit.check import audit
from django_simpletask3.db import clock
from django_simpletask3.db.backends import store_for
from django_simpletask3.exceptions import ProjectedColumn, TaskExpired
from django_simpletask3.execution.contexts.inherited import inherit_context
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.states import EventKind, Status
from tests.steps import PAST, apply_kinds, bring_to, kinds, row_of, status_of, stream_of
from tests.testapp.models import FlashOffer, Invoice, Offer

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
NOON = datetime(2031, 5, 1, 12, tzinfo=timezone(timedelta(hours=8)))


def enqueue(task: Any, expires: Any) -> None:
    Offer.objects.enqueue(expires=expires)


def bulk_enqueue(task: Any, expires: Any) -> None:
    Offer.objects.bulk_enqueue([{}], expires=expires)


def bulk_enqueue_one(task: Any, expires: Any) -> None:
    Offer.objects.bulk_enqueue([{"expires_at": expires}])


def create(task: Any, expires: Any) -> None:
    Offer.objects.create(expires_at=expires)


def reset(task: Any, expires: Any) -> None:
    task.reset(expires=expires)


def reset_many(task: Any, expires: Any) -> None:
    Offer.objects.filter(pk=task.pk).reset(expires=expires)


SETTERS = [enqueue, bulk_enqueue, bulk_enqueue_one, create, reset, reset_many]


def in_hours(number: float) -> datetime:
    return clock.now("default") + number * HOUR


def expiries(task: Any) -> list[tuple[str, Any]]:
    """The kinds of the events of ``task``, and when each says that it expires."""
    return [(str(e.kind), (e.data or {}).get("expires_at")) for e in stream_of(task)]


@pytest.mark.parametrize("expires", [3600, 3600.0, HOUR], ids=["int", "float", "timedelta"])
def test_a_task_expires_some_time_after_it_was_enqueued(expires: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=expires)

    row = row_of(task)
    assert abs(row.expires_at - row.events.get().event_time - HOUR) < timedelta(seconds=2)
    assert expiries(task) == [("enqueue", row.expires_at.isoformat())]
    assert task.expires_at == row.expires_at
    assert list(audit(Offer, "default")) == []


def test_a_task_expires_at_an_aware_time(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=NOON)

    assert row_of(task).expires_at == NOON
    assert expiries(task) == [("enqueue", "2031-05-01T04:00:00+00:00")]


def test_the_class_says_when_its_tasks_expire(redis_url: str) -> None:
    saved, enqueued = FlashOffer(), FlashOffer.objects.enqueue()
    saved.save()
    [many] = FlashOffer.objects.bulk_enqueue([{}])

    for task in (saved, enqueued, many):
        row = row_of(task)
        assert 58 <= (row.expires_at - row.events.get().event_time).total_seconds() < 61


def test_a_task_may_say_it_itself(redis_url: str) -> None:
    later = in_hours(5)

    long, short = FlashOffer.objects.create(expires_at=later), FlashOffer(expires_at=1)
    FlashOffer.objects.bulk_create([short])

    assert row_of(long).expires_at == later
    assert (row_of(short).expires_at - row_of(short).add_time).total_seconds() < 5


def test_many_tasks_expire_together_or_each_at_its_own_time(redis_url: str) -> None:
    together = Offer.objects.bulk_enqueue([{}, {}], expires=HOUR)
    first, second = Offer.objects.bulk_enqueue([{"expires_at": in_hours(1)}, {}])

    [expires_at] = {row_of(task).expires_at for task in together}
    assert expires_at > clock.now("default")
    assert row_of(first).expires_at is not None
    assert row_of(second).expires_at is None
    assert list(audit(Offer, "default")) == []


def test_a_task_without_a_time_never_expires(redis_url: str) -> None:
    task = Offer.objects.enqueue()

    assert row_of(task).expires_at is None
    assert expiries(task) == [("enqueue", None)]
    assert stream_of(task)[0].data is None


WRONG: list[tuple[Any, type[Exception]]] = [
    (True, TypeError),
    ("2031-05-01T04:00:00Z", TypeError),
    ([1], TypeError),
    (F("add_time"), TypeError),
    (Now(), TypeError),
    (datetime(2031, 5, 1, 12), ValueError),
    (datetime.max.replace(tzinfo=timezone(-HOUR)), ValueError),
    *((seconds, ValueError) for seconds in (0, -0.5, 1e300, float("nan"))),
    *((timedelta(days), ValueError) for days in (0, -1)),
]


@pytest.mark.parametrize("set_expiry", SETTERS, ids=lambda setter: setter.__name__)
def test_what_is_no_time_is_refused(set_expiry: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue()

    for expires, error in WRONG:
        with pytest.raises(error, match=r"^expires is .*: expected .* or an aware datetime\.$"):
            set_expiry(task, expires)

    assert kinds(Offer.objects.get()) == ["enqueue"]


@pytest.mark.parametrize("set_expiry", SETTERS, ids=lambda setter: setter.__name__)
def test_a_time_that_has_passed_is_no_error(set_expiry: Any, redis_url: str) -> None:
    """What the time depends on may be a minute old; the task expires at once."""
    set_expiry(Offer.objects.enqueue(), PAST)

    assert (expire_tasks(), Offer.objects.filter(expires_at=PAST).canceled().count()) == (1, 1)


def test_tasks_of_other_models_do_not_expire(redis_url: str) -> None:
    task = Invoice.objects.create()

    with pytest.raises(TypeError, match="derive the model from ExpiringTask"):
        Invoice.objects.enqueue(expires=1)
    with pytest.raises(TypeError, match="derive the model from ExpiringTask"):
        Invoice.objects.bulk_enqueue([{}], expires=1)
    with pytest.raises(TypeError, match="derive the model from ExpiringTask"):
        task.reset(expires=1)
    with pytest.raises(TypeError, match="derive the model from ExpiringTask"):
        Invoice.objects.all().reset(expires=1)

    assert Invoice.objects.count() == 1


def test_only_enqueue_and_reset_say_when_a_task_expires(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    task.expires_at = in_hours(2)

    with pytest.raises(ProjectedColumn, match="expires_at"):
        task.save()
    with pytest.raises(ProjectedColumn, match="expires_at"):
        task.save(update_fields=["expires_at"])
    with pytest.raises(ProjectedColumn, match="expires_at"):
        Offer.objects.update(expires_at=None)
    with pytest.raises(ProjectedColumn, match="expires_at"):
        Offer.objects.bulk_update([task], ["expires_at"])


def test_a_stale_instance_does_not_undo_a_reset(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    stale = row_of(task)
    task.reset(expires=2 * HOUR)

    stale.script = {"do": "value", "value": 1}
    stale.save()

    assert row_of(task).expires_at == task.expires_at > stale.expires_at
    assert list(audit(Offer, "default")) == []


@pytest.mark.parametrize("status", Status)
def test_a_reset_lets_a_task_run_at_any_time(status: Status, redis_url: str) -> None:
    task = bring_to(Offer.objects.enqueue(expires=HOUR), status)

    task.reset("again")

    row = row_of(task)
    assert (row.status, row.expires_at, task.expires_at) == (Status.PENDING, None, None)
    assert expiries(task)[-1] == ("reset", None)
    assert row.check_at > clock.now("default")
    assert list(audit(Offer, "default")) == []


@pytest.mark.parametrize("status", Status)
def test_a_reset_may_say_when_the_task_expires(status: Status, redis_url: str) -> None:
    task = bring_to(Offer.objects.enqueue(), status)

    task.reset("again", expires=timedelta(seconds=5))

    row = row_of(task)
    assert 0 < (row.expires_at - clock.now("default")).total_seconds() <= 5
    assert expiries(task)[-1] == ("reset", row.expires_at.isoformat())
    assert row.check_at == row.expires_at
    assert list(audit(Offer, "default")) == []


@pytest.mark.parametrize("expires", [None, 5, timedelta(seconds=5), NOON], ids=str)
def test_a_reset_of_many_says_when_all_of_them_expire(expires: Any, redis_url: str) -> None:
    tasks = [bring_to(Offer.objects.enqueue(expires=HOUR), status) for status in Status]

    assert Offer.objects.all().reset("again", expires=expires) == len(tasks)

    [row, *_] = rows = [row_of(task) for task in tasks]
    assert {(r.status, r.expires_at) for r in rows} == {(Status.PENDING, row.expires_at)}
    assert (row.expires_at is None) == (expires is None)
    text = row.expires_at and row.expires_at.isoformat()
    assert {expiries(task)[-1] for task in tasks} == {("reset", text)}
    assert expires is None or all(r.check_at <= row.expires_at for r in rows)
    assert list(audit(Offer, "default")) == []


def test_a_copy_of_a_task_does_not_expire_with_it(redis_url: str) -> None:
    offer, flash = Offer.objects.enqueue(expires=PAST), FlashOffer.objects.enqueue(expires=PAST)
    for task in (offer, flash):
        task.pk = None
        task.save()

    assert row_of(offer).expires_at is None
    assert row_of(flash).expires_at > clock.now("default")


def test_a_task_does_not_expire_with_the_one_that_enqueued_it(redis_url: str) -> None:
    parent = apply_kinds(Offer.objects.enqueue(expires=HOUR), EventKind.START)

    with inherit_context(parent):
        child, other = Offer.objects.enqueue(), Invoice.objects.create()

    assert expiries(child) + expiries(other) == [("enqueue", None)] * 2
    assert [*audit(Offer, "default"), *audit(Invoice, "default")] == []


@pytest.mark.parametrize("minutes", [30, 90])
def test_a_task_is_looked_at_when_it_is_due_or_has_expired(minutes: int, redis_url: str) -> None:
    due, expiry = in_hours(minutes / 60), in_hours(1)
    saved = Offer.objects.create(run_after=due, expires_at=expiry)
    again = Offer.objects.create(expires_at=expiry)
    again.run_after = due
    again.save()
    updated = Offer.objects.create(expires_at=expiry)
    Offer.objects.filter(pk=updated.pk).update(run_after=due)
    one_by_one = Offer.objects.create(expires_at=expiry)
    one_by_one.run_after = due
    Offer.objects.bulk_update([one_by_one], ["run_after"])

    for task in (saved, again, updated, one_by_one):
        assert row_of(task).check_at == min(due, expiry)


def test_an_expression_may_say_when_an_expiring_task_is_due(redis_url: str) -> None:
    before = clock.now("default")

    task = Offer.objects.create(run_after=Now() + HOUR, expires_at=before + 2 * HOUR)
    late = Offer.objects.create(run_after=Now() + 3 * HOUR, expires_at=before + 2 * HOUR)

    assert abs(row_of(task).check_at - before - HOUR) < timedelta(minutes=1)
    assert row_of(late).check_at == late.expires_at


def test_a_blocked_task_is_looked_at_when_it_has_expired(redis_url: str) -> None:
    born = Offer.objects.enqueue(blocked=True, expires=HOUR)
    late = Offer.objects.enqueue(expires=HOUR)
    late.block("wait")
    never = Offer.objects.enqueue(blocked=True)

    assert [row_of(t).check_at for t in (born, late)] == [born.expires_at, late.expires_at]
    assert row_of(never).check_at is None
    assert [kind for kind, expiry in expiries(born) if expiry] == ["enqueue", "block"]
    assert list(audit(Offer, "default")) == []


def test_many_blocked_tasks_are_looked_at_when_they_have_expired(redis_url: str) -> None:
    together = Offer.objects.bulk_enqueue([{}, {}], blocked="wait", expires=HOUR)
    alone, never = Offer.objects.bulk_enqueue([{"expires_at": in_hours(2)}, {}], blocked=True)

    for task in (*together, alone, never):
        row = row_of(task)
        assert (row.status, row.check_at) == (Status.BLOCKED, row.expires_at)
    assert row_of(together[0]).expires_at < row_of(alone).expires_at
    assert row_of(never).expires_at is None
    expiry = alone.expires_at.isoformat()
    assert expiries(alone) == [("enqueue", expiry), ("block", expiry)]
    assert list(audit(Offer, "default")) == []


def test_a_task_that_is_unblocked_is_looked_at_when_it_has_expired(redis_url: str) -> None:
    task = Offer.objects.enqueue(blocked=True, expires=HOUR, run_after=2 * HOUR)

    task.unblock("approved")

    row = row_of(task)
    assert (row.status, row.check_at) == (Status.PENDING, row.expires_at)


def test_coroutines_say_when_tasks_expire(redis_url: str) -> None:
    async def enqueue_all() -> list[Any]:
        one = await Offer.objects.aenqueue(expires=HOUR, run_after=2 * HOUR)
        [many] = await Offer.objects.abulk_enqueue([{}], expires=HOUR, blocked=True)
        again = await Offer.objects.aenqueue()
        await again.areset(expires=HOUR)
        return [one, many, again]

    tasks = async_to_sync(enqueue_all)()

    for task in map(row_of, tasks):
        assert abs(task.expires_at - in_hours(1)) < timedelta(minutes=1)
        assert task.status is Status.BLOCKED or task.expires_at >= task.check_at


def test_a_lease_is_not_cut_short(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    end = in_hours(2)

    apply_kinds(task, EventKind.START, values={"check_at": end})

    assert row_of(task).check_at == end


@pytest.mark.parametrize("kind", [EventKind.RETRY, EventKind.RELEASE, EventKind.RECOVER])
def test_a_task_that_waits_again_still_expires(kind: EventKind, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=30)
    bring_to(task, Status.RUNNING)

    apply_kinds(task, kind, values={"run_after": in_hours(1)})

    row = row_of(task)
    assert row.check_at == row.expires_at == task.expires_at
    assert list(audit(Offer, "default")) == []


def test_an_expired_task_does_not_start(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST)

    with pytest.raises(TaskExpired, match=f"Offer {task.pk} expired at"):
        apply_kinds(task, EventKind.START)

    assert status_of(task) is Status.PENDING
    assert kinds(task) == ["enqueue"]


@pytest.mark.parametrize("status", [Status.PENDING, Status.BLOCKED])
def test_an_expired_task_is_canceled_with_its_signals(
    status: Status, received: Any, redis_url: str
) -> None:
    task = bring_to(Offer.objects.enqueue(expires=PAST), status)
    received.clear()

    apply_kinds(task, EventKind.EXPIRE)

    row = row_of(task)
    assert (row.status, row.check_at, row.success) == (Status.CANCELED, None, None)
    assert expiries(task)[-1] == ("expire", row.expires_at.isoformat())
    sent = {signal for signal, sender, *_ in received if sender is Offer}
    assert {signals.task_expired, signals.task_canceled} <= sent
    assert list(audit(Offer, "default")) == []


def test_the_audit_finds_an_expiry_that_no_event_says(redis_url: str) -> None:
    task, blocked = Offer.objects.enqueue(expires=HOUR), Offer.objects.enqueue(blocked=True)
    rows_of(Offer, "default").update_managed(expires_at=in_hours(9))

    found = {f.task: f.detail for f in audit(Offer, "default", repair=True)}

    assert found.keys() == {str(task.pk), str(blocked.pk)}
    assert all("expires_at is" in detail for detail in found.values())
    assert row_of(task).expires_at == task.expires_at
    assert (row_of(blocked).expires_at, row_of(blocked).check_at) == (None, None)
    assert list(audit(Offer, "default")) == []


def test_the_audit_repairs_when_a_blocked_task_is_looked_at(redis_url: str) -> None:
    task = Offer.objects.enqueue(blocked=True, expires=HOUR)
    rows_of(Offer, "default").update_managed(check_at=None)

    [finding] = audit(Offer, "default", repair=True)

    assert "check_at is None, not a time" in finding.detail
    assert row_of(task).check_at == task.expires_at
    assert list(audit(Offer, "default")) == []


def test_a_row_that_was_inserted_without_save_expires_as_it_says(redis_url: str) -> None:
    row = Offer(expires_at=in_hours(1))
    row.save_base(raw=True, force_insert=True)

    apply_kinds(row, EventKind.START)

    assert kinds(row) == ["enqueue", "start"]
    assert row_of(row).expires_at == row.expires_at
    assert list(audit(Offer, "default")) == []


@pytest.mark.skipif(
    not store_for(Offer, "default").has_batch_statements, reason="several statements here"
)
def test_a_task_that_expires_is_inserted_by_one_statement(redis_url: str) -> None:
    Offer.objects.enqueue(expires=HOUR)  # reads the clock of the database

    with CaptureQueriesContext(connection) as queries:
        Offer.objects.enqueue(expires=HOUR)

    assert len(queries) == 1
