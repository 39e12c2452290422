"""An expired task does not start, and is not begun once it has been claimed."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.audit.check import audit
from django_simpletask3.db import clock
from django_simpletask3.execution import due_tasks, finish, perform, start
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import best_effort
from django_simpletask3.worker.node.counters import Counters
from tests.steps import PAST, apply_kinds, kinds, message_count, row_of, status_of, stream_of
from tests.testapp.models import FlashOffer, Offer
from tests.worker.steps import WORKER

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def start_messages() -> list[Any]:
    """Start the tasks of all messages; the runs."""
    queue = get_queue()
    messages = queue.claim(Offer.get_event_channel(), worker=WORKER, limit=10, lease=60)
    runs, postponed = start.start(Offer, messages, worker=WORKER, lease=60)
    assert postponed == []
    return runs


def start_overdue() -> list[Any]:
    rows_of(Offer, "default").update_managed(check_at=clock.now("default"))
    return start_from_table(Offer, only_overdue=True)


def start_from_table(model: Any = Offer, *, only_overdue: bool = False) -> list[Any]:
    options: Any = {"worker": WORKER, "lease": 60, "tried": due_tasks.TriedRows()}
    return due_tasks.start_from_table(
        model, "default", 10, only_overdue=only_overdue, **options
    ).runs


def start_alone() -> list[Any]:
    keys = [str(pk) for pk in Offer.objects.values_list("pk", flat=True)]
    return [
        run
        for key in keys
        for run in start.start_one(Offer, "default", key, worker=WORKER, lease=60)
    ]


WAYS = [start_messages, start_overdue, start_from_table, start_alone]


@pytest.mark.parametrize("start_tasks", WAYS)
def test_an_expired_task_is_canceled_in_the_place_of_a_start(
    start_tasks: Any, redis_url: str
) -> None:
    expired, sound = Offer.objects.enqueue(expires=PAST), Offer.objects.enqueue(expires=HOUR)

    runs = start_tasks()

    assert [run.pk for run in runs] == [sound.pk]
    assert (status_of(expired), status_of(sound)) == (Status.CANCELED, Status.RUNNING)
    assert kinds(expired) == ["enqueue", "expire"]
    assert stream_of(expired)[-1].worker == WORKER
    assert list(audit(Offer, "default")) == []


@pytest.mark.parametrize("kind", [EventKind.RETRY, EventKind.RECOVER, EventKind.RELEASE])
@pytest.mark.parametrize("start_tasks", WAYS[1:])
def test_a_further_start_is_refused_as_well(
    start_tasks: Any, kind: EventKind, pass_time: Any, redis_url: str
) -> None:
    task = apply_kinds(Offer.objects.enqueue(expires=HOUR), EventKind.START, kind)

    pass_time(HOUR)

    assert start_tasks() == []
    assert kinds(task)[-2:] == [kind, "expire"]


def test_the_message_of_an_expired_task_is_settled(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=PAST)

    start_messages()

    assert message_count(task) == 0
    assert get_queue().missing(task.get_event_channel(), [task.get_task_id()])


def test_a_task_that_is_not_due_yet_is_looked_at_when_it_has_expired(redis_url: str) -> None:
    """The clock of the process that pushed its message was ahead."""
    task = Offer.objects.enqueue(expires=HOUR, run_after=2 * HOUR)
    rows_of(Offer, "default").update_managed(check_at=clock.now("default"))
    get_queue().push(task.get_event_channel(), [(task.get_task_id(), task.get_task_data())])

    assert start_messages() == []
    assert row_of(task).check_at == task.expires_at


def test_an_expiry_that_fails_costs_no_other_task_its_start(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expired, sound = Offer.objects.enqueue(expires=PAST), Offer.objects.enqueue()
    apply_each = best_effort.apply_each

    def fail(transitions: Any) -> None:
        if any(transition.kind is EventKind.EXPIRE for transition in transitions):
            raise DatabaseError("gone")
        apply_each(transitions)

    monkeypatch.setattr(start, "apply_each", fail)
    runs = start_messages()

    assert [run.pk for run in runs] == [sound.pk]
    assert "expiry_postponed tasks=1 error=gone" in caplog.text
    assert expire_tasks() == 1
    assert kinds(expired) == ["enqueue", "expire"]


def test_a_claimed_task_that_expires_in_the_inbox_is_not_begun(
    pass_time: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(Offer, "do_task", lambda self: begun.append(self.pk))
    task = Offer.objects.enqueue(expires=HOUR)
    [run] = start_messages()
    counters = Counters()

    pass_time(HOUR)
    perform.perform(run)
    assert finish.finish([run]) == []
    counters.count([run])

    assert begun == []
    assert status_of(task) is Status.CANCELED
    assert [(e.kind, e.reason) for e in stream_of(task)][2:] == [
        ("release", "expired"),
        ("expire", ""),
    ]
    assert (row_of(task).check_at, message_count(task)) == (None, 0)
    assert counters.read()["canceled"] == 1
    assert list(audit(Offer, "default")) == []


def test_a_function_that_has_begun_goes_on(
    pass_time: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Offer, "do_task", lambda self: pass_time(HOUR))
    task = Offer.objects.enqueue(expires=HOUR)
    [run] = start_messages()

    perform.perform(run)
    finish.finish([run])

    assert status_of(task) is Status.SUCCESS


def test_release_and_expiry_are_one_transaction(pass_time: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    [run] = start_messages()
    pass_time(HOUR)
    perform.perform(run)

    with CaptureQueriesContext(connection) as queries:
        finish.finish([run])

    commits = [query for query in queries if query["sql"] == "COMMIT"]
    assert len(commits) == 1
    assert kinds(task)[-2:] == ["release", "expire"]


def test_a_superseded_run_that_has_expired_changes_nothing(pass_time: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    [run] = start_messages()
    task.refresh_from_db()
    task.reset("again")
    pass_time(HOUR)

    perform.perform(run)
    finish.finish([run])

    assert kinds(task) == ["enqueue", "start", "reset", "reject"]
    assert status_of(task) is Status.PENDING


def test_an_answer_that_was_lost_is_found_again(pass_time: Any, redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=HOUR)
    [run] = start_messages()
    pass_time(HOUR)
    perform.perform(run)

    finish.finish([run])
    finish.finish([run])

    assert kinds(task) == ["enqueue", "start", "release", "expire"]


def test_a_retry_that_would_be_too_late_expires(pass_time: Any, redis_url: str) -> None:
    task = FlashOffer.objects.enqueue()
    runs = start_from_table(FlashOffer)
    perform.perform(runs[0])
    finish.finish(runs)
    assert kinds(task)[-1] == "retry"
    assert stream_of(task)[-1].data["expires_at"] == task.expires_at.isoformat()

    pass_time(timedelta(minutes=1))

    assert expire_tasks() == 1
    assert kinds(task) == ["enqueue", "start", "retry", "expire"]
