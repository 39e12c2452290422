"""After a commit: messages in Redis, then signals; and what happens while Redis is away."""

import copy
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import F, Value
from django.test.utils import CaptureQueriesContext

from django_simpletask3 import signals
from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.queue import Waiter, get_queue
from django_simpletask3.signals import (
    SIGNALS,
    event_recorded,
    task_canceled,
    task_enqueued,
    task_transitioned,
)
from django_simpletask3.states import TRANSITIONS, EventKind, Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import (
    TASK_MODELS,
    WAYS,
    apply_kinds,
    bring_to,
    create_task,
    has_message,
    is_due_for_recovery,
    kinds,
    label_of,
    make_task,
    message_count,
    row_of,
    stream_of,
)
from tests.testapp.models import (
    Elsewhere,
    ForeignInvoice,
    Invoice,
    Letter,
    PaidInvoice,
    Reminder,
    UuidKeyed,
)

transactional = pytest.mark.django_db(transaction=True)


class Undone(Exception):
    """What undoes a block."""


@contextmanager
def undone(using: str = "default") -> Iterator[None]:
    """A transaction, or a savepoint, that is rolled back."""
    with suppress(Undone), transaction.atomic(using=using):
        yield
        raise Undone


def everything_waiting(channel: str) -> list[str]:
    """The ids of all messages in a channel, in the order in which they are taken."""
    return [message.id for message in get_queue().claim(channel, worker="t", limit=1000, lease=60)]


@transactional
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_a_saved_task_is_pushed_once(model: type[Any]) -> None:
    task = create_task(model)

    assert message_count(task) == 1
    assert has_message(task)


@transactional
def test_a_message_says_which_row_to_look_at_and_nothing_else() -> None:
    task = create_task(Invoice)

    (message,) = get_queue().claim(task.get_event_channel(), worker="t", lease=60)

    assert message.id == f"django-simpletask3:testapp.invoice:{task.pk}"
    assert message.data == {"app_label": "testapp", "model_name": "invoice", "id": task.pk}


@transactional
def test_a_key_that_is_no_number_travels_as_text() -> None:
    task = create_task(UuidKeyed)

    (message,) = get_queue().claim(task.get_event_channel(), worker="t", lease=60)

    assert message.data["id"] == str(task.pk)


@transactional
@pytest.mark.parametrize("data", [{"id": object()}, {"id": "x" * 70_000}], ids=["type", "size"])
def test_a_message_that_cannot_be_sent_holds_up_no_other(
    data: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken, task = make_task(Invoice), make_task(Invoice)
    vars(broken)["get_task_data"] = lambda: data

    with transaction.atomic():
        broken.save()
        task.save()

    assert everything_waiting(task.get_event_channel()) == [task.get_task_id()]
    assert row_of(broken).status == Status.PENDING
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        f"message_not_built model=testapp.Invoice pk={broken.pk}"
    ]


@transactional
def test_a_row_elsewhere_than_the_router_says_names_its_database() -> None:
    task = Reminder()
    task.save(using="other")

    assert task.get_task_data()["using"] == "other"
    assert "using" not in create_task(Elsewhere).get_task_data()
    assert "using" not in create_task(Reminder).get_task_data()


@transactional
def test_the_message_is_pushed_after_the_commit_and_not_before() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        before = message_count(task)

    assert (before, message_count(task)) == (0, 1)


@transactional
def test_the_message_is_pushed_after_the_commit_of_its_own_database() -> None:
    with transaction.atomic(using="other"):
        task = create_task(Elsewhere)
        with transaction.atomic():
            pass
        before = message_count(task)

    assert (before, message_count(task)) == (0, 1)


@transactional
@pytest.mark.parametrize("using", ["default", "other"])
def test_a_row_that_is_rolled_back_is_never_pushed(using: str) -> None:
    with undone(using):
        Reminder().save(using=using)

    assert message_count(Reminder) == 0
    assert not Reminder.objects.using(using).exists()


