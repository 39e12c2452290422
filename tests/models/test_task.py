"""A task as a person handles it: saved, changed, copied, reset, called off, deleted."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connections, models, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from django_simpletask3.context import CONTEXT_KEYS, RESERVED_KEYS
from django_simpletask3.db import clock
from django_simpletask3.exceptions import IllegalTransition, ProjectedColumn, TaskGone
from django_simpletask3.ledger.columns import MANAGED
from django_simpletask3.ledger.projection import PROJECTED, Projection, broken_links, fold
from django_simpletask3.models import SimpleTask
from django_simpletask3.states import FINAL, EventKind, Status
from tests.steps import (
    TABLES,
    TASK_MODELS,
    apply_kinds,
    bring_to,
    create_task,
    has_message,
    kinds,
    label_of,
    locking_reads,
    make_task,
    message_count,
    projection_of,
    row_of,
    stream_of,
)
from tests.testapp.models import (
    Customer,
    Document,
    Elsewhere,
    ForeignInvoice,
    Invoice,
    Keyworded,
    Letter,
    PaidInvoice,
    Reminder,
    TextKeyed,
    Ticket,
    UuidKeyed,
)

pytestmark = pytest.mark.django_db

MACHINES_OWN = [*PROJECTED, "worker", "check_at", "parent"]


def statements(made: CaptureQueriesContext) -> list[str]:
    verbs = [query["sql"].split()[0] for query in made]
    return [verb for verb in verbs if verb in ("INSERT", "SELECT", "UPDATE", "DELETE", "WITH")]


def columns_written(made: CaptureQueriesContext) -> str:
    (update,) = [query["sql"] for query in made if query["sql"].startswith("UPDATE")]
    return update.partition("SET")[2].partition("WHERE")[0]


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_saving_a_new_task_of_any_shape_queues_it(model: type[Any], commit: Any) -> None:
    task = make_task(model)

    with commit("other" if model is Elsewhere else "default"):
        task.save()

    row = row_of(task)
    assert (row.status, row.attempt, row.sequence) == (Status.PENDING, 0, 1)
    assert kinds(task) == ["enqueue"]
    assert fold(stream_of(task)) == projection_of(task)
    assert message_count(task) == 1


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_a_task_of_any_shape_lives_and_dies(model: type[Any]) -> None:
    task = bring_to(create_task(model), Status.SUCCESS)
    task.reset()
    task.cancel()
    task.note("over")
    pk = task.pk

    task.delete()

    assert row_of(task) is None
    assert kinds(task, pk) == ["enqueue", "start", "ack", "reset", "cancel", "note", "delete"]
    assert broken_links(stream_of(task, pk)) == []


def test_an_insert_costs_a_row_and_an_event() -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        create_task(Invoice)

    in_one = connections["default"].vendor == "postgresql"
    assert statements(made) == (["WITH"] if in_one else ["INSERT"] * 2)


@pytest.mark.parametrize("model", [TextKeyed, UuidKeyed], ids=label_of)
def test_an_insert_with_its_own_key_costs_a_query_for_previous_streams(
    model: type[Any],
) -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        create_task(model)

    assert statements(made) == [*locking_reads(), "INSERT", "INSERT"]


def test_saving_own_columns_costs_one_statement(pending_task: Any) -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        pending_task.save()

    assert statements(made) == ["UPDATE"]


@pytest.mark.parametrize("model", TABLES, ids=label_of)
def test_saving_an_old_task_writes_no_column_of_the_machine(model: type[Any]) -> None:
    task = row_of(create_task(model))

    with CaptureQueriesContext(connections[task._state.db]) as made:
        task.save()

    written = columns_written(made)
    quoted = connections[task._state.db].ops.quote_name
    assert quoted("mod_time") in written
    assert not [name for name in [*MACHINES_OWN, "add_time"] if quoted(name) in written]


@pytest.mark.parametrize("column", MACHINES_OWN)
def test_naming_a_column_of_the_machine_is_refused(column: str, pending_task: Any) -> None:
    pending_task.amount = 7

    with pytest.raises(ProjectedColumn, match=column):
        pending_task.save(update_fields=["amount", column])

    assert row_of(pending_task).amount == 3


MANAGED_VALUES = {
    "status": 20,
    "attempt": 3,
    "sequence": 9,
    "digest": "0" * 64,
    "start_time": "2026-01-01T00:00:00Z",
    "done_time": "2026-01-01T00:00:00Z",
    "success": True,
    "result_data": "x",
    "error_data": {},
    "result_time": "2026-01-01T00:00:00Z",
    "worker": "w",
    "parent": "testapp.Invoice:1",
}


@pytest.mark.parametrize("name", MANAGED_VALUES)
@pytest.mark.parametrize(
    "create",
    [
        lambda **columns: Invoice(**columns).save(),
        Invoice.objects.create,
        Invoice.objects.enqueue,
        lambda **columns: Invoice.objects.bulk_create([Invoice(), Invoice(**columns)]),
        lambda **columns: Invoice.objects.bulk_enqueue([{}, columns]),
        lambda **columns: Invoice.objects.get_or_create(amount=7, defaults=columns),
        lambda **columns: Invoice.objects.update_or_create(amount=7, create_defaults=columns),
    ],
    ids=["save", "create", "enqueue", "bulk_create", "bulk_enqueue", "get_or_create", "update"],
)
def test_a_new_task_cannot_be_given_a_state(create: Any, name: str) -> None:
    with pytest.raises(ProjectedColumn, match=rf"^{name} of testapp.Invoice \(not saved\) cannot"):
        create(**{name: MANAGED_VALUES[name]})

    assert Invoice.objects.count() == 0


def test_the_columns_that_cannot_be_assigned_are_the_managed_ones() -> None:
    assert MANAGED - {"check_at"} == MANAGED_VALUES.keys()


@pytest.mark.parametrize("name", [*MANAGED_VALUES, "check_at"])
@pytest.mark.parametrize("is_saved_here", [True, False])
def test_a_state_cannot_be_assigned(is_saved_here: bool, name: str) -> None:
    task = create_task(Invoice)
    task = task if is_saved_here else row_of(task)
    setattr(task, name, MANAGED_VALUES.get(name, "2026-01-01T00:00:00Z"))
    before = vars(row_of(task))

    with pytest.raises(ProjectedColumn, match=rf"^{name} of testapp.Invoice {task.pk} cannot"):
        task.save()

    task.save(update_fields=["amount"])
    task.refresh_from_db()
    task.save()
    assert {**vars(row_of(task)), "mod_time": 0, "_state": 0, "_known_columns": 0} == {
        **before,
        "mod_time": 0,
        "_state": 0,
        "_known_columns": 0,
    }


def test_a_task_can_be_saved_after_each_of_its_own_transitions() -> None:
    task = create_task(Invoice)
    for move in (task.cancel, task.reset, task.note, task.hold, task.lift, task.cancel, task.erase):
        move()
        task.save()

    task = Invoice.objects.only("pk").get(pk=task.pk)
    assert task.status == Status.CANCELED
    task.save()
    row_of(task).reset()
    task.save()
    pickle.loads(pickle.dumps(task)).save()


@pytest.mark.parametrize(
    ("status", "move", "message"),
    [
        (Status.CANCELED, lambda task: task.cancel(), "it is CANCELED already"),
        (Status.RUNNING, lambda task: task.erase(), "is RUNNING, and cannot be erased"),
        (Status.SUCCESS, lambda task: task.cancel(), "a SUCCESS task cannot cancel"),
    ],
)
def test_a_refusal_names_the_task(status: Status, move: Any, message: str) -> None:
    task = bring_to(create_task(Invoice), status)

    with pytest.raises(IllegalTransition, match=rf"^testapp\.Invoice {task.pk}.*{message}"):
        move(task)


@pytest.mark.parametrize("name", ["cancel", "reset", "note", "hold", "lift"])
def test_a_task_that_was_not_saved_is_called_so(name: str) -> None:
    with pytest.raises(TaskGone, match=r"^testapp\.Invoice \(not saved\) does not exist\.$"):
        getattr(Invoice(), name)()


def test_a_copy_of_a_finished_task_is_a_new_task() -> None:
    task = row_of(bring_to(create_task(Invoice), Status.SUCCESS))
    task.pk, task._state.adding = None, True

    task.save()

    assert row_of(task).status == Status.PENDING


def test_a_task_that_could_not_be_saved_can_be_saved_again(settings: Any) -> None:
    task = Invoice(amount=1)

    def fail(**_: Any) -> None:
        raise RuntimeError

    post_save.connect(fail, sender=Invoice)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            task.save()
    finally:
        post_save.disconnect(fail, sender=Invoice)

    task.save()

    assert row_of(task).status == Status.PENDING


DELAYS = [60, 60.0, Decimal(60), Fraction(60), timedelta(minutes=1)]
BEYOND = [float("nan"), float("inf"), -1e20, 10**400, timedelta.max, timedelta.min, Decimal("nan")]
NO_TIMES = [True, [60], b"60", 1j, UTC, datetime(2031, 5, 6)]
POSTPONE: dict[str, Callable[[Any], Any]] = {
    "save": lambda delay: create_task(Invoice, run_after=delay),
    "create": lambda delay: Invoice.objects.create(run_after=delay),
    "bulk_create": lambda delay: Invoice.objects.bulk_create([Invoice(run_after=delay)])[0],
    "bulk_enqueue": lambda delay: Invoice.objects.bulk_enqueue([{"run_after": delay}])[0],
    "save again": lambda delay: changed_and(lambda task: task.save(), delay),
    "named": lambda delay: changed_and(lambda task: task.save(update_fields=["run_after"]), delay),
    "bulk_update": lambda delay: changed_and(
        lambda task: Invoice.objects.bulk_update([task], ["run_after"]), delay
    ),
    "update": lambda delay: changed_and(
        lambda task: Invoice.objects.filter(pk=task.pk).update(run_after=delay), None
    ),
    "update_or_create": lambda delay: Invoice.objects.update_or_create(
        pk=create_task(Invoice).pk, defaults={"run_after": delay}
    )[0],
    "reset": lambda delay: changed_and(lambda task: task.reset(run_after=delay), None),
}


def changed_and(write: Callable[[Any], object], delay: Any) -> Any:
    task = create_task(Invoice)
    task.run_after = delay
    write(task)
    return task


@pytest.mark.parametrize("delay", DELAYS, ids=repr)
@pytest.mark.parametrize("postpone", POSTPONE.values(), ids=POSTPONE)
def test_a_delay_may_be_given_in_seconds_or_as_a_timedelta(postpone: Any, delay: Any) -> None:
    began = clock.now("default")

    row = row_of(postpone(delay))

    seconds = (row.run_after - began).total_seconds()
    assert 59.9 <= seconds <= 65
    assert (row.check_at >= row.run_after) or postpone is POSTPONE["bulk_update"]
    row.save()


@pytest.mark.parametrize("delay", [*BEYOND, *NO_TIMES], ids=lambda delay: repr(delay)[:30])
@pytest.mark.parametrize("postpone", POSTPONE.values(), ids=POSTPONE)
def test_a_delay_that_names_no_time_is_refused_by_name(postpone: Any, delay: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^run_after is .*: expected seconds or a t"):
        postpone(delay)


@pytest.mark.parametrize(
    "progress", [5, -0.1, 1.01, True, "50%", [0.5], float("nan"), Decimal("nan")], ids=repr
)
def test_progress_that_is_no_fraction_is_refused(progress: Any, pending_task: Any) -> None:
    with pytest.raises(ValueError, match="expected a fraction from 0 to 1"):
        pending_task.note(progress=progress)

    assert kinds(pending_task) == ["enqueue"]


@pytest.mark.parametrize("progress", [0, 1, 0.5, Decimal("0.5"), Fraction(1, 2), None], ids=repr)
def test_progress_is_a_fraction(progress: Any, pending_task: Any) -> None:
    event = pending_task.note(progress=progress)

    assert stream_of(pending_task)[-1].data["progress"] in (progress, str(progress))
    assert event.kind == EventKind.NOTE


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
def test_a_stale_instance_cannot_undo_a_move(status: Status, pending_task: Any) -> None:
    stale = row_of(pending_task)
    bring_to(pending_task, status)
    before = projection_of(pending_task)
    stale.amount = 77

    stale.save()

    assert projection_of(pending_task) == before
    assert row_of(pending_task).amount == 77


READ: dict[str, Callable[[Any], Any]] = {
    "saved": lambda task: task,
    "saved again": lambda task: task.save() or task,
    "read": row_of,
    "refreshed": lambda task: task.refresh_from_db() or task,
    "copied": copy.deepcopy,
    "moved": lambda task: task.note() and task,
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_a_stale_instance_cannot_undo_when_a_task_will_run(read: Callable[[Any], Any]) -> None:
    stale = read(create_task(Invoice, run_after=clock.after("default", 60), priority=1))
    mover, later = row_of(stale), clock.after("default", 600)
    mover.reset(run_after=later)
    Invoice.objects.update(priority=7)
    stale.amount = 77

    stale.save()

    row = row_of(stale)
    assert (row.amount, row.run_after, row.check_at, row.priority) == (77, later, later, 7)


def test_what_is_assigned_to_the_schedule_is_saved_whatever_happens_before() -> None:
    task = create_task(Invoice, run_after=clock.after("default", 60))
    task.run_after, task.priority = None, 5
    task.save(update_fields=["amount"])
    task.note("not yet")
    task.refresh_from_db(fields=["amount"])

    task.save()

    assert (row_of(task).run_after, row_of(task).priority) == (None, 5)


def test_a_schedule_that_is_named_is_saved_also_if_it_is_old() -> None:
    stale = create_task(Invoice, priority=1)
    Invoice.objects.update(priority=7)

    stale.save(update_fields=["priority"])

    assert row_of(stale).priority == 1


OUT_OF_RANGE: dict[str, Callable[[Any, int], object]] = {
    "created": lambda task, priority: create_task(Invoice, priority=priority),
    "enqueued in bulk": lambda task, priority: Invoice.objects.bulk_enqueue(
        [{"priority": 1}, {"priority": priority}]
    ),
    "saved": lambda task, priority: assign_priority(task, priority).save(),
    "named": lambda task, priority: assign_priority(task, priority).save(
        update_fields=["priority"]
    ),
    "updated": lambda task, priority: Invoice.objects.update(priority=priority),
    "updated in bulk": lambda task, priority: Invoice.objects.bulk_update(
        [assign_priority(task, priority)], ["priority"]
    ),
    "with own columns": lambda task, priority: create_task(
        Invoice, priority=priority, amount=models.Value(1)
    ),
}


def assign_priority(task: Any, priority: int) -> Any:
    task.priority = priority
    return task


@pytest.mark.parametrize("priority", [101, -101, "1000", 1.0, 2.7, True, None, Decimal(5)])
@pytest.mark.parametrize("write", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_priority_out_of_range_is_a_clear_error(
    write: Callable[[Any, Any], object], priority: Any
) -> None:
    task = create_task(Invoice, priority=3)

    with pytest.raises(ValueError, match=r"priority is .*: expected a whole number from -100 to"):
        with transaction.atomic():
            write(task, priority)

    assert [row.priority for row in Invoice.objects.all()] == [3]


@pytest.mark.parametrize("priority", [100, -100, "7"])
def test_a_priority_in_range_is_saved(priority: Any) -> None:
    tasks = [create_task(Invoice, priority=priority), create_task(Invoice)]
    Invoice.objects.filter(pk=tasks[1].pk).update(priority=priority)

    assert {row_of(task).priority for task in tasks} == {int(priority)}
    assert not Invoice.objects.filter(priority__gt=1000).exists()


def test_only_the_columns_named_are_saved(pending_task: Any) -> None:
    pending_task.amount, pending_task.task_biz_field = 9, "b"

    pending_task.save(update_fields=["amount"])

    row = row_of(pending_task)
    assert (row.amount, row.task_biz_field) == (9, None)


def test_saving_no_column_at_all_is_allowed_as_ever(pending_task: Any) -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        pending_task.save(update_fields=[])

    assert statements(made) == []


def test_a_column_that_was_not_loaded_is_neither_read_nor_written(pending_task: Any) -> None:
    part = Invoice.objects.only("amount", "status").get(pk=pending_task.pk)
    Invoice.objects.update(task_biz_field="kept")
    part.amount = 10

    with CaptureQueriesContext(connections["default"]) as made:
        part.save()

    row = row_of(pending_task)
    assert (row.amount, row.task_biz_field) == (10, "kept")
    assert statements(made).count("UPDATE") == 1


def test_when_a_task_was_added_and_changed_is_known(pending_task: Any) -> None:
    added, changed = pending_task.add_time, row_of(pending_task).mod_time

    pending_task.save()

    row = row_of(pending_task)
    assert row.add_time == added
    assert row.mod_time > changed
    assert abs(added - clock.now("default")) < timedelta(seconds=10)


@pytest.mark.parametrize("status", Status)
def test_a_task_that_was_deleted_meanwhile_is_not_resurrected(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)
    row_of(task).delete()

    with pytest.raises(DatabaseError), transaction.atomic():
        task.save()

    assert not Invoice.objects.exists()


def test_a_task_with_no_columns_of_its_own_can_be_saved_again() -> None:
    task = create_task(Keyworded, priority=1)
    task.priority = 5

    task.save()

    assert row_of(task).priority == 5


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("model", [Invoice, UuidKeyed, ForeignInvoice], ids=label_of)
def test_a_copy_made_by_taking_the_key_away_is_a_new_task(
    model: type[Any], status: Status, commit: Any
) -> None:
    task = bring_to(create_task(model), status)
    original, before = task.pk, projection_of(task)
    key = UuidKeyed._meta.pk.get_default() if model is UuidKeyed else None
    twin = row_of(task)
    twin.pk = twin.id = key
    twin._state.adding = True

    with commit():
        twin.save()

    assert twin.pk != original
    assert kinds(twin) == ["enqueue"]
    assert row_of(twin).status == Status.PENDING
    assert projection_of(task) == before
    assert message_count(twin) == 1


def test_taking_the_key_away_is_enough_for_a_copy() -> None:
    task = bring_to(create_task(Invoice, amount=5), Status.SUCCESS)
    twin = row_of(task)
    twin.pk = None

    twin.save()

    assert (row_of(twin).amount, row_of(twin).status) == (5, Status.PENDING)
    assert Invoice.objects.count() == 2


def test_get_or_create_and_update_or_create_know_tasks() -> None:
    made = [
        Invoice.objects.get_or_create(amount=1),
        Invoice.objects.get_or_create(amount=1),
        Invoice.objects.update_or_create(amount=1, defaults={"task_biz_field": "b"}),
        Invoice.objects.update_or_create(amount=2, defaults={"task_biz_field": "c"}),
    ]

    assert [new for _, new in made] == [True, False, False, True]
    assert [kinds(task) for task, _ in made] == [["enqueue"]] * 4
    assert [row.task_biz_field for row in Invoice.objects.order_by("amount")] == ["b", "c"]


@pytest.mark.parametrize("column", MACHINES_OWN)
def test_update_or_create_does_not_write_what_the_machine_writes(
    column: str, pending_task: Any
) -> None:
    values = {"amount": 9, column: None}

    with pytest.raises(ProjectedColumn, match=column):
        Invoice.objects.update_or_create(values, pk=pending_task.pk)

    assert row_of(pending_task).amount == 3


def test_update_or_create_cannot_undo_a_move(pending_task: Any, listen: Any) -> None:
    moved_on: list[Any] = []

    def move_meanwhile(instance: Any, **_: Any) -> None:
        if not moved_on:
            moved_on.append(bring_to(row_of(instance), Status.SUCCESS))

    listen(move_meanwhile, pre_save)

    Invoice.objects.update_or_create({"amount": 9}, pk=pending_task.pk)

    assert projection_of(pending_task) == Projection.of(moved_on[0])
    assert row_of(pending_task).amount == 9


@pytest.mark.parametrize("arguments", [{"force_insert": True}, {"force_insert": (TextKeyed,)}, {}])
def test_a_key_that_is_taken_is_not_taken_again(arguments: dict[str, Any]) -> None:
    task = create_task(TextKeyed, id="a")

    with pytest.raises(IntegrityError), transaction.atomic():
        TextKeyed(id="a").save(**arguments)

    assert kinds(task) == ["enqueue"]
    assert TextKeyed.objects.count() == 1


def test_forcing_an_update_of_a_row_that_is_not_there_fails() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        TextKeyed(id="a").save(force_update=True)

    assert not TextKeyed.objects.exists()


def test_a_task_may_be_saved_in_another_database(commit: Any) -> None:
    task = Reminder(text="there")

    with commit("other"):
        task.save(using="other")
        task.text = "still there"
        task.save()
        task.note()

    assert Reminder.objects.using("other").get().text == "still there"
    assert not Reminder.objects.exists()
    assert kinds(task) == ["enqueue", "note"]
    assert message_count(task) == 1


class OneAnswerRouter:
    """Writes go to ``default``, whatever the instance says."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


