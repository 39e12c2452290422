"""Deliveries are written with their events, made in order, and retried."""

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection, connections, models, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_simpletask3 import subscriptions
from django_simpletask3.checks import DELIVERIES_ID, SUBSCRIBER_ID
from django_simpletask3.context import current
from django_simpletask3.db import clock
from django_simpletask3.ledger.subscribers import registered_subscribers, unsubscribe
from django_simpletask3.models import Delivery, SimpleTask
from django_simpletask3.monitoring import health
from django_simpletask3.states import EventKind, Status
from django_simpletask3.subscriptions import deliver, retry, subscribe
from tests.steps import apply_kinds, bring_to, create_task
from tests.subscriptions.conftest import Follow
from tests.testapp.models import Elsewhere, Invoice, Letter, PaidInvoice, UuidKeyed

pytestmark = pytest.mark.django_db


class EventLog:
    """A handler that records the events it receives; the first ``failures`` calls raise."""

    def __init__(self, failures: int = 0) -> None:
        self.received: list[tuple[Any, int, str]] = []
        self.failures = failures
        self.contexts: list[Any] = []
        self.__module__, self.__qualname__ = __name__, f"event_log {id(self)}"

    def __call__(self, task: Any, event: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ValueError("not yet")
        self.received.append((task, event.sequence, str(event.kind)))
        self.contexts.append(current())

    @property
    def kinds(self) -> list[str]:
        return [kind for _, _, kind in self.received]


def everything_is_due() -> None:
    for using in ("default", "other"):
        models.QuerySet(Delivery, using=using).filter(due_time__isnull=False).update(
            due_time=clock.now(using) - timedelta(seconds=1)
        )


def deliver_all() -> int:
    """Deliver until nothing is due; the number of handler calls."""
    calls = 0
    while called := deliver():
        calls += called
    return calls


def test_an_event_is_delivered_once_and_its_delivery_is_gone(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice, kinds=["ack", EventKind.FAIL])
    task = bring_to(create_task(Invoice), Status.SUCCESS)

    assert deliver_all() == 1

    assert event_log.received == [(task, 3, "ack")]
    assert not Delivery.objects.exists()
    assert deliver_all() == 0


def test_all_kinds_are_delivered_by_default_in_the_order_of_the_task(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    task.reset("again")

    deliver_all()

    assert event_log.kinds == ["enqueue", "start", "ack", "reset"]


def test_subscribers_get_the_events_of_their_models_in_all_databases(follow: Follow) -> None:
    one, all_, two = EventLog(), EventLog(), EventLog()
    follow("one", one, PaidInvoice)
    follow("two", two, [Letter, UuidKeyed])
    follow("all", all_, SimpleTask)
    for model in (Invoice, PaidInvoice, Letter, UuidKeyed, Elsewhere):
        create_task(model)

    assert deliver_all() == 1 + 2 + 5
    assert [type(task) for task, *_ in one.received] == [PaidInvoice]
    assert {type(task) for task, *_ in two.received} == {Letter, UuidKeyed}
    assert len(all_.received) == 5


def test_a_rolled_back_event_leaves_no_delivery(follow: Follow) -> None:
    follow("event_log", EventLog(), Invoice)

    with transaction.atomic():
        create_task(Invoice)
        transaction.set_rollback(True)

    assert not Delivery.objects.exists()


def test_a_batch_costs_one_statement_more_and_none_without_subscribers(follow: Follow) -> None:
    counts = []
    for number in (0, 1):
        if number:
            follow("event_log", EventLog(), Invoice)
        with CaptureQueriesContext(connection) as queries:
            Invoice.objects.bulk_enqueue([{} for _ in range(20)])
        counts.append(len(queries))
        assert Delivery.objects.count() == 20 * number
    with CaptureQueriesContext(connection) as queries:
        create_task(Letter)

    assert counts[1] == counts[0] + 1
    assert not [query for query in queries if "delivery" in query["sql"]]


def test_while_a_handler_raises_the_event_is_tried_again_later_and_later(follow: Follow) -> None:
    event_log = EventLog(failures=3)
    follow("event_log", event_log, Invoice, kinds=["enqueue"])
    task = create_task(Invoice)
    rests = []

    for _ in range(3):
        deliver()
        assert deliver() == 0
        row = Delivery.objects.get()
        rests.append((row.due_time - clock.now("default")).total_seconds())
        assert "ValueError: not yet" in row.last_error
        everything_is_due()

    assert row.attempts == 3
    assert rests[0] < rests[1] < rests[2] < 5
    assert deliver() == 1
    assert event_log.received == [(task, 1, "enqueue")]


def test_a_failing_task_holds_up_its_own_events_only(follow: Follow) -> None:
    event_log = EventLog(failures=1)
    follow("event_log", event_log, Invoice)
    first = bring_to(create_task(Invoice), Status.RUNNING)
    deliver(limit=1)
    second = bring_to(create_task(Invoice), Status.RUNNING)

    deliver_all()
    assert [(task, kind) for task, _, kind in event_log.received] == [
        (second, "enqueue"),
        (second, "start"),
    ]

    everything_is_due()
    deliver_all()
    assert [kind for task, _, kind in event_log.received if task == first] == ["enqueue", "start"]


def test_a_delivery_out_of_attempts_is_dead_and_holds_back_its_task_until_it_is_retried(
    follow: Follow,
) -> None:
    event_log = EventLog(failures=2)
    follow("event_log", event_log, Invoice, max_attempts=2)
    bring_to(create_task(Invoice), Status.RUNNING)
    for _ in range(3):
        deliver_all()
        everything_is_due()

    (dead,) = [one for one in Delivery.objects.all() if one.is_dead]
    assert (dead.attempts, dead.kind, event_log.received) == (2, "enqueue", [])

    assert retry([dead]) == 1
    deliver_all()
    assert event_log.kinds == ["enqueue", "start"]


def test_a_handler_that_leaves_python_has_failed(follow: Follow) -> None:
    def leave(task: Any, event: Any) -> None:
        raise SystemExit(3)

    follow("leaver", leave, Invoice)
    create_task(Invoice)

    assert deliver() == 1
    assert "SystemExit: 3" in Delivery.objects.get().last_error


def test_events_of_a_deleted_task_are_delivered_without_the_task(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)
    create_task(Invoice).delete()

    deliver_all()

    assert event_log.received == [(None, 1, "enqueue"), (None, 2, "delete")]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("half \ud800"), id="a lone surrogate"),
        pytest.param(ValueError("a \x00"), id="a null character"),
        pytest.param(Unprintable(), id="an error that cannot be printed"),
    ],
)
def test_an_error_of_any_text_postpones_the_delivery(follow: Follow, error: Exception) -> None:
    def fail(task: Any, event: Any) -> None:
        raise error

    follow("fails", fail, Invoice)
    create_task(Invoice)

    assert deliver() == 1
    assert type(error).__name__ in Delivery.objects.get().last_error