@transactional
def test_a_savepoint_that_is_rolled_back_is_never_pushed_but_what_is_around_it_does() -> None:
    with transaction.atomic():
        before = create_task(UuidKeyed)
        with undone():
            create_task(UuidKeyed)
        after = create_task(UuidKeyed)

    found = everything_waiting(UuidKeyed.get_event_channel())
    assert found == [before.get_task_id(), after.get_task_id()]


@transactional
def test_what_a_rolled_back_savepoint_did_to_the_instance_silences_no_message() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        with undone():
            task.cancel()

    assert row_of(task).status == Status.PENDING
    assert message_count(task) == 1


@transactional
def test_several_saves_of_one_object_push_once() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        for amount in range(5):
            task.amount = amount
            task.save()
        with transaction.atomic():
            task.save()

    assert message_count(task) == 1
    assert kinds(task) == ["enqueue"]


@transactional
def test_saving_a_pending_task_again_makes_sure_that_it_is_pushed_and_never_twice() -> None:
    task = create_task(Invoice)
    everything = get_queue()
    everything.cancel_many(task.get_event_channel(), [task.get_task_id()])
    lost = message_count(task)

    for _ in range(3):
        row_of(task).save()

    assert (lost, message_count(task)) == (0, 1)


@transactional
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
@pytest.mark.parametrize("around", [False, True], ids=["alone", "within a transaction"])
def test_saving_a_task_that_does_not_wait_pushes_nothing(around: bool, status: Status) -> None:
    task = bring_to(create_task(Invoice), status)
    get_queue().cancel_many(task.get_event_channel(), [task.get_task_id()])

    with transaction.atomic() if around else nullcontext():
        task.save()
        task.save(update_fields=["amount"])

    assert message_count(task) == 0
    assert kinds(task) == ["enqueue", *WAYS[status]]


@transactional
def test_a_task_for_later_is_not_pushed_now() -> None:
    later = clock.after("default", 3600)

    task = create_task(Invoice, run_after=later)

    assert message_count(task) == 0
    assert row_of(task).check_at == row_of(task).run_after == later


@transactional
def test_a_text_without_zone_is_taken_as_django_takes_it() -> None:
    moment = clock.now("default").replace(tzinfo=None) + timedelta(hours=1)

    with pytest.warns(RuntimeWarning, match="naive"):
        task = create_task(Invoice, run_after=str(moment))

    assert message_count(task) == 0
    assert row_of(task).run_after.replace(tzinfo=None) == moment


@transactional
def test_a_task_whose_time_has_come_is_pushed() -> None:
    task = create_task(Invoice, run_after=clock.after("default", -1))

    assert message_count(task) == 1


def hinted_seconds() -> list[float]:
    """In how many seconds tasks are due, as hints say to a worker."""
    seconds_left: list[float] = []
    channel, waiter = Invoice.get_event_channel(), Waiter(on_hint=seconds_left.extend)
    assert get_queue().claim(channel, worker="w", lease=60, waiter=waiter) == []
    return seconds_left


SOON: dict[str, Callable[[timedelta], object]] = {
    "created": lambda delay: create_task(Invoice, run_after=delay),
    "in bulk": lambda delay: Invoice.objects.bulk_enqueue([{"run_after": delay}] * 50),
    "postponed": lambda delay: postponed(create_task(Invoice, run_after=600), delay).save(),
    "reset": lambda delay: create_task(Invoice, run_after=600).reset(run_after=delay),
    "as text": lambda delay: create_task(Invoice, run_after=str(clock.now("default") + delay)),
}


def postponed(task: Invoice, delay: timedelta) -> Invoice:
    task.run_after = delay
    return task


@transactional
@pytest.mark.parametrize("save", SOON.values(), ids=SOON)
@pytest.mark.parametrize(("seconds", "is_hinted"), [(8, True), (15, False)])
def test_nodes_get_hints_of_tasks_that_are_due_within_ten_seconds(
    save: Callable[[timedelta], object], seconds: int, is_hinted: bool
) -> None:
    save(timedelta(seconds=seconds))

    seconds_left = hinted_seconds()
    assert bool(seconds_left) == is_hinted
    assert all(0 < later <= seconds + 0.1 for later in seconds_left)
    assert message_count(Invoice) == 0