BORN: dict[str, Callable[[], Any]] = {
    "save": lambda: Reminder().save(using="other"),
    "bulk": lambda: Reminder.objects.using("other").bulk_enqueue([{}, {}]),
}


@pytest.mark.parametrize("way", BORN)
def test_a_task_is_not_saved_where_the_router_does_not_look_for_it(
    settings: Any, commit: Any, way: str
) -> None:
    settings.DATABASE_ROUTERS = [OneAnswerRouter()]

    with commit("other"), pytest.raises(ValueError, match="db_for_write"):
        with transaction.atomic(using="other"):
            BORN[way]()

    assert not Reminder.objects.using("other").exists()
    assert message_count(Reminder) == 0


def test_tasks_of_one_key_in_two_databases_have_a_message_each(commit: Any) -> None:
    here, there = Reminder(pk=5), Reminder(pk=5)

    with commit():
        here.save()
    with commit("other"):
        there.save(using="other")
    both = message_count(Reminder)
    with commit("other"):
        there.cancel()

    assert (both, message_count(Reminder)) == (2, 1)
    assert has_message(here)


def test_a_task_is_deleted_in_the_database_that_was_named() -> None:
    here, there = create_task(Reminder), Reminder()
    there.save(using="other")
    pk, there._state.db = there.pk, "default"

    there.delete(using="other")

    assert list(Reminder.objects.all()) == [here]
    assert kinds(here) == ["enqueue"]
    there._state.db = "other"
    assert kinds(there, pk) == ["enqueue", "delete"]


