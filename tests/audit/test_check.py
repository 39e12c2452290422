"""The audit finds all tampering with rows and streams, and nothing else."""

import json
import threading
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, models
from django.test.utils import CaptureQueriesContext

from django_simpletask3.audit import readers
from django_simpletask3.audit.check import Finding, audit
from django_simpletask3.context import TaskContext, lazy_context
from django_simpletask3.ledger.stream_check import DiscrepancyKind
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.models.registry import databases_of, table_models
from django_simpletask3.states import EventKind, Status
from tests.audit.tampering import TAMPERINGS
from tests.steps import (
    TABLES,
    apply_kinds,
    bring_to,
    create_task,
    label_of,
    row_of,
    run_command,
    stream_of,
)
from tests.testapp.models import Elsewhere, Invoice, Letter, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "no", "traceback": "..."}


def lived(model: type[Any]) -> Any:
    """A task with seven events, and another one beside it."""
    for _ in range(2):
        task = apply_kinds(create_task(model), EventKind.START)
        apply_kinds(task, EventKind.RETRY, error_data=ERROR, data={"traceback": "..."})
        apply_kinds(task, EventKind.START)
        task.note("half way", done=0.5)
        apply_kinds(task, EventKind.ACK, result={"sum": [1, 2.5, "ü"]})
        task.note("looks good")
    return task


def found_of(task: Any, **asked: Any) -> list[Finding]:
    """What the audit of the table of ``task`` finds about it."""
    table = audit(table_model(type(task)), task._state.db, **asked)
    return [one for one in table if one.task == str(task.pk)]


def found_everywhere(**asked: Any) -> list[Finding]:
    tables = [(root, using) for root in table_models() for using in databases_of(root)]
    return [one for table in tables for one in audit(*table, **asked)]


@pytest.mark.parametrize("model", [Invoice, TextKeyed, UuidKeyed, Elsewhere], ids=label_of)
def test_nothing_is_wrong_with_what_went_through_the_machine(model: type[Any]) -> None:
    lived(model)
    for status in Status:
        bring_to(create_task(model), status)
    create_task(model).delete()
    apply_kinds(bring_to(create_task(model), Status.SUCCESS), EventKind.RESET)

    assert found_everywhere() == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_past_the_state_machine_is_found(name: str) -> None:
    task = lived(Invoice)
    done = TAMPERINGS[name]
    done.commit(task)

    found = found_of(task)

    assert {(one.sequence, one.problem) for one in found} == done.found
    assert all(one.advice and not one.repaired for one in found)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_repairing_puts_right_what_intact_events_can_tell_and_leaves_the_rest(name: str) -> None:
    task = lived(Invoice)
    TAMPERINGS[name].commit(task)
    before = len(stream_of(task))

    found = found_of(task, repair=True)

    assert {one.repaired for one in found} == {TAMPERINGS[name].is_repairable}
    left = found_of(task)
    if TAMPERINGS[name].is_repairable:
        assert left == []
        last = stream_of(task)[-1]
        assert last.reason == "audit"
        assert last.data["found"] == [one.detail for one in found]
    else:
        assert [one.problem for one in left] == [one.problem for one in found]
        assert len(stream_of(task)) == before


@pytest.mark.parametrize("kind", [EventKind.FAIL, EventKind.RETRY])
@pytest.mark.parametrize(
    "error", [{**ERROR, "traceback": "edited"}, {**ERROR, "code": 1}, {"type": "ValueError"}, None]
)
def test_an_edited_error_is_found(kind: EventKind, error: Any) -> None:
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, kind, error_data=ERROR)
    assert found_of(task) == []

    models.QuerySet(Invoice).filter(pk=task.pk).update(error_data=error)

    assert [one.problem for one in found_of(task)] == [DiscrepancyKind.RESULT]


@pytest.mark.parametrize("columns", [{"worker": ""}, {"worker": "x"}, {"check_at": None}], ids=str)
def test_an_edited_claim_is_found_and_repaired(columns: dict[str, Any]) -> None:
    task = apply_kinds(create_task(Invoice), EventKind.START)
    models.QuerySet(Invoice).filter(pk=task.pk).update(**columns)

    (finding,) = found_of(task, repair=True)

    assert (finding.problem, finding.repaired) == (DiscrepancyKind.ROW, True)
    assert next(iter(columns)) in finding.detail
    assert found_of(task) == []
    assert row_of(task).worker == "w1"


def test_a_task_whose_context_names_a_parent_of_its_own_is_intact() -> None:
    with lazy_context(lambda: TaskContext(data={"parent": "mine"})):
        task = create_task(Invoice)

    assert row_of(task).parent is None
    assert found_everywhere() == []


def test_a_waiting_task_that_was_marked_as_done_waits_again_and_is_looked_after() -> None:
    task = create_task(Invoice)
    models.QuerySet(Invoice).filter(pk=task.pk).update(
        status=Status.SUCCESS, success=True, check_at=None
    )

    found_everywhere(repair=True)

    row = row_of(task)
    assert (row.status, row.success) == (Status.PENDING, None)
    assert Invoice.objects.lost().get() == task


def test_every_table_of_tasks_is_audited() -> None:
    tasks = [create_task(model) for model in TABLES]
    for task in tasks:
        models.QuerySet(type(task), using=task._state.db).filter(pk=task.pk).update(attempt=3)

    found = sorted((finding.model, finding.task) for finding in found_everywhere())

    assert found == sorted((task._meta.label, str(task.pk)) for task in tasks)


