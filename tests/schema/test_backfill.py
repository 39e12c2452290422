"""Rows that are older than their events get the events that their status implies."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management.base import CommandError
from django.db import connections, models, router
from django.db.migrations.state import ProjectState
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.module_loading import import_string

from django_simpletask3.audit.check import audit
from django_simpletask3.ledger.tombstone import Tombstone
from django_simpletask3.models.registry import databases_of
from django_simpletask3.schema import backfill, legacy_encoding
from django_simpletask3.schema.backfill import BackfillEvents, UpgradeFrom01
from django_simpletask3.states import Status
from tests.steps import TABLES, label_of, new, saved, stream_of
from tests.testapp.models import Elsewhere, Invoice, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db

WAYS = {
    Status.PENDING: ["enqueue"],
    Status.RUNNING: ["enqueue", "start"],
    Status.SUCCESS: ["enqueue", "start", "ack"],
    Status.FAILED: ["enqueue", "start", "fail"],
    Status.CANCELED: ["enqueue", "cancel"],
}
OLD = {"sequence": 0, "digest": "", "attempt": 0}
ERROR = {"type": "ValueError", "message": "no", "traceback": "..."}
YESTERDAY = timezone.now().replace(microsecond=0) - timedelta(days=1)


def at(second: int) -> datetime:
    return YESTERDAY + timedelta(seconds=second)


def older(model: type[Any], status: Any = Status.SUCCESS, **columns: Any) -> Any:
    """A row without events, as a migration finds it."""
    told = {"add_time": at(0), "status": status, **OLD, **columns}
    task = new(model)
    for name, value in told.items():
        setattr(task, name, value)
    using = router.db_for_write(model)
    models.QuerySet(model, using=using).bulk_create([task])
    if task.pk is None:
        task.pk = models.QuerySet(model, using=using).latest("pk").pk
    return models.QuerySet(model, using=using).get(pk=task.pk)


def migrated(operation: BackfillEvents, model: type[Any], *, backwards: bool = False) -> None:
    """Run ``operation`` on every database as migrate does."""
    state = as_migrations_know_it()
    for using in databases_of(model):
        editor = SimpleNamespace(connection=connections[using])
        run = operation.database_backwards if backwards else operation.database_forwards
        run(model._meta.app_label, editor, state, state)


@cache
def as_migrations_know_it() -> ProjectState:
    """The models with the fields that their migrations name."""
    state = ProjectState.from_apps(apps)
    for model in state.models.values():
        for name, field in model.fields.items():
            _, path, args, kwargs = field.deconstruct()
            model.fields[name] = import_string(path)(*args, **kwargs)
    return state


def begun(model: type[Any], **asked: Any) -> None:
    migrated(BackfillEvents(model._meta.model_name, **asked), model)


def found(model: type[Any]) -> list[Any]:
    return [one for using in databases_of(model) for one in audit(model, using)]


def kinds(task: Any) -> list[str]:
    return [str(event.kind) for event in stream_of(task)]


@pytest.mark.parametrize("model", TABLES, ids=label_of)
@pytest.mark.parametrize("status", Status)
def test_a_row_gets_the_events_that_its_status_implies(model: type[Any], status: Status) -> None:
    task = older(model, status, start_time=at(1), done_time=at(2))

    begun(model)

    assert kinds(task) == WAYS[status]
    assert all(event.data["adopted"] for event in stream_of(task))
    assert found(model) == []


def test_its_times_stay() -> None:
    task = older(Invoice, start_time=at(5), done_time=at(9), result_time=at(9))

    begun(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.add_time, row.start_time, row.done_time) == (at(0), at(5), at(9))
    assert [event.event_time for event in row.events.all()] == [at(0), at(5), at(9)]


def test_what_a_row_does_not_know_is_not_before_what_it_knows() -> None:
    task = older(Invoice, Status.FAILED, add_time=at(60), start_time=at(30), done_time=at(20))

    begun(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.add_time, row.start_time, row.done_time) == (at(20), at(30), at(30))
    assert found(Invoice) == []


def test_results_and_errors_stay_and_are_accounted_for() -> None:
    good = older(Invoice, result_data={"sum": [1, 2.5, "ü"]})
    bad = older(Invoice, Status.FAILED, error_data=ERROR)

    begun(Invoice)

    assert Invoice.objects.get(pk=good.pk).result_data == {"sum": [1, 2.5, "ü"]}
    assert Invoice.objects.get(pk=bad.pk).error_data == ERROR
    assert found(Invoice) == []


def test_what_no_outcome_accounts_for_goes_into_the_stream() -> None:
    task = older(Invoice, Status.PENDING, result_data="from before", error_data=ERROR)

    begun(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.result_data, row.error_data) == (None, None)
    erased = row.events.get().data["erased"]
    assert erased == {"result_data": "from before", "error_data": ERROR}
    assert found(Invoice) == []


def test_an_error_of_another_form_goes_there_too() -> None:
    task = older(Invoice, Status.FAILED, error_data="printer on fire")

    begun(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert row.error_data is None
    assert row.events.first().data["erased"] == {"error_data": "printer on fire"}
    assert found(Invoice) == []


def test_a_result_that_is_null_in_json_is_a_result() -> None:
    task = older(Invoice, result_data="x")
    put(task, result_data="null")

    begun(Invoice)

    assert raw(task, "result_data") == "null"
    assert found(Invoice) == []


def test_rows_that_were_no_tasks_are_marked_and_not_run() -> None:
    tasks = [older(Invoice, Status.PENDING) for _ in range(3)]

    begun(Invoice, status=Status.CANCELED)

    for task in tasks:
        assert kinds(task) == ["enqueue", "cancel"]
    assert not Invoice.objects.pending().exists()
    assert not Invoice.objects.filter(check_at__isnull=False).exists()


def test_waiting_and_running_rows_are_looked_after_at_once() -> None:
    tasks = [older(Invoice, status, check_at=None) for status in (0, 10)]

    begun(Invoice)

    for task in tasks:
        row = Invoice.objects.get(pk=task.pk)
        assert abs(timezone.now() - row.check_at) < timedelta(minutes=1)


def test_rows_with_events_are_left_alone() -> None:
    task = saved(Invoice)
    before = (kinds(task), Invoice.objects.values().get(pk=task.pk))
    begun(Invoice, status=Status.CANCELED)

    assert (kinds(task), Invoice.objects.values().get(pk=task.pk)) == before


def test_a_row_under_a_key_that_had_a_stream_is_left_to_recovery() -> None:
    first = saved(Invoice)
    pk = first.pk
    first.delete()
    older(Invoice, Status.PENDING, pk=pk)

    begun(Invoice)

    assert Invoice.objects.get(pk=pk).sequence == 0


def test_an_interrupted_migration_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "_BATCH_SIZE", 2)
    tasks = [older(Invoice) for _ in range(5)]
    models.QuerySet(Invoice).filter(pk=tasks[4].pk).update(status=77)
    with pytest.raises(CommandError, match=f"Invoice {tasks[4].pk} has the unknown status 77"):
        begun(Invoice)
    done = [kinds(task) for task in tasks]
    models.QuerySet(Invoice).filter(pk=tasks[4].pk).update(status=20)

    begun(Invoice)

    assert done[:4] == [WAYS[Status.SUCCESS]] * 4
    assert done[4] == []
    assert found(Invoice) == []


@pytest.mark.parametrize("model", [Invoice, TextKeyed, UuidKeyed, Elsewhere], ids=label_of)
@pytest.mark.parametrize("status", Status)
def test_going_back_takes_away_what_was_made_up(model: type[Any], status: Status) -> None:
    task = older(model, status, start_time=at(5), done_time=at(9), result_time=at(9))
    begun(model)

    migrated(BackfillEvents(model._meta.model_name), model, backwards=True)

    row = models.QuerySet(model, using=task._state.db).get(pk=task.pk)
    assert kinds(task) == []
    (stone,) = Tombstone.objects.using(task._state.db)
    assert (stone.scope, stone.actor, stone.events) == ("stream", "migrate", len(WAYS[status]))
    assert stone.data["keys"] == [str(task.pk)]
    assert {name: getattr(row, name) for name in OLD} == OLD
    assert row.status == status

    begun(model)

    assert kinds(task) == WAYS[status]
    assert found(model) == []


def test_going_back_leaves_what_has_happened_since() -> None:
    moved_on = older(Invoice, Status.PENDING)
    begun(Invoice)
    Invoice.objects.get(pk=moved_on.pk).note("looked at")
    saved_since = saved(Invoice)

    migrated(BackfillEvents("invoice"), Invoice, backwards=True)

    assert kinds(moved_on) == ["enqueue", "note"]
    assert kinds(saved_since) == ["enqueue"]
    assert found(Invoice) == []


def test_going_back_leaves_a_row_whose_events_are_not_all_there() -> None:
    task = older(Invoice)
    begun(Invoice)
    stream_of(task)[-1]._meta.model._base_manager.filter(sequence=3)._raw_delete("default")

    migrated(BackfillEvents("invoice"), Invoice, backwards=True)

    assert kinds(task) == ["enqueue", "start"]
    assert Invoice.objects.get(pk=task.pk).sequence == 3


def test_a_thousand_rows_cost_a_few_statements() -> None:
    for _ in range(1000):
        older(Invoice)
    with CaptureQueriesContext(connections["default"]) as few:
        begun(Invoice)

    # By batches of 500: lock, known, events (SQLite in parts), rows; the last batch is empty.
    inserts = [q for q in few.captured_queries if q["sql"].startswith("INSERT")]
    others = [q for q in few.captured_queries if not q["sql"].startswith(("INSERT", "UPDATE"))]
    assert len(inserts) <= 200
    assert len(others) <= 20


# --- rows of 0.1 -------------------------------------------------------------------------------


@pytest.fixture
def written_by_01(settings: Any) -> Iterator[Any]:
    """A row whose result and error columns hold what 0.1.x writes."""

    def write(status: Status, **values: Any) -> Any:
        task = older(Invoice, status, start_time=at(1), done_time=at(2), result_time=at(2))
        texts = {
            n: legacy_encoding.encode(value, settings.SECRET_KEY) for n, value in values.items()
        }
        put(task, **texts)
        return task

    return write


def put(task: Any, **texts: str) -> None:
    """Write the columns as they are, past the encoding of the fields."""
    meta = type(task)._meta
    with connections["default"].cursor() as cursor:
        for name, text in texts.items():
            cursor.execute(
                f"UPDATE {meta.db_table} SET {name} = %s WHERE {meta.pk.column} = %s",
                [text, task.pk],
            )


def raw(task: Any, name: str) -> Any:
    meta = type(task)._meta
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM {meta.db_table} WHERE {meta.pk.column} = %s", [task.pk])
        return cursor.fetchone()[0]


UPGRADE = UpgradeFrom01("invoice")


def test_results_of_0_1_are_read(written_by_01: Any) -> None:
    good = written_by_01(Status.SUCCESS, result_data={"paid": 1, "to": "张"})
    bad = written_by_01(Status.FAILED, error_data={"code": 226, "message": "金额"})

    migrated(UPGRADE, Invoice)

    assert Invoice.objects.get(pk=good.pk).result_data == {"paid": 1, "to": "张"}
    error = Invoice.objects.get(pk=bad.pk).error_data
    assert error == {"type": "BizError", "message": "金额", "code": 226}
    assert found(Invoice) == []


def test_going_back_to_0_1_writes_what_it_had_written(written_by_01: Any) -> None:
    good = written_by_01(Status.SUCCESS, result_data={"paid": 1, "to": "张"})
    bad = written_by_01(Status.FAILED, error_data={"code": 226, "message": "金额"})
    reset = written_by_01(Status.PENDING, result_data="left over")
    before = [(raw(t, "result_data"), raw(t, "error_data")) for t in (good, bad, reset)]
    migrated(UPGRADE, Invoice)

    migrated(UPGRADE, Invoice, backwards=True)

    assert [(raw(t, "result_data"), raw(t, "error_data")) for t in (good, bad, reset)] == before


def test_a_result_under_another_key_stops_and_stays(written_by_01: Any, settings: Any) -> None:
    task = written_by_01(Status.SUCCESS, result_data="OK")
    before = raw(task, "result_data")
    old, settings.SECRET_KEY = settings.SECRET_KEY, "changed since"
    with pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"):
        migrated(UPGRADE, Invoice)
    assert raw(task, "result_data") == before

    settings.SECRET_KEY_FALLBACKS = [old]
    migrated(UPGRADE, Invoice)

    assert Invoice.objects.get(pk=task.pk).result_data == "OK"


def test_a_result_that_nobody_can_read_is_kept_as_it_is(written_by_01: Any, settings: Any) -> None:
    task = written_by_01(Status.SUCCESS, result_data="OK")
    text = raw(task, "result_data")
    settings.SECRET_KEY = "changed since"

    migrated(UpgradeFrom01("invoice", keep_unreadable=True), Invoice)

    assert Invoice.objects.get(pk=task.pk).result_data == text
    assert found(Invoice) == []


def test_an_error_written_by_hand_is_kept(written_by_01: Any) -> None:
    task = older(Invoice, Status.FAILED)
    put(task, error_data="printer on fire")

    migrated(UPGRADE, Invoice)

    error = Invoice.objects.get(pk=task.pk).error_data
    assert error == {"type": "BizError", "message": "printer on fire"}
    assert found(Invoice) == []