def test_a_child_table_is_one_task_with_its_root() -> None:
    task = create_task(ForeignInvoice, amount=4, currency="USD")

    apply_kinds(task, EventKind.START, EventKind.ACK, result="OK")

    root = Invoice.objects.get(pk=task.pk)
    assert (root.status, root.amount, root.result_data) == (Status.SUCCESS, 4, "OK")
    assert (row_of(task).currency, row_of(task).status) == ("USD", Status.SUCCESS)
    assert kinds(root) == kinds(task) == ["enqueue", "start", "ack"]


@pytest.mark.parametrize("name", ["id", "pk", "invoice_ptr_id"])
def test_a_key_that_a_child_takes_again_goes_on_with_its_stream(name: str) -> None:
    first = create_task(ForeignInvoice)
    key = first.pk
    first.delete()

    again = create_task(ForeignInvoice, **{name: key})

    assert kinds(again, key) == ["enqueue", "delete", "enqueue"]
    assert broken_links(stream_of(again)) == []


def test_a_child_row_cannot_be_put_on_a_task_that_lives() -> None:
    root = bring_to(create_task(Invoice), Status.SUCCESS)
    before = projection_of(root)

    with pytest.raises(IntegrityError), transaction.atomic():
        ForeignInvoice(invoice_ptr=root).save()

    assert projection_of(root) == before
    assert not ForeignInvoice.objects.exists()


