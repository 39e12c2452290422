"""Rows without events get the events that their status implies."""

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
from tests.steps import TABLES, create_task, kinds, label_of, make_task, stream_of
from tests.testapp.models import Elsewhere, Invoice, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db

KINDS_BY_STATUS = {
    Status.PENDING: ["enqueue"],
    Status.RUNNING: ["enqueue", "start"],
    Status.SUCCESS: ["enqueue", "start", "ack"],
    Status.FAILED: ["enqueue", "start", "fail"],
    Status.BLOCKED: ["enqueue", "block"],
    Status.CANCELED: ["enqueue", "cancel"],
}
OLD = {"sequence": 0, "digest": "", "attempt": 0}
ERROR = {"type": "ValueError", "message": "no", "traceback": "..."}
YESTERDAY = timezone.now().replace(microsecond=0) - timedelta(days=1)


def at(second: int) -> datetime:
    return YESTERDAY + timedelta(seconds=second)


def row_without_events(model: type[Any], status: Any = Status.SUCCESS, **columns: Any) -> Any:
    """Insert a row without events, as it was before the migration."""
    values = {"add_time": at(0), "status": status, **OLD, **columns}
    task = make_task(model)
    for name, value in values.items():
        setattr(task, name, value)
    using = router.db_for_write(model)
    models.QuerySet(model, using=using).bulk_create([task])
    if task.pk is None:
        task.pk = models.QuerySet(model, using=using).latest("pk").pk
    return models.QuerySet(model, using=using).get(pk=task.pk)


def run_operation(operation: BackfillEvents, model: type[Any], *, backwards: bool = False) -> None:
    """Run ``operation`` on each database as migrate does."""
    state = migration_state()
    for using in databases_of(model):
        editor = SimpleNamespace(connection=connections[using])
        run = operation.database_backwards if backwards else operation.database_forwards
        run(model._meta.app_label, editor, state, state)


@cache
def migration_state() -> ProjectState:
    """The models with the field classes that their migrations name."""
    state = ProjectState.from_apps(apps)
    for model in state.models.values():
        for name, field in model.fields.items():
            _, path, args, kwargs = field.deconstruct()
            model.fields[name] = import_string(path)(*args, **kwargs)
    return state


def backfill_rows(model: type[Any], **arguments: Any) -> None:
    run_operation(BackfillEvents(model._meta.model_name, **arguments), model)


def audit_findings(model: type[Any]) -> list[Any]:
    return [finding for using in databases_of(model) for finding in audit(model, using)]


@pytest.mark.parametrize("model", TABLES, ids=label_of)
@pytest.mark.parametrize("status", Status)
def test_a_row_gets_the_events_that_its_status_implies(model: type[Any], status: Status) -> None:
    task = row_without_events(model, status, start_time=at(1), done_time=at(2))

    backfill_rows(model)

    assert kinds(task) == KINDS_BY_STATUS[status]
    assert all(event.data["adopted"] for event in stream_of(task))
    assert audit_findings(model) == []


def test_the_times_of_a_row_do_not_change() -> None:
    task = row_without_events(Invoice, start_time=at(5), done_time=at(9), result_time=at(9))

    backfill_rows(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.add_time, row.start_time, row.done_time) == (at(0), at(5), at(9))
    assert [event.event_time for event in row.events.all()] == [at(0), at(5), at(9)]


def test_inferred_times_never_decrease() -> None:
    task = row_without_events(
        Invoice, Status.FAILED, add_time=at(60), start_time=at(30), done_time=at(20)
    )

    backfill_rows(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.add_time, row.start_time, row.done_time) == (at(20), at(30), at(30))
    assert audit_findings(Invoice) == []


def test_results_and_errors_stay_and_match_the_events() -> None:
    good = row_without_events(Invoice, result_data={"sum": [1, 2.5, "ü"]})
    bad = row_without_events(Invoice, Status.FAILED, error_data=ERROR)

    backfill_rows(Invoice)

    assert Invoice.objects.get(pk=good.pk).result_data == {"sum": [1, 2.5, "ü"]}
    assert Invoice.objects.get(pk=bad.pk).error_data == ERROR
    assert audit_findings(Invoice) == []