NOW = timedelta()
UPDATES: dict[str, tuple[Callable[[], Any], timedelta | None]] = {
    "soon": (lambda: timedelta(seconds=8), timedelta(seconds=8)),
    "later": (lambda: 15, None),
    "past": (lambda: clock.after("default", -60), NOW),
    "none": (lambda: None, NOW),
    "expression": (lambda: F("run_after") - timedelta(seconds=595), NOW),
}


@transactional
@pytest.mark.parametrize(("run_after", "hinted"), UPDATES.values(), ids=UPDATES)
def test_nodes_get_a_hint_of_tasks_that_a_queryset_moves(
    run_after: Callable[[], Any], hinted: timedelta | None
) -> None:
    task = create_task(Invoice, run_after=600)
    with transaction.atomic():
        Invoice.objects.filter(pk=task.pk).update(run_after=run_after())
        before = hinted_seconds()

    seconds_left = hinted_seconds()

    assert before == []
    assert len(seconds_left) == (hinted is not None)
    assert all(later <= (hinted or NOW).total_seconds() + 0.5 for later in seconds_left)
    assert message_count(Invoice) == 0


@transactional
def test_nodes_get_a_hint_of_tasks_that_are_updated_in_bulk() -> None:
    tasks = [postponed(create_task(Invoice, run_after=600), timedelta(seconds=5)) for _ in range(3)]

    Invoice.objects.bulk_update(tasks, ["run_after"])

    assert len(hinted_seconds()) == 1


@transactional
def test_two_updates_are_two_hints() -> None:
    task = create_task(Invoice, run_after=600)
    for seconds in (9, 5):
        Invoice.objects.filter(pk=task.pk).update(run_after=seconds)

    assert len(hinted_seconds()) == 2


@transactional
def test_an_update_that_moves_nothing_or_is_rolled_back_is_no_hint() -> None:
    create_task(Invoice, run_after=600)
    Invoice.objects.filter(run_after=None).update(run_after=5)
    Invoice.objects.update(amount=5)
    with undone():
        Invoice.objects.update(run_after=5)
        create_task(Invoice, run_after=5)

    assert hinted_seconds() == []