def test_a_child_of_a_model_that_is_no_task_lives_and_dies() -> None:
    task = create_task(Ticket, title="play")
    key = task.pk

    apply_kinds(task, EventKind.START, EventKind.ACK, result="OK")

    assert projection_of(task) == fold(stream_of(task))
    assert broken_links(stream_of(task)) == []
    assert row_of(task).title == "play"

    task.delete()
    assert kinds(task, key) == ["enqueue", "start", "ack", "delete"]


def test_a_proxy_is_the_same_row() -> None:
    task = create_task(PaidInvoice, amount=2)

    Invoice.objects.get(pk=task.pk).cancel()

    assert row_of(task).status == Status.CANCELED
    assert kinds(task) == ["enqueue", "cancel"]


WAYS_TO_DELETE = {
    "the instance": lambda task: task.delete(),
    "a queryset": lambda task: type(task).objects.filter(pk=task.pk).delete(),
    "its root": lambda task: Invoice.objects.get(pk=task.pk).delete(),
    "a queryset of its root": lambda task: Invoice.objects.filter(pk=task.pk).delete(),
}


@pytest.mark.parametrize("way", WAYS_TO_DELETE)
@pytest.mark.parametrize("model", [Invoice, PaidInvoice, ForeignInvoice], ids=label_of)
def test_deleting_a_task_is_one_event_and_leaves_its_stream(model: type[Any], way: str) -> None:
    task = bring_to(create_task(model), Status.SUCCESS)
    pk = task.pk

    WAYS_TO_DELETE[way](task)

    assert not Invoice.objects.exists()
    assert not ForeignInvoice.objects.exists()
    assert kinds(task, pk) == ["enqueue", "start", "ack", "delete"]
    assert [event.task_id for event in model.event_model.objects.all()] == [pk] * 4


