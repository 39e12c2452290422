"""Lost tasks are recovered once, and their streams say why."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, models

from django_simpletask3.db import clock
from django_simpletask3.ledger.task_row import short_key
from django_simpletask3.models.queryset import TaskQuerySet, rows_of
from django_simpletask3.models.registry import tables_in
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery import lost_messages, lost_workers, service
from django_simpletask3.recovery.lost_workers import LostProcess
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.eventually import eventually
from tests.steps import bring_to, create_task, kinds, row_of
from tests.testapp import models as testapp
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"


def expire(task: Any) -> None:
    """Let the task be overdue for an hour."""
    past = clock.now(task._state.db) - timedelta(hours=1)
    rows_of(type(task), task._state.db).filter(pk=task.pk).update_managed(check_at=past)


def waiting(model: Any) -> int:
    return get_queue().waiting(model.get_event_channel())


def age(model: type[Any]) -> None:
    """Let the tasks have been saved a minute ago."""
    before = clock.after("default", -60)
    rows_of(model, "default").update(mod_time=before)


@pytest.fixture
def claimed_task(pending_task: Invoice) -> Invoice:
    """A running task whose message a worker holds."""
    [message] = get_queue().claim(pending_task.get_event_channel(), worker=WORKER, lease=600)
    until = clock.after("default", 600)
    apply(
        pending_task,
        EventKind.START,
        worker=WORKER,
        data={"claim": message.running_id},
        values={"check_at": until},
    )
    return pending_task


@pytest.fixture
def lost_task(claimed_task: Invoice) -> Invoice:
    expire(claimed_task)
    return claimed_task


@pytest.fixture
def silent_task(pending_task: Invoice, redis_client: Any) -> Invoice:
    """A waiting task whose message is gone."""
    redis_client.flushall()
    expire(pending_task)
    return pending_task


def test_a_task_whose_lease_ended_goes_back_to_the_queue(lost_task: Invoice) -> None:
    moved = service.recover_all()

    lost_task.refresh_from_db()
    event = lost_task.events.last()
    assert moved == 1
    assert (lost_task.status, lost_task.worker, waiting(Invoice)) == (Status.PENDING, "", 1)
    assert (event.kind, event.reason) == (EventKind.RECOVER, "lease_expired")
    assert event.data["lost_worker"] == WORKER
    assert event.data["ran_seconds"] >= 0


def test_a_task_within_its_lease_is_left_alone(claimed_task: Invoice) -> None:
    moved = service.recover_all()

    assert moved == 0
    assert kinds(claimed_task) == ["enqueue", "start"]


def test_a_lease_renewed_between_look_and_lock_is_respected(
    lost_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = lost_workers.losses_of

    def renewed_meanwhile(*args: Any) -> Any:
        rows_of(Invoice, "default").update_managed(check_at=clock.after("default", 60))
        return seen(*args)

    monkeypatch.setattr(lost_workers, "losses_of", renewed_meanwhile)

    moved = service.recover_all()

    assert moved == 0
    assert kinds(lost_task) == ["enqueue", "start"]


def test_the_policy_drop_gives_a_lost_task_up(
    lost_task: Invoice, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = {
        Invoice.get_event_channel(): {"action": "drop"}
    }

    service.recover_all()

    lost_task.refresh_from_db()
    assert (lost_task.status, lost_task.error_data["type"]) == (Status.FAILED, "WorkerLost")
    assert kinds(lost_task) == ["enqueue", "start", "drop"]
    assert waiting(Invoice) == 0
    [record] = [r for r in caplog.records if r.name == "django_simpletask3.tasks"]
    assert (record.levelname, record.getMessage().split()[0]) == ("ERROR", "task_drop")
    assert vars(record)["task"] == f"testapp.Invoice:{lost_task.pk}"
    assert vars(record)["worker"] == lost_task.error_data["message"].split()[2]


def test_tasks_of_dead_workers_are_recovered_at_once(claimed_task: Invoice) -> None:
    claimed = Invoice.objects.create()
    get_queue().claim(claimed.get_event_channel(), worker=WORKER, lease=600)
    healthy = Invoice.objects.create()

    moved = service.recover_dead_workers([WORKER])

    assert moved == 2
    assert kinds(claimed_task) == ["enqueue", "start", "recover"]
    assert kinds(healthy) == ["enqueue"]
    assert waiting(Invoice) == 3


def test_a_waiting_task_whose_message_is_gone_is_pushed_again(silent_task: Invoice) -> None:
    moved = service.recover_all()

    assert (moved, waiting(Invoice)) == (1, 1)
    assert silent_task.events.last().reason == "message_lost"


def test_a_waiting_task_with_its_message_is_looked_at_again_later(pending_task: Invoice) -> None:
    expire(pending_task)

    moved = service.recover_all()

    pending_task.refresh_from_db()
    assert (moved, waiting(Invoice)) == (0, 1)
    assert pending_task.check_at > clock.now("default") + timedelta(seconds=60)
    assert kinds(pending_task) == ["enqueue"]


def test_how_long_a_message_is_trusted_does_not_depend_on_the_age_of_the_task(
    pending_task: Invoice,
) -> None:
    Invoice.objects.update(add_time=clock.now("default") - timedelta(days=1))
    pending_task.reset()
    expire(pending_task)

    service.recover_all()

    pending_task.refresh_from_db()
    assert pending_task.check_at < clock.now("default") + timedelta(minutes=5)


def test_a_delayed_task_is_pushed_when_it_is_due() -> None:
    task = Invoice.objects.create(run_after=clock.after("default", 3600))
    before = (waiting(Invoice), service.recover_all())
    past = clock.now("default") - timedelta(seconds=1)
    rows_of(Invoice, "default").update_managed(run_after=past, check_at=past)

    moved = service.recover_all()

    assert before == (0, 0)
    assert (moved, waiting(Invoice)) == (1, 1)
    assert kinds(task) == ["enqueue"]


def test_a_task_preponed_by_an_update_is_pushed_when_it_is_due() -> None:
    task = Invoice.objects.create(run_after=clock.after("default", 3600))
    running = Invoice.objects.create()
    apply(running, EventKind.START, values={"check_at": clock.after("default", 60)})
    Invoice.objects.update(run_after=clock.now("default") - timedelta(seconds=1))

    moved = service.recover_all()

    assert (moved, kinds(task), kinds(running)) == (1, ["enqueue"], ["enqueue", "start"])


def test_a_row_that_came_past_save_is_adopted(redis_url: str) -> None:
    testapp.Gadget.things.bulk_create([testapp.Gadget(), testapp.Gadget()])

    # The clock of the database is known to some hundredths of a second only.
    moved = eventually(service.recover_all, timeout=1.0)

    task = testapp.Gadget.things.first()
    assert (moved, waiting(testapp.Gadget)) == (2, 2)
    assert kinds(task) == ["enqueue", "recover"]
    assert task.events.first().data == {"adopted": True}


@pytest.mark.parametrize("model", [testapp.PaidInvoice, testapp.ForeignInvoice])
def test_proxies_and_children_are_pushed_as_the_model_they_were_saved_as(
    model: Any, redis_client: Any
) -> None:
    task = model.objects.create()
    redis_client.flushall()
    expire(task)

    service.recover_all()

    assert (waiting(model), waiting(Invoice)) == (1, 0)


def test_a_finished_or_canceled_task_is_never_pushed(pending_task: Invoice) -> None:
    pending_task.cancel()
    rows_of(Invoice, "default").update_managed(check_at=clock.now("default") - timedelta(days=8))

    moved = service.recover_all()

    assert (moved, waiting(Invoice)) == (0, 0)


def test_with_redis_away_nothing_is_recorded_and_the_next_pass_succeeds(
    silent_task: Invoice, settings: Any
) -> None:
    url = settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    first = service.recover_all()

    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url
    assert (first, kinds(silent_task)) == (0, ["enqueue"])
    assert service.recover_all() == 1


def test_tasks_saved_while_redis_was_away_are_pushed_by_the_next_pass(
    settings: Any,
) -> None:
    url = settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    Invoice.objects.create()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url

    moved = service.recover_all()

    assert (moved, waiting(Invoice)) == (1, 1)


def test_one_table_that_fails_stops_no_other(
    lost_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.rows_of

    def broken(root: Any, using: str) -> Any:
        if root is testapp.ByCallable:
            raise RuntimeError("a bad model")
        return real(root, using)

    monkeypatch.setattr(service, "rows_of", broken)

    assert service.recover_all() == 1


def test_many_passes_at_once_recover_each_task_once() -> None:
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(40)])
    get_queue().claim(Invoice.get_event_channel(), worker=WORKER, limit=40, lease=600)
    for task in tasks:
        apply(task, EventKind.START, worker=WORKER, values={"check_at": task.add_time})

    def one_pass() -> None:
        try:
            for _ in range(3):
                service.recover_all()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one_pass) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    recoveries = Invoice.event_model.objects.filter(kind=EventKind.RECOVER)
    assert recoveries.count() == 40
    assert recoveries.aggregate(n=models.Count("task", distinct=True))["n"] == 40
    assert waiting(Invoice) == 40


def test_claims_that_ended_in_redis_go_back_without_an_event(pending_task: Invoice) -> None:
    get_queue().claim(pending_task.get_event_channel(), worker=WORKER, lease=-1)

    returned = service.requeue_expired_claims()

    assert (returned, waiting(Invoice)) == (1, 1)
    assert kinds(pending_task) == ["enqueue"]


def test_a_lost_message_is_recorded_once_however_many_nodes_look(
    silent_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lost_messages.apply_each

    def after_another_node(moves: Any) -> None:
        monkeypatch.setattr(lost_messages, "apply_each", real)
        service.recover_all()
        real(moves)

    monkeypatch.setattr(lost_messages, "apply_each", after_another_node)

    service.recover_all()

    assert kinds(silent_task) == ["enqueue", "recover"]


def test_a_child_whose_own_row_is_gone_is_found_all_the_same() -> None:
    child = testapp.ForeignInvoice.objects.create()
    pk = child.pk
    child.delete(keep_parents=True)
    rows_of(Invoice, "default").update_managed(check_at=clock.now("default") - timedelta(hours=1))

    service.recover_all()

    assert not Invoice.objects.lost().filter(pk=pk).exists()


def test_more_lost_tasks_than_one_slice_are_found_in_one_pass() -> None:
    Invoice.objects.bulk_enqueue([{} for _ in range(25)])
    get_queue().cancel_many(
        Invoice.get_event_channel(), [task.get_task_id() for task in Invoice.objects.all()]
    )
    rows_of(Invoice, "default").update_managed(check_at=clock.now("default") - timedelta(hours=1))

    moved = service.recover_all(limit=10)

    assert (moved, waiting(Invoice)) == (25, 25)


def test_a_row_that_cannot_be_read_is_left_for_later_and_stops_no_other(
    lost_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Invoice.objects.create()
    expire(other)
    real = lost_messages.load_tasks

    def unreadable(root: Any, using: str, pks: Any) -> Any:
        if other.pk in list(pks):
            raise ValueError("this row cannot be read")
        return real(root, using, pks)

    monkeypatch.setattr(lost_messages, "load_tasks", unreadable)

    moved = service.recover_all()

    assert (moved, Invoice.objects.lost().count()) == (1, 0)


def test_tasks_that_cannot_be_pushed_do_not_hide_an_expired_lease(
    lost_task: Invoice, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    older = Invoice.objects.bulk_enqueue([{} for _ in range(12)])
    past = clock.now("default") - timedelta(days=1)
    rows_of(Invoice, "default").filter(pk__in=[task.pk for task in older]).update_managed(
        check_at=past
    )

    moved = service.recover_all(limit=5)

    assert (moved, kinds(lost_task)) == (1, ["enqueue", "start", "recover"])


def test_a_redis_that_is_away_is_asked_once_in_a_pass(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (Invoice, testapp.Numbered, testapp.Reminder):
        expire(model.objects.create())
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
    asked, real = [], lost_messages.push_missing

    def counted(tasks: Any, using: str) -> int:
        asked.append(using)
        return real(tasks, using)

    monkeypatch.setattr(lost_messages, "push_missing", counted)

    assert (service.recover_all(), len(asked)) == (0, 1)


def test_tasks_of_several_dead_workers_are_recovered_without_redis(
    claimed_task: Invoice, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    moved = [service.recover_dead_workers([worker]) for worker in ("node:0:else", WORKER)]

    assert (moved, kinds(claimed_task)[-1]) == ([0, 1], "recover")


def test_a_redis_that_was_emptied_is_noticed_and_every_waiting_task_pushed_again(
    redis_client: Any,
) -> None:
    service.detect_redis_reset()
    tasks = Invoice.objects.bulk_enqueue([{} for _ in range(25)])
    age(Invoice)
    redis_client.flushall()

    found = (
        service.detect_redis_reset(limit=10),
        service.recover_all(),
        service.detect_redis_reset(),
    )

    assert found == (25, 25, 0)
    assert waiting(Invoice) == 25
    assert kinds(tasks[0]) == ["enqueue", "recover"]


def test_after_a_loss_the_order_is_by_priority_and_due_time(redis_client: Any) -> None:
    service.detect_redis_reset()
    minutes_and_priorities = [(3, 0), (1, -5), (9, 0), (5, 5), (7, -5), (8, 5), (2, 0)]
    tasks = Invoice.objects.bulk_enqueue(
        [{"priority": priority} for _, priority in minutes_and_priorities]
    )
    for number, (task, (minutes, _)) in enumerate(zip(tasks, minutes_and_priorities, strict=True)):
        due_time = clock.after("default", -60 * minutes)
        column = "run_after" if number % 2 else "add_time"
        rows_of(Invoice, "default").filter(pk=task.pk).update_managed(**{column: due_time})
    age(Invoice)
    redis_client.flushall()

    found = (service.detect_redis_reset(limit=2), service.recover_all(limit=3))

    messages = get_queue().claim(Invoice.get_event_channel(), worker="w", lease=60, limit=10)
    positions = {task.get_task_id(): number for number, task in enumerate(tasks)}
    assert found == (7, 7)
    assert [positions[message.id] for message in messages] == [5, 3, 2, 0, 6, 4, 1]
    assert {tuple(kinds(task)) for task in tasks} == {("enqueue", "recover")}


def test_a_task_saved_a_moment_ago_may_be_about_to_be_pushed(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = timedelta(minutes=1)
    monkeypatch.setattr(lost_messages, "_PUSH_GRACE", grace)
    service.detect_redis_reset()
    task = Invoice.objects.create()
    redis_client.flushall()

    found = (service.detect_redis_reset(), service.recover_all())

    assert (found, kinds(task)) == ((1, 0), ["enqueue"])
    task.refresh_from_db()
    assert task.check_at is not None
    assert task.check_at <= clock.now("default") + grace
    rows_of(Invoice, "default").update_managed(check_at=clock.now("default"))
    assert service.recover_all() == 1
    assert kinds(task) == ["enqueue", "recover"]


def test_if_only_the_marker_is_gone_no_task_is_pushed(redis_client: Any, task_clock: Any) -> None:
    task_clock()  # a clock that is read anew may be some milliseconds back
    service.detect_redis_reset()
    task = Invoice.objects.create()
    redis_client.delete(get_queue().get_marker_key())

    found = (service.detect_redis_reset(), service.recover_all())

    assert found == (1, 0)
    assert (waiting(Invoice), kinds(task)) == (1, ["enqueue"])
    assert not Invoice.objects.lost().exists()


def test_tasks_that_run_or_are_not_due_are_not_rechecked(
    claimed_task: Invoice, redis_client: Any
) -> None:
    later = Invoice.objects.create(run_after=clock.after("default", 3600))
    before = {task.pk: task.check_at for task in Invoice.objects.all()}
    redis_client.flushall()

    assert service.detect_redis_reset() == 0
    assert {task.pk: task.check_at for task in Invoice.objects.all()} == before
    assert (waiting(Invoice), kinds(later)) == (0, ["enqueue"])


def test_two_nodes_recheck_all_messages_between_them(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.detect_redis_reset()
    Invoice.objects.bulk_enqueue([{} for _ in range(7)])
    age(Invoice)
    redis_client.flushall()
    doubt = TaskQuerySet.update_managed_skip_locked

    def overtaken(rows: Any, **columns: Any) -> int:
        doubt(rows, **columns)  # by the other node, which dies after this slice
        return doubt(rows, **columns)

    monkeypatch.setattr(TaskQuerySet, "update_managed_skip_locked", overtaken)

    assert service.detect_redis_reset(limit=2) == 0
    assert Invoice.objects.lost().count() == 7


def test_redis_stays_unmarked_until_every_message_is_rechecked(
    pending_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> int:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(lost_messages, "distrust_messages", failing)
        with pytest.raises(DatabaseError, match="default, other"):
            service.detect_redis_reset()

    assert service.detect_redis_reset() == 1


def test_each_database_that_answers_rechecks_its_messages_once(
    pending_task: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def failing(_table: Any, using: str, _size: int) -> int:
        asked.append(using)
        if using == "default":
            raise OperationalError("away")
        return 0

    monkeypatch.setattr(lost_messages, "distrust_messages", failing)
    rechecked: dict[str, float] = {}
    for _ in range(2):
        with pytest.raises(DatabaseError, match="default"):
            service.detect_redis_reset(rechecked=rechecked)

    assert asked.count("default") == 2
    assert asked.count("other") == len(tables_in("other"))


@pytest.mark.skipif(connection.vendor == "sqlite", reason="rows cannot be locked here")
def test_rows_that_the_dead_still_hold_are_recovered_when_they_are_free(
    claimed_task: Invoice,
) -> None:
    holder = connection.copy()
    holder.inc_thread_sharing()
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute(f"SELECT id FROM testapp_invoice WHERE id = {claimed_task.pk} FOR UPDATE")
    noticed = threading.Timer(0.2, holder.close)
    noticed.start()

    moved = service.recover_dead_workers([WORKER])

    noticed.join()
    assert (moved, kinds(claimed_task)[-1]) == (1, "recover")


def test_events_of_recovery_name_it_as_the_actor(claimed_task: Invoice) -> None:
    service.recover_dead_workers([WORKER])

    assert claimed_task.events.last().actor == "recovery"


def lost_process(*suspects: Any) -> LostProcess:
    keys = tuple(short_key(type(task), "default", task.pk) for task in suspects)
    return LostProcess(WORKER, -9, service.WORKER_DIED, keys)


def started(model: type[Any] = Invoice) -> Any:
    task = model.objects.create()
    until = clock.after("default", 600)
    apply(task, EventKind.START, worker=WORKER, values={"check_at": until})
    return task


def test_only_the_suspect_of_a_lost_process_is_charged(claimed_task: Invoice) -> None:
    neighbours = [started(), started(testapp.Reminder)]

    moved = service.recover_dead_process(lost_process(claimed_task))

    assert moved == 3
    assert [kinds(task)[-1] for task in (claimed_task, *neighbours)] == [
        "recover",
        *["release"] * 2,
    ]
    assert claimed_task.events.last().data["process_losses"] == 1
    assert "process_losses" not in neighbours[0].events.last().data
    assert [waiting(Invoice), waiting(testapp.Reminder)] == [2, 1]


def test_of_several_suspects_none_is_charged(claimed_task: Invoice) -> None:
    other = started(testapp.Reminder)

    service.recover_dead_process(lost_process(claimed_task, other))

    assert [kinds(task)[-1] for task in (claimed_task, other)] == ["release"] * 2
    data = other.events.last().data
    assert (data["suspects"], data["process_losses"]) == (2, 1)


def test_a_task_whose_outcome_was_recorded_is_no_suspect(claimed_task: Invoice) -> None:
    recorded = started()
    apply(recorded, EventKind.ACK, worker=WORKER)

    service.recover_dead_process(lost_process(claimed_task, recorded))

    assert [kinds(task)[-1] for task in (claimed_task, recorded)] == ["recover", "ack"]


def test_the_policy_drop_gives_all_tasks_of_a_lost_process_up(
    claimed_task: Invoice, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = {
        Invoice.get_event_channel(): {"action": "drop"}
    }
    neighbour = started()

    service.recover_dead_process(lost_process(claimed_task))

    assert [kinds(task)[-1] for task in (claimed_task, neighbour)] == ["drop"] * 2


@pytest.mark.parametrize(
    ("has_started", "is_waiting", "is_loss"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_a_new_redis_is_no_loss_if_nothing_waits_or_no_task_was_ever_started(
    has_started: bool, is_waiting: bool, is_loss: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "django_simpletask3")
    if has_started:
        bring_to(Invoice.objects.create(), Status.SUCCESS)
    if is_waiting:
        Invoice.objects.create()
    get_queue().db.delete(get_queue().get_marker_key())

    assert service.detect_redis_reset() == is_waiting

    levels = {r.getMessage().split()[0]: r.levelname for r in caplog.records}
    assert levels.get("redis_data_lost") == ("WARNING" if is_loss else None)
    assert levels.get("redis_empty") == (None if is_loss else "INFO")


def test_a_node_that_finds_a_new_redis_a_moment_later_reports_no_loss(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)  # by the first node, just now
    Invoice.objects.create()
    get_queue().write_marker()
    monkeypatch.setattr(type(get_queue()), "has_lost_data", lambda queue: True)  # it looked before

    assert service.detect_redis_reset() == 1

    assert "redis_data_lost" not in caplog.text


@pytest.mark.django_db
def test_without_redis_no_message_is_missed(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    task = create_task(Invoice)
    past = clock.now("default") - timedelta(hours=1)
    rows_of(Invoice, "default").update_managed(check_at=past)

    assert service.push_overdue() == service.recover_all() == service.detect_redis_reset() == 0

    assert (kinds(task), row_of(task).check_at) == (["enqueue"], past)