@pytest.mark.django_db(transaction=True)
def test_without_redis_a_task_that_is_due_soon_is_saved_as_it_is(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    task = create_task(Invoice, run_after=7)
    Invoice.objects.update(run_after=5)

    row = row_of(task)
    assert (row.check_at, kinds(task)) == (row.run_after, ["enqueue"])
    assert row.run_after < task.run_after


@transactional
@pytest.mark.parametrize("in_bulk", [False, True])
def test_tasks_are_taken_by_priority_equals_oldest_first(in_bulk: bool) -> None:
    columns = [{"priority": priority} for priority in (0, -1, 1, 100, 0, 1, -100)]
    tasks = (
        Invoice.objects.bulk_enqueue(columns)
        if in_bulk
        else [create_task(Invoice, **row) for row in columns]
    )

    found = everything_waiting(Invoice.get_event_channel())

    assert found == [tasks[n].get_task_id() for n in (3, 2, 5, 0, 4, 1, 6)]


@transactional
@pytest.mark.parametrize(("priority", "place"), [(5, 0), (-5, 2), (0, 1)])
def test_saving_another_priority_moves_the_message(priority: int, place: int) -> None:
    tasks = [create_task(Invoice, priority=priority) for priority in (1, 0, -1)]
    tasks[1].priority = priority
    tasks[1].save()

    found = everything_waiting(Invoice.get_event_channel())

    assert found.index(tasks[1].get_task_id()) == place
    assert len(found) == 3


@transactional
@pytest.mark.parametrize("priority", [1000, -(2**15)])
def test_a_priority_that_an_older_version_has_written_counts_as_the_nearest(priority: int) -> None:
    task = create_task(Invoice)
    everything_waiting(Invoice.get_event_channel())
    Invoice.objects.update(priority=Value(priority))
    row_of(task).reset()
    limit = create_task(Invoice, priority=100 if priority > 0 else -100)

    assert everything_waiting(Invoice.get_event_channel()) == [
        task.get_task_id(),
        limit.get_task_id(),
    ]


@transactional
def test_tasks_of_many_priorities_are_pushed_in_one_call() -> None:
    create_task(Invoice)
    calls = commands_of_redis()

    Invoice.objects.bulk_enqueue([{"priority": number} for number in range(-100, 101)])

    assert commands_of_redis() - calls == 1
    assert message_count(Invoice) == 202


@transactional
def test_a_thousand_tasks_are_pushed_in_a_few_calls() -> None:
    calls = commands_of_redis()

    Invoice.objects.bulk_enqueue([{"amount": n} for n in range(1000)])

    assert message_count(Invoice) == 1000
    assert commands_of_redis() - calls < 15


def commands_of_redis() -> int:
    """How many scripts Redis has run."""
    stats = get_queue().db.info("commandstats")
    return sum(
        int(stats.get(name, {}).get("calls", 0)) for name in ("cmdstat_evalsha", "cmdstat_eval")
    )


@transactional
@pytest.mark.thorough
def test_a_thousand_deleted_tasks_cost_a_few_calls() -> None:
    Invoice.objects.bulk_enqueue([{"amount": n} for n in range(1000)])
    calls = commands_of_redis()

    Invoice.objects.all().delete()

    assert message_count(Invoice) == 0
    assert commands_of_redis() - calls < 15


@transactional
@pytest.mark.parametrize("around", [False, True], ids=["alone", "within a transaction"])
@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_task_that_must_not_run_is_taken_out_of_the_queue(way: str, around: bool) -> None:
    task, other = create_task(Invoice), create_task(Invoice)

    with transaction.atomic() if around else nullcontext():
        getattr(task, way)()

    assert everything_waiting(Invoice.get_event_channel()) == [other.get_task_id()]


@transactional
def test_a_task_that_is_born_and_called_off_in_one_transaction_is_never_pushed(
    received: Any,
) -> None:
    with transaction.atomic():
        create_task(Invoice).cancel()

    assert message_count(Invoice) == 0


@transactional
def test_a_task_that_is_called_off_and_reset_in_one_transaction_is_pushed() -> None:
    task = create_task(Invoice)

    with transaction.atomic():
        task.cancel()
        task.reset()

    assert message_count(task) == 1


@transactional
def test_a_reset_takes_the_message_from_its_holder() -> None:
    task = create_task(Invoice)
    (held,) = get_queue().claim(task.get_event_channel(), worker="w1", lease=60)
    apply_kinds(task, EventKind.START)

    task.reset()

    assert message_count(task) == 1
    assert get_queue().ack_many([held]) == [False]


@pytest.fixture
def mute_server() -> Iterator[str]:
    """The URL of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def dead_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def frozen_server(own_redis_server: RedisServer) -> str:
    """A server that has answered, and then stopped in the middle."""
    assert get_queue().waiting("any") == 0
    own_redis_server.freeze()
    return own_redis_server.url


@pytest.fixture
def bad_url() -> str:
    return "http://nowhere"


@pytest.fixture
def redis_away(request: pytest.FixtureRequest, settings: Any) -> None:
    """Redis as the parameter says, or a port without a listener."""
    url = request.getfixturevalue(getattr(request, "param", "dead_port"))
    if url != settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL:
        settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url


def each_way(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("redis_away", names, indirect=True)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[int]]:
    """The levels of what this package has logged above INFO."""
    caplog.set_level(logging.INFO)

    def levels() -> list[int]:
        return [r.levelno for r in caplog.records if r.levelno > logging.INFO]

    return levels


def seconds_of(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@transactional
@each_way("dead_port", "mute_server", "frozen_server", "bad_url")
@pytest.mark.usefixtures("redis_away")
def test_a_save_succeeds_in_two_seconds_with_one_line_and_is_left_to_recovery(
    logged: Callable[[], list[int]],
) -> None:
    task = Invoice(amount=3)

    took = seconds_of(task.save)

    assert took < 2.0
    assert logged() == [logging.WARNING]
    assert (row_of(task).status, kinds(task)) == (Status.PENDING, ["enqueue"])
    assert is_due_for_recovery(task)


@transactional
@each_way("mute_server")
@pytest.mark.usefixtures("redis_away")
def test_many_saves_in_an_outage_do_not_each_wait_for_it() -> None:
    tasks = [Invoice() for _ in range(20)]

    took = seconds_of(lambda: [task.save() for task in tasks])

    assert took < 4.0
    assert all(is_due_for_recovery(task) for task in tasks)


@transactional
@pytest.mark.usefixtures("redis_away")
def test_a_bulk_in_an_outage_is_left_to_recovery_as_one(logged: Callable[[], list[int]]) -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(50)])

    assert logged() == [logging.WARNING]
    assert all(is_due_for_recovery(task) for task in tasks)


@transactional
@each_way("dead_port", "bad_url")
@pytest.mark.usefixtures("redis_away")
def test_an_outage_keeps_no_other_process_from_what_follows_the_commit(received: Any) -> None:
    followed: list[str] = []

    with transaction.atomic():
        transaction.on_commit(lambda: followed.append("before"))
        create_task(Invoice)
        transaction.on_commit(lambda: followed.append("after"))

    assert followed == ["before", "after"]
    assert task_enqueued in {signal for signal, *_ in received}


@transactional
def test_a_model_whose_message_cannot_be_made_keeps_no_other_process_from_what_follows(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[int]], received: Any
) -> None:
    def broken(task: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Invoice, "get_task_data", broken)
    followed: list[str] = []

    with transaction.atomic():
        task = create_task(Invoice)
        transaction.on_commit(lambda: followed.append("after"))

    assert followed == ["after"]
    assert logged() == [logging.ERROR]
    assert task_enqueued in {signal for signal, *_ in received}
    assert row_of(task).check_at is not None


@transactional
@each_way("mute_server")
@pytest.mark.usefixtures("redis_away")
def test_saving_resetting_canceling_and_deleting_work_in_an_outage() -> None:
    task = create_task(Invoice)

    def live() -> None:
        task.save()
        task.reset()
        task.cancel()
        task.delete()

    assert seconds_of(live) < 4.0
    assert row_of(task) is None


@transactional
def test_redis_is_asked_again_soon_after_an_outage(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    lost = create_task(Invoice)
    own_redis_server.start()

    eventually(lambda: row_of(lost).save() or message_count(lost) == 1)

    assert message_count(lost) == 1


@transactional
def test_a_task_that_another_process_took_meanwhile_is_not_marked(
    dead_port: str, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = dead_port
    lease = clock.after("default", 600)

    with transaction.atomic():
        task = create_task(Invoice)
        apply_kinds(row_of(task), EventKind.START, values={"check_at": lease})

    assert row_of(task).check_at == lease


LEGAL = [
    (status, kind)
    for status in Status
    for kind in EventKind
    if (status, kind) in TRANSITIONS and kind is not EventKind.REJECT
]


def test_every_kind_but_notes_and_deletions_has_the_signal_of_its_name() -> None:
    named = {
        kind: [name for name, signal in vars(signals).items() if signal in SIGNALS[kind]]
        for kind in SIGNALS
    }

    assert named == {
        "enqueue": ["task_enqueued"],
        "start": ["task_started"],
        "ack": ["task_succeeded"],
        "fail": ["task_failed"],
        "retry": ["task_retried"],
        "snooze": ["task_snoozed"],
        "block": ["task_blocked"],
        "unblock": ["task_unblocked"],
        "recover": ["task_recovered"],
        "drop": ["task_failed", "task_dropped"],
        "release": ["task_released"],
        "cancel": ["task_canceled"],
        "expire": ["task_canceled", "task_expired"],
        "reset": ["task_reset"],
        "reject": ["task_rejected"],
        "note": [],
        "checkpoint": [],
        "hold": [],
        "lift": [],
        "erase": [],
        "delete": [],
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "kind"), LEGAL)
def test_every_move_sends_its_signals_after_the_commit(
    status: Status, kind: EventKind, commit: Any, received: Any
) -> None:
    task = bring_to(create_task(Invoice), status)
    received.clear()

    with commit():
        apply_kinds(task, kind)
        within = [signal for signal, *_ in received]

    event = stream_of(task)[-1]
    assert within == [event_recorded]
    assert received[1:] == [
        (signal, Invoice, task, event) for signal in (*SIGNALS.get(kind, ()), task_transitioned)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_the_sender_is_the_model_that_was_saved(
    model: type[Any], commit: Any, received: Any
) -> None:
    task = make_task(model)
    using = "other" if model is Elsewhere else "default"

    with commit(using):
        task.save()

    assert [(signal, sender) for signal, sender, _, _ in received] == [
        (event_recorded, model),
        (task_enqueued, model),
        (task_transitioned, model),
    ]
    assert all(
        reported is task and event == stream_of(task)[0] for _, _, reported, event in received
    )


@pytest.mark.django_db
def test_a_refused_outcome_is_signaled_as_rejected(commit: Any, received: Any) -> None:
    task = bring_to(create_task(Invoice), Status.CANCELED)
    received.clear()

    with commit(), pytest.raises(Exception, match="moved first"):
        apply_kinds(task, EventKind.ACK)

    assert [signal for signal, *_ in received] == [
        event_recorded,
        *SIGNALS[EventKind.REJECT],
        task_transitioned,
    ]


@transactional
def test_a_move_that_is_rolled_back_is_reported_to_no_one(received: Any) -> None:
    task = create_task(Invoice)
    received.clear()

    with undone():
        task.cancel()

    assert {signal for signal, *_ in received} == {event_recorded}


@transactional
def test_the_message_is_pushed_and_the_row_is_there_when_a_signal_comes(listen: Any) -> None:
    seen: list[tuple[int, bool, bool]] = []

    def receiver(task: Any, **_: Any) -> None:
        is_open = connections["default"].in_atomic_block
        seen.append((message_count(task), row_of(task) is not None, is_open))

    listen(receiver, task_enqueued)

    create_task(Invoice)

    assert seen == [(1, True, False)]


@transactional
@pytest.mark.parametrize("make", [lambda function: function, partial], ids=["function", "object"])
def test_a_receiver_that_raises_is_logged_and_changes_nothing(
    listen: Any, logged: Callable[[], list[int]], caplog: pytest.LogCaptureFixture, make: Any
) -> None:
    def raise_undone(**_: Any) -> None:
        raise Undone

    broken = make(raise_undone)
    reported: list[Any] = []
    listen(broken, task_enqueued, task_transitioned)
    listen(lambda task, **_: reported.append(task), task_enqueued)

    task = create_task(Invoice)

    assert reported == [task]
    assert logged() == [logging.ERROR] * 2
    records = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert {r.name for r in records} == {"django_simpletask3.signals"}
    assert {type(r.exc_info[1]) for r in records if r.exc_info} == {Undone}
    assert f'event="testapp.Invoice:{task.pk} #1"' in records[0].getMessage()
    assert (row_of(task).status, message_count(task)) == (Status.PENDING, 1)


@transactional
def test_a_receiver_may_move_the_task_on(listen: Any) -> None:
    listen(lambda task, **_: task.cancel("not wanted"), task_enqueued)

    task = create_task(Invoice)

    assert kinds(task) == ["enqueue", "cancel"]
    assert message_count(task) == 0


@transactional
def test_signals_come_in_the_order_of_the_events(received: Any) -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        bring_to(task, Status.SUCCESS)
        with transaction.atomic():
            task.reset()
        task.note()

    reported = [event.sequence for signal, *_, event in received if signal is task_transitioned]
    assert reported == [1, 2, 3, 4, 5]


@pytest.mark.django_db
def test_in_a_test_case_every_captured_block_has_its_own_callbacks(
    django_capture_on_commit_callbacks: Any, received: Any
) -> None:
    task = create_task(Invoice)
    found = []
    for step in (task.save, task.cancel, task.reset, lambda: create_task(Invoice)):
        with django_capture_on_commit_callbacks(execute=True) as callbacks:
            step()
        found.append(len(callbacks))

    assert found == [1, 1, 1, 1]
    assert message_count(Invoice) == 2
    assert task_canceled in {signal for signal, *_ in received}


@transactional
def test_a_transaction_that_is_rolled_back_silences_no_other(received: Any) -> None:
    def other() -> None:
        with transaction.atomic(using="other"):
            create_task(Elsewhere)
        connections.close_all()

    with undone():
        create_task(Invoice)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    reported = {sender for signal, sender, *_ in received if signal is task_transitioned}
    assert reported == {Elsewhere}


@transactional
def test_a_transaction_that_tells_nothing_costs_nothing(redis_client: Any) -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    before = commands_of_redis()

    with CaptureQueriesContext(connections["default"]) as made:
        task.save()

    assert commands_of_redis() == before
    assert [query["sql"].split()[0] for query in made].count("UPDATE") == 1


@transactional
@pytest.mark.parametrize("model", [PaidInvoice, ForeignInvoice], ids=label_of)
def test_a_task_handled_as_its_root_is_pushed_there(model: type[Any]) -> None:
    task = create_task(model)

    Invoice.objects.get(pk=task.pk).reset()

    assert message_count(Invoice) == 1


@transactional
@pytest.mark.parametrize("model", [Invoice, UuidKeyed], ids=label_of)
def test_a_copy_made_in_the_same_transaction_is_pushed_beside_the_original(
    model: type[Any],
) -> None:
    with transaction.atomic():
        task = create_task(model)
        original = copy.copy(task)
        task.pk = task.id = model._meta.pk.get_default()
        task._state.adding = True
        task.save()

    assert message_count(model) == 2
    assert has_message(original)
    assert has_message(task)


@transactional
def test_what_is_assigned_after_a_save_changes_no_message() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        task.run_after = clock.after("default", 3600)

    assert message_count(task) == 1


@transactional
def test_a_save_in_the_same_transaction_postpones_the_message() -> None:
    with transaction.atomic():
        task = create_task(Invoice)
        task.run_after = clock.after("default", 3600)
        task.save()

    assert message_count(task) == 0


def test_what_a_receiver_does_names_the_signal_and_what_it_followed_from(
    pending_task: Any, listen: Any, commit: Any
) -> None:
    made: list[Any] = []

    def follow(task: Any, **_: Any) -> None:
        made.append(create_task(Letter))
        task.note("seen")

    listen(follow, task_canceled)

    with commit():
        pending_task.cancel()

    name = f"testapp.Invoice:{pending_task.pk}"
    (letter,) = made
    first_event = stream_of(letter)[0]
    assert letter.parent == name
    assert first_event.actor == "signal task_canceled"
    assert first_event.data == {"cause": f"{name} #2", "parent": name}
    assert stream_of(pending_task)[-1].actor == "signal task_canceled"


def test_a_receiver_acts_for_the_one_who_caused_the_signal(
    pending_task: Any, listen: Any, commit: Any
) -> None:
    listen(lambda task, **_: task.note("seen"), task_canceled)

    with task_context(actor="ann"), commit():
        pending_task.cancel()

    assert stream_of(pending_task)[-1].actor == "ann"


@pytest.mark.django_db(transaction=True)
def test_what_follows_from_a_deletion_names_the_task_that_is_gone(
    pending_task: Any, listen: Any
) -> None:
    made: list[Any] = []

    def follow(event: Any, **_: Any) -> None:
        if event.kind == EventKind.DELETE:
            made.append(create_task(Letter))

    listen(follow, task_transitioned)
    name = f"testapp.Invoice:{pending_task.pk}"

    pending_task.delete()

    assert made[0].parent == name


@transactional
def test_in_a_project_without_redis_a_push_costs_nothing_and_fails_not(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    create_task(Invoice)
    with CaptureQueriesContext(connections["default"]) as usual:
        create_task(Invoice)
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    caplog.set_level(logging.DEBUG)

    with CaptureQueriesContext(connections["default"]) as asked:
        task = create_task(Invoice)
    assert is_due_for_recovery(task)  # nodes look for it in the table
    Invoice.objects.update(run_after=5)
    task.cancel()

    assert len(asked) == len(usual)
    assert [record for record in caplog.records if "simpletask3" in record.name] == []