def test_a_child_that_is_deleted_without_its_root_goes_on_as_its_root() -> None:
    task = create_task(ForeignInvoice)
    pk = task.pk

    task.delete(keep_parents=True)

    assert kinds(task, pk) == ["enqueue"]
    assert Invoice.objects.get().status == Status.PENDING


@pytest.mark.parametrize("way", ["instance", "queryset"])
def test_a_task_that_goes_with_another_row_has_its_event(way: str) -> None:
    customer = Customer.objects.create(name="ann")
    letters = [create_task(Letter, customer=customer) for _ in range(2)]
    kept = create_task(Letter, customer=Customer.objects.create(name="bob"))

    customer.delete() if way == "instance" else Customer.objects.filter(name="ann").delete()

    assert list(Letter.objects.all()) == [kept]
    assert [kinds(letter, letter.pk) for letter in letters] == [["enqueue", "delete"]] * 2
    assert kinds(kept) == ["enqueue"]


def test_deleting_twice_is_one_event() -> None:
    task = create_task(Invoice)
    pk, again = task.pk, row_of(task)

    task.delete()
    again.delete()

    assert kinds(task, pk) == ["enqueue", "delete"]


def test_deleting_leaves_its_stream_in_order_also_when_the_model_is_ordered() -> None:
    task = create_task(Reminder, text="a")
    pk = task.pk

    task.delete()

    events = Reminder.event_model.objects.all()
    assert [(event.task_id, event.kind) for event in events] == [(pk, "enqueue"), (pk, "delete")]