def test_an_event_that_was_pruned_is_dead_at_once(follow: Follow) -> None:
    follow("event_log", EventLog(), Invoice)
    task = create_task(Invoice)
    models.QuerySet(Invoice.event_model).filter(task=task.pk)._raw_delete("default")

    deliver()

    row = Delivery.objects.get()
    assert row.is_dead
    assert "pruned" in row.last_error


def test_events_written_by_a_handler_name_the_subscription_and_the_event(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)
    task = create_task(Invoice)

    deliver()

    name = f"testapp.Invoice:{task.pk}"
    (context,) = event_log.contexts
    assert (context.actor, context.parent, context.data) == (
        "subscription event_log",
        name,
        {"cause": f"{name} #1"},
    )


def test_a_claimed_delivery_is_not_delivered_by_others(follow: Follow) -> None:
    calls: list[int] = []

    def look_around(task: Any, event: Any) -> None:
        calls.append(deliver())
        calls.append(retry(Delivery.objects.all()))

    follow("nested", look_around, Invoice)
    create_task(Invoice)

    assert deliver(worker="w1") == 1
    assert calls == [0, 0]


def test_deliveries_of_dead_workers_are_due_at_once(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)
    create_task(Invoice)
    later = clock.after("default", 300)
    Delivery.objects.update(worker="node:1:a", due_time=later, attempts=1)
    assert deliver() == 0

    assert subscriptions.release_dead_local_workers(lambda worker: worker == "node:2:b") == 0
    assert subscriptions.release_dead_local_workers(lambda worker: worker == "node:1:a") == 1

    assert deliver() == 1
    assert event_log.kinds == ["enqueue"]


@pytest.mark.django_db(transaction=True)
def test_several_deliver_side_by_side_each_event_once_and_in_order(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)
    tasks = [bring_to(create_task(Invoice), Status.SUCCESS) for _ in range(8)]

    def work() -> None:
        try:
            while Delivery.objects.exists():
                deliver(limit=3)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for task in tasks:
        assert [kind for one, _, kind in event_log.received if one == task] == [
            "enqueue",
            "start",
            "ack",
        ]


def test_a_database_that_fails_stops_no_other(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, SimpleTask)
    create_task(Invoice)
    create_task(Elsewhere)

    def fail(*_: Any) -> None:
        raise OperationalError("away")

    with connections["default"].execute_wrapper(fail):
        assert deliver() == 1
    assert [type(task) for task, *_ in event_log.received] == [Elsewhere]