def test_values_without_an_outcome_move_to_the_first_event() -> None:
    task = row_without_events(Invoice, Status.PENDING, result_data="from before", error_data=ERROR)

    backfill_rows(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert (row.result_data, row.error_data) == (None, None)
    erased = row.events.get().data["erased"]
    assert erased == {"result_data": "from before", "error_data": ERROR}
    assert audit_findings(Invoice) == []


def test_an_error_of_another_form_moves_there_too() -> None:
    task = row_without_events(Invoice, Status.FAILED, error_data="printer on fire")

    backfill_rows(Invoice)

    row = Invoice.objects.get(pk=task.pk)
    assert row.error_data is None
    assert row.events.first().data["erased"] == {"error_data": "printer on fire"}
    assert audit_findings(Invoice) == []


def test_a_result_that_is_null_in_json_is_a_result() -> None:
    task = row_without_events(Invoice, result_data="x")
    write_raw(task, result_data="null")

    backfill_rows(Invoice)

    assert read_raw(task, "result_data") == "null"
    assert audit_findings(Invoice) == []


def test_rows_of_a_plain_model_are_canceled_and_not_run() -> None:
    tasks = [row_without_events(Invoice, Status.PENDING) for _ in range(3)]

    backfill_rows(Invoice, status=Status.CANCELED)

    for task in tasks:
        assert kinds(task) == ["enqueue", "cancel"]
    assert not Invoice.objects.pending().exists()
    assert not Invoice.objects.filter(check_at__isnull=False).exists()


def test_pending_and_running_rows_are_checked_at_once() -> None:
    tasks = [row_without_events(Invoice, status, check_at=None) for status in (0, 10)]

    backfill_rows(Invoice)

    for task in tasks:
        row = Invoice.objects.get(pk=task.pk)
        assert abs(timezone.now() - row.check_at) < timedelta(minutes=1)


def test_rows_with_events_are_skipped() -> None:
    task = create_task(Invoice)
    before = (kinds(task), Invoice.objects.values().get(pk=task.pk))
    backfill_rows(Invoice, status=Status.CANCELED)

    assert (kinds(task), Invoice.objects.values().get(pk=task.pk)) == before


def test_a_row_under_a_key_that_had_a_stream_is_left_to_recovery() -> None:
    first = create_task(Invoice)
    pk = first.pk
    first.delete()
    row_without_events(Invoice, Status.PENDING, pk=pk)

    backfill_rows(Invoice)

    assert Invoice.objects.get(pk=pk).sequence == 0


def test_an_interrupted_migration_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "BATCH_SIZE", 2)
    tasks = [row_without_events(Invoice) for _ in range(5)]
    models.QuerySet(Invoice).filter(pk=tasks[4].pk).update(status=77)
    with pytest.raises(CommandError, match=f"Invoice {tasks[4].pk} has the unknown status 77"):
        backfill_rows(Invoice)
    done = [kinds(task) for task in tasks]
    models.QuerySet(Invoice).filter(pk=tasks[4].pk).update(status=20)

    backfill_rows(Invoice)

    assert done[:4] == [KINDS_BY_STATUS[Status.SUCCESS]] * 4
    assert done[4] == []
    assert audit_findings(Invoice) == []


@pytest.mark.parametrize("model", [Invoice, TextKeyed, UuidKeyed, Elsewhere], ids=label_of)
@pytest.mark.parametrize("status", Status)
def test_reversing_deletes_inferred_events(model: type[Any], status: Status) -> None:
    task = row_without_events(model, status, start_time=at(5), done_time=at(9), result_time=at(9))
    backfill_rows(model)

    run_operation(BackfillEvents(model._meta.model_name), model, backwards=True)

    row = models.QuerySet(model, using=task._state.db).get(pk=task.pk)
    assert kinds(task) == []
    (tombstone,) = Tombstone.objects.using(task._state.db)
    assert (tombstone.scope, tombstone.actor, tombstone.events) == (
        "stream",
        "migrate",
        len(KINDS_BY_STATUS[status]),
    )
    assert tombstone.data["keys"] == [str(task.pk)]
    assert {name: getattr(row, name) for name in OLD} == OLD
    assert row.status == status

    backfill_rows(model)

    assert kinds(task) == KINDS_BY_STATUS[status]
    assert audit_findings(model) == []


def test_reversing_keeps_streams_with_later_events() -> None:
    task_with_note = row_without_events(Invoice, Status.PENDING)
    backfill_rows(Invoice)
    Invoice.objects.get(pk=task_with_note.pk).note("looked at")
    saved_since = create_task(Invoice)

    run_operation(BackfillEvents("invoice"), Invoice, backwards=True)

    assert kinds(task_with_note) == ["enqueue", "note"]
    assert kinds(saved_since) == ["enqueue"]
    assert audit_findings(Invoice) == []


def test_reversing_skips_a_row_with_missing_events() -> None:
    task = row_without_events(Invoice)
    backfill_rows(Invoice)
    stream_of(task)[-1]._meta.model._base_manager.filter(sequence=3)._raw_delete("default")

    run_operation(BackfillEvents("invoice"), Invoice, backwards=True)

    assert kinds(task) == ["enqueue", "start"]
    assert Invoice.objects.get(pk=task.pk).sequence == 3