@pytest.mark.parametrize("status", Status)
def test_a_reset_lets_a_task_run_again_whatever_it_is_doing(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)
    attempt = task.attempt

    task.reset("once more")

    row = row_of(task)
    assert (row.status, row.result_data, row.done_time) == (Status.PENDING, None, None)
    assert row.attempt == attempt
    assert stream_of(task)[-1].reason == "once more"


def test_a_reset_may_be_for_later_and_forgets_what_was_for_later(commit: Any) -> None:
    later = clock.after("default", 600)
    task = bring_to(create_task(Invoice), Status.SUCCESS)

    with commit():
        task.reset(run_after=later)
    first = (row_of(task).run_after, row_of(task).check_at, message_count(task))
    with commit():
        task.reset()

    assert first == (later, later, 0)
    assert (row_of(task).run_after, message_count(task)) == (None, 1)


@pytest.mark.parametrize("status", Status)
def test_a_finished_task_cannot_be_called_off(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)

    if status in FINAL:
        with pytest.raises(IllegalTransition):
            task.cancel()
        assert (row_of(task).status, task.should_stop) == (status, False)
    else:
        task.cancel("not needed")
        assert (row_of(task).status, task.should_stop) == (Status.CANCELED, True)
        assert stream_of(task)[-1].reason == "not needed"