def test_one_name_is_for_one_handler(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice)

    follow("event_log", event_log, Letter)
    with pytest.raises(ImproperlyConfigured, match="have this name"):
        subscribe("event_log", Invoice)(lambda task, event: None)

    assert registered_subscribers()["event_log"].models == (Letter,)


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        (("", Invoice), {}, "1 to 100"),
        (("n" * 101, Invoice), {}, "1 to 100"),
        (("name", []), {}, "task model"),
        (("name", ["testapp.Invoice"]), {}, "task model"),
        (("name", Invoice), {"kinds": ["finished"]}, "there are enqueue"),
        (("name", Invoice), {"max_attempts": 0}, "1 or more"),
    ],
)
def test_invalid_arguments_are_refused(arguments: Any, options: Any, word: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=word):
        subscribe(*arguments, **options)


def test_the_status_tells_of_lag_dead_ones_and_unknown_names(
    follow: Follow, redis_url: str
) -> None:
    follow("event_log", EventLog(), Invoice)
    create_task(Invoice)
    Delivery.objects.update(event_time=clock.after("default", -100))
    dead = Delivery.objects.create(
        subscription="gone", model="testapp.Invoice", task_key="1", sequence=1, kind="ack",
        event_time=clock.now("default"),
    )  # fmt: skip

    states = {
        state.subscription: state
        for state in health.snapshot().subscriptions
        if state.waiting or state.dead
    }
    problems = "\n".join(health.snapshot().problems)

    assert states["event_log"].waiting == 1
    assert 99 < states["event_log"].lag < 200
    assert (states["gone"].dead, states["gone"].is_registered, dead.is_dead) == (1, False, True)
    assert "'event_log' in 'default' is 1" in problems
    assert "1 delivery to 'gone' in 'default' is dead" in problems
    output = StringIO()
    with pytest.raises(SystemExit):
        call_command("django-simpletask3-status", stdout=output)
    assert "event_log" in output.getvalue()


def test_the_admin_shows_deliveries_and_retries_them(follow: Follow, client: Client) -> None:
    follow("event_log", EventLog(failures=9), Invoice, max_attempts=1)
    create_task(Invoice)
    deliver()
    row = Delivery.objects.get()
    Delivery.objects.update(last_error="Traceback\n<script>alert(1)</script>")
    client.force_login(User.objects.create_superuser("root"))
    url = "/admin/django_simpletask3/delivery/"

    page = client.get(url, {"dead": "1"}).content.decode()
    assert "event_log" in page
    assert "<script>alert(1)" not in page
    client.post(url, {"action": "retry_selected", "_selected_action": [row.pk]})

    row.refresh_from_db()
    assert (row.is_dead, row.attempts) == (False, 0)
    assert client.get(f"{url}{row.pk}/change/").status_code == 200
    assert client.get(f"{url}add/").status_code == 403


def test_a_user_who_may_only_view_cannot_retry(follow: Follow, client: Client) -> None:
    from django.contrib.auth.models import Permission

    follow("event_log", EventLog(failures=9), Invoice, max_attempts=1)
    create_task(Invoice)
    deliver()
    viewer = User.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(viewer)
    url = "/admin/django_simpletask3/delivery/"

    row = Delivery.objects.get()
    client.post(url, {"action": "retry_selected", "_selected_action": [row.pk]})

    row.refresh_from_db()
    assert row.is_dead


def test_transitions_made_by_hand_are_delivered(follow: Follow) -> None:
    event_log = EventLog()
    follow("event_log", event_log, Invoice, kinds="cancel")
    apply_kinds(create_task(Invoice), EventKind.CANCEL)

    deliver_all()

    assert event_log.kinds == ["cancel"]


def check_messages(using: str = "default") -> list[tuple[str, str]]:
    found = run_checks(databases=[using])
    return [(one.id, one.msg) for one in found if one.id in (DELIVERIES_ID, SUBSCRIBER_ID)]


def test_the_check_of_a_database_is_content_with_known_subscribers(follow: Follow) -> None:
    follow("event_log", EventLog(), Invoice)
    create_task(Invoice)

    assert check_messages() == []


def test_the_check_of_a_database_names_subscriptions_without_a_subscriber(follow: Follow) -> None:
    follow("event_log", EventLog(), Invoice)
    create_task(Invoice)
    unsubscribe("event_log")

    ((name, message),) = check_messages()

    assert name == SUBSCRIBER_ID
    assert "'event_log'" in message


@pytest.mark.django_db(transaction=True)
def test_the_check_of_a_database_tells_before_saving_fails(follow: Follow) -> None:
    follow("event_log", EventLog(), Elsewhere)
    with connections["other"].schema_editor() as editor:
        editor.delete_model(Delivery)
    try:
        ((name, message),) = check_messages("other")
    finally:
        with connections["other"].schema_editor() as editor:
            editor.create_model(Delivery)

    assert name == DELIVERIES_ID
    assert "testapp.Elsewhere" in message
    assert "event_log" in message
    assert check_messages("other") == []