def test_a_thousand_rows_need_few_statements() -> None:
    for _ in range(1000):
        row_without_events(Invoice)
    with CaptureQueriesContext(connections["default"]) as captured:
        backfill_rows(Invoice)

    # In batches of 500: lock, reused keys, events (SQLite in parts), rows; the last batch is empty.
    inserts = [q for q in captured.captured_queries if q["sql"].startswith("INSERT")]
    others = [q for q in captured.captured_queries if not q["sql"].startswith(("INSERT", "UPDATE"))]
    assert len(inserts) <= 200
    assert len(others) <= 20


# --- rows of 0.1 -------------------------------------------------------------------------------


@pytest.fixture
def row_of_01(settings: Any) -> Iterator[Any]:
    """Insert a row whose result and error columns have the encoding of 0.1.x."""

    def write(status: Status, **values: Any) -> Any:
        task = row_without_events(
            Invoice, status, start_time=at(1), done_time=at(2), result_time=at(2)
        )
        texts = {
            n: legacy_encoding.encode(value, settings.SECRET_KEY) for n, value in values.items()
        }
        write_raw(task, **texts)
        return task

    return write


def write_raw(task: Any, **texts: str) -> None:
    """Write columns without the encoding of their fields."""
    meta = type(task)._meta
    with connections["default"].cursor() as cursor:
        for name, text in texts.items():
            cursor.execute(
                f"UPDATE {meta.db_table} SET {name} = %s WHERE {meta.pk.column} = %s",
                [text, task.pk],
            )


def read_raw(task: Any, name: str) -> Any:
    meta = type(task)._meta
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM {meta.db_table} WHERE {meta.pk.column} = %s", [task.pk])
        return cursor.fetchone()[0]


UPGRADE = UpgradeFrom01("invoice")


def test_results_of_0_1_are_decrypted(row_of_01: Any) -> None:
    good = row_of_01(Status.SUCCESS, result_data={"paid": 1, "to": "张"})
    bad = row_of_01(Status.FAILED, error_data={"code": 226, "message": "金额"})

    run_operation(UPGRADE, Invoice)

    assert Invoice.objects.get(pk=good.pk).result_data == {"paid": 1, "to": "张"}
    error = Invoice.objects.get(pk=bad.pk).error_data
    assert error == {"type": "BizError", "message": "金额", "code": 226}
    assert audit_findings(Invoice) == []


def test_reversing_restores_the_texts_of_0_1(row_of_01: Any) -> None:
    good = row_of_01(Status.SUCCESS, result_data={"paid": 1, "to": "张"})
    bad = row_of_01(Status.FAILED, error_data={"code": 226, "message": "金额"})
    reset = row_of_01(Status.PENDING, result_data="left over")
    before = [(read_raw(t, "result_data"), read_raw(t, "error_data")) for t in (good, bad, reset)]
    run_operation(UPGRADE, Invoice)

    run_operation(UPGRADE, Invoice, backwards=True)

    assert [
        (read_raw(t, "result_data"), read_raw(t, "error_data")) for t in (good, bad, reset)
    ] == before


def test_a_result_under_an_unknown_key_stops_the_migration(row_of_01: Any, settings: Any) -> None:
    task = row_of_01(Status.SUCCESS, result_data="OK")
    before = read_raw(task, "result_data")
    old, settings.SECRET_KEY = settings.SECRET_KEY, "changed since"
    with pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"):
        run_operation(UPGRADE, Invoice)
    assert read_raw(task, "result_data") == before

    settings.SECRET_KEY_FALLBACKS = [old]
    run_operation(UPGRADE, Invoice)

    assert Invoice.objects.get(pk=task.pk).result_data == "OK"


def test_an_unreadable_result_can_be_kept(row_of_01: Any, settings: Any) -> None:
    task = row_of_01(Status.SUCCESS, result_data="OK")
    text = read_raw(task, "result_data")
    settings.SECRET_KEY = "changed since"

    run_operation(UpgradeFrom01("invoice", keep_unreadable=True), Invoice)

    assert Invoice.objects.get(pk=task.pk).result_data == text
    assert audit_findings(Invoice) == []


def test_a_plain_text_error_is_kept(row_of_01: Any) -> None:
    task = row_without_events(Invoice, Status.FAILED)
    write_raw(task, error_data="printer on fire")

    run_operation(UPGRADE, Invoice)

    error = Invoice.objects.get(pk=task.pk).error_data
    assert error == {"type": "BizError", "message": "printer on fire"}
    assert audit_findings(Invoice) == []