@pytest.mark.parametrize("status", Status)
def test_a_note_is_kept_in_any_state(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)

    event = task.note("halfway", done=0.5, thing={1, 2})

    reported = stream_of(task)[-1]
    assert (event, reported.reason, reported.data) == (
        reported,
        "halfway",
        {"done": 0.5, "thing": {1, 2}},
    )
    assert row_of(task).status == status


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS - {"progress"} | CONTEXT_KEYS))
def test_a_note_has_no_key_that_the_package_writes(running_task: Any, key: str) -> None:
    with pytest.raises(ValueError, match=f"writes {key} into events"):
        running_task.note("mine", **{key: 1, "own": 2})

    assert kinds(running_task) == ["enqueue", "start"]


def test_all_refused_keys_of_a_note_are_named(running_task: Any) -> None:
    with pytest.raises(ValueError, match="writes attempt, error, worker into events"):
        running_task.note("mine", worker=1, error=2, attempt=3)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda task: pickle.loads(pickle.dumps(task))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_task_can_be_copied_and_sent_to_another_process(copied: Any, model: type[Any]) -> None:
    task = create_task(model)
    task.stop_flag().set()

    twin = copied(task)
    twin.note("from the twin")

    assert (type(twin), twin.pk, twin.should_stop) == (model, task.pk, False)
    assert kinds(task) == ["enqueue", "note"]