def test_a_deleted_row_whose_key_is_used_again_is_fine() -> None:
    task = create_task(TextKeyed, id="again")
    task.delete()
    bring_to(create_task(TextKeyed, id="again"), Status.SUCCESS)

    assert found_everywhere() == []


def test_a_deletion_that_left_the_row_is_found() -> None:
    task = create_task(Invoice)
    columns = {**models.QuerySet(Invoice).filter(pk=task.pk).values().get()}
    task.delete()
    models.QuerySet(Invoice).bulk_create([Invoice(**columns)])

    assert [one.problem for one in found_everywhere()] == [DiscrepancyKind.ROW]


def test_only_tasks_with_recent_events_are_examined_if_that_is_asked() -> None:
    old, recent = create_task(Invoice), create_task(Invoice)
    event = recent.note("now")
    models.QuerySet(Invoice).update(attempt=3)

    found = found_everywhere(since=event.event_time)

    assert [one.task for one in found] == [str(recent.pk)]
    assert old.pk != recent.pk


def test_batches_and_pages_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "ROW_BATCH_SIZE", 3)
    monkeypatch.setattr(readers, "EVENT_BATCH_SIZE", 4)
    tasks = [lived(model) for model in (Invoice, TextKeyed, UuidKeyed) for _ in range(4)]
    for task in tasks:
        models.QuerySet(type(task)).filter(pk=task.pk).update(attempt=9)
    create_task(Invoice).delete()
    counted: list[int] = []

    found = found_everywhere(on_tasks=counted.append)

    assert sorted(one.task for one in found) == sorted(str(task.pk) for task in tasks)
    assert sum(counted) == 2 * len(tasks) + 1


def test_memory_does_not_grow_with_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "ROW_BATCH_SIZE", 5)
    monkeypatch.setattr(readers, "EVENT_BATCH_SIZE", 10)
    for _ in range(12):
        create_task(Invoice)
    long = create_task(Invoice)
    for number in range(60):
        long.note(str(number))

    with CaptureQueriesContext(connections["default"]) as queries:
        assert list(audit(Invoice, "default")) == []

    sizes = [query["sql"].rpartition("LIMIT ")[2] for query in queries if "LIMIT" in query["sql"]]
    assert set(sizes) <= {"5", "10"}


def test_a_task_that_changes_during_the_audit_is_no_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = create_task(Invoice)
    read = readers.rows

    def read_and_move(*asked: Any) -> Any:
        rows = list(read(*asked))
        if task.sequence == 1:
            task.note("in between")
        return iter(rows)

    monkeypatch.setattr(readers, "rows", read_and_move)

    assert list(audit(Invoice, "default")) == []
    assert task.sequence == 2


@pytest.mark.django_db(transaction=True)
def test_a_discrepancy_is_checked_again_under_a_row_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = lived(Invoice)
    TAMPERINGS["row says another done_time"].commit(task)
    mover = threading.Thread(target=lambda: (task.note("meanwhile"), connections.close_all()))
    waits: list[bool] = []
    read = readers.rows

    def read_slowly(root: Any, using: str, pks: Any) -> Any:
        if connections[using].in_atomic_block and not waits:
            mover.start()
            mover.join(0.5)
            waits.append(mover.is_alive())
        return read(root, using, pks)

    monkeypatch.setattr(readers, "rows", read_slowly)

    assert [one.problem for one in audit(Invoice, "default")] == [DiscrepancyKind.ROW]
    mover.join()
    assert waits == [True]


command = partial(run_command, "django-simpletask3-audit")


def test_the_command_is_content_when_nothing_is_wrong() -> None:
    lived(Invoice)

    assert command() == ("2 tasks checked: nothing is wrong.\n", 0)


def test_the_command_counts_one_task_and_one_finding_as_one() -> None:
    task = create_task(Invoice)
    models.QuerySet(Invoice).filter(pk=task.pk).update(attempt=7)

    assert "1 task checked: 1 finding." in command()[0]


def test_the_command_tells_what_is_wrong_and_what_to_do() -> None:
    task = lived(Invoice)
    TAMPERINGS["changed reason"].commit(task)

    output, code = command("--model", "testapp.Invoice")

    assert code == 1
    assert f"testapp.Invoice {task.pk} (default) #3 digest: the retry was changed" in output
    assert "Compare with a backup" in output


def test_the_command_tells_programs() -> None:
    task = lived(Invoice)
    TAMPERINGS["result changed"].commit(task)
    TAMPERINGS["cut by one"].commit(lived(Letter))

    output, code = command("--json")

    report = json.loads(output)
    assert code == 1
    assert (report["tasks"], report["count"]) == (4, 2)
    assert {one["problem"] for one in report["findings"]} == {"result", "tail"}
    assert set(report["findings"][0]) == {
        "model",
        "database",
        "task",
        "sequence",
        "problem",
        "detail",
        "advice",
        "repaired",
    }


def test_the_command_repairs_in_the_name_of_who_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    task = lived(Invoice)
    TAMPERINGS["row says another status"].commit(task)

    output, code = command("--repair")

    assert code == 1
    assert "Repaired." in output
    assert stream_of(task)[-1].actor == "ada"
    assert command()[1] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "testapp.Nothing"], "No such task model: testapp.Nothing"),
        (["--since", "yesterday"], "is not a time"),
    ],
)
def test_bad_input_gets_one_clear_error(words: list[str], message: str) -> None:
    from django.core.management.base import CommandError

    with pytest.raises(CommandError, match=message):
        call_command("django-simpletask3-audit", *words)