def test_a_file_and_a_dict_are_saved_as_own_columns() -> None:
    task = create_task(Document, labels={"a": [1]})
    task.labels["b"] = None

    task.save()

    assert row_of(task).labels == {"a": [1], "b": None}


def test_the_number_of_threads_is_the_models_or_the_settings(settings: Any) -> None:
    settings.DEFAULT_SIMQ_WORKER_NUMBER = 9

    assert Invoice.get_worker_number() == 2
    assert Reminder.get_worker_number() == 9


def test_channels_and_ids_follow_the_templates(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_SIMPLETASK3_EVENT_QUEUE_CHANNEL_TEMPLATE = "c/{app_label}/{model_name}"
    settings.DJANGO_SIMPLETASK3_TASK_ID_TEMPLATE = "i/{app_label}/{model_name}/{id}"
    monkeypatch.setattr(Reminder, "django_simpletask3_event_queue_channel_template", "own")
    monkeypatch.setattr(Reminder, "django_simpletask3_task_id_template", "own-{id}")

    reported = [(t.get_event_channel(), t.get_task_id()) for t in (Invoice(pk=1), Reminder(pk=2))]

    assert reported == [("c/testapp/invoice", "i/testapp/invoice/1"), ("own", "own-2")]


def test_a_missing_task_function_is_not_implemented() -> None:
    class Nothing:
        do_task = SimpleTask.do_task

    with pytest.raises(NotImplementedError):
        Nothing().do_task()  # type: ignore[misc]


def test_every_row_is_found_by_the_index_of_its_search() -> None:
    indexed = {field.name for field in Invoice._meta.local_fields if field.db_index}

    assert indexed == {"check_at", "done_time", "parent", "status"}


def test_the_base_table_names_its_columns_by_who_writes_them() -> None:
    names = {field.name for field in SimpleTask._meta.local_fields}
    operational = {"add_time", "mod_time", "run_after", "priority", "worker", "check_at"}

    assert names == {*PROJECTED, "parent"} | operational
    assert not [
        field.name
        for field in SimpleTask._meta.local_fields
        if field.editable and field.name in MACHINES_OWN
    ]


def test_events_point_at_a_task_without_holding_it() -> None:
    for model in TABLES:
        column = model.event_model._meta.get_field("task")

        assert column.remote_field.on_delete is models.DO_NOTHING
        assert not column.db_constraint
