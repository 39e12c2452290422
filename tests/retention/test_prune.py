"""Only old tasks, payloads and streams are pruned, with a tombstone."""

import json
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, connection, connections, models, transaction
from django.test.utils import CaptureQueriesContext

from django_simpletask3.audit.check import audit
from django_simpletask3.context import task_context
from django_simpletask3.exceptions import IllegalTransition, TaskHeld
from django_simpletask3.ledger import tombstone as tombstones
from django_simpletask3.ledger.digests import digest_of, is_erased
from django_simpletask3.ledger.encoding import encode
from django_simpletask3.ledger.projection import Projection, broken_links, fold
from django_simpletask3.models import Tombstone
from django_simpletask3.models.registry import databases_of, table_models
from django_simpletask3.retention import prune as prune_module
from django_simpletask3.retention.prune import PruneOptions, PruneResult, prune
from django_simpletask3.states import EventKind, Status
from tests.migrated_app.models import Book
from tests.retention.conftest import OLD, YOUNG, Keep
from tests.steps import apply_kinds, bring_to, create_task, kinds, row_of, stream_of
from tests.testapp.models import (
    Audited,
    AuditEntry,
    Customer,
    Dunning,
    Elsewhere,
    ForeignInvoice,
    Invoice,
    Letter,
    PaidInvoice,
    Receipt,
    TextKeyed,
)

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "secret", "traceback": "secret line"}


def go(*chosen: Any, **plan: Any) -> list[PruneResult]:
    return list(prune(chosen or None, PruneOptions(**plan)))


def tombstone(using: str = "default") -> Any:
    return Tombstone.objects.using(using).get()


def findings() -> list[Any]:
    return [
        one for root in table_models() for using in databases_of(root) for one in audit(root, using)
    ]


def wrote(queries: CaptureQueriesContext) -> list[str]:
    words = ("INSERT", "UPDATE", "DELETE", "SAVEPOINT", "BEGIN")
    return [query["sql"] for query in queries if query["sql"].startswith(words)]


# Whole tasks


def test_an_old_task_goes_with_its_stream_and_leaves_a_tombstone(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    stays = [
        bring_to(create_task(Invoice), status) for status in Status if status != Status.SUCCESS
    ]

    with task_context(actor="ann"):
        (result,) = go(Invoice)

    assert (result.pruned, result.events, result.on_hold, result.protected) == (1, 3, 0, 0)
    assert row_of(task) is None
    assert stream_of(task) == []
    assert all(row_of(other) and stream_of(other) for other in stays)
    stone = tombstone()
    assert (stone.model, stone.scope, stone.reason, stone.actor) == (
        "testapp.Invoice",
        "task",
        "retention",
        "ann",
    )
    assert (stone.tasks, stone.events, stone.is_open) == (1, 3, False)
    assert stone.data == {"policy": f"task of SUCCESS after {OLD}", "keys": [str(task.pk)]}
    assert stone.digest == digest_of(f"{task.pk} {task.digest}")
    assert stone.first_time < stone.last_time
    assert findings() == []


def test_tasks_that_no_rule_covers_are_kept_and_nothing_is_written(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: YOUNG, Status.FAILED: {"erase": YOUNG}, "deleted": YOUNG})
    for status in Status:
        bring_to(create_task(Invoice), status)
        bring_to(create_task(Letter), status)
    create_task(Invoice).delete()

    with CaptureQueriesContext(connection) as queries:
        results = go()

    assert [result.pruned for result in results] == [0] * len(results)
    assert len(results) >= 3
    assert wrote(queries) == []
    assert not Tombstone.objects.exists()


def test_every_shape_of_task_goes_as_a_whole(keep: Keep) -> None:
    child = bring_to(create_task(ForeignInvoice), Status.SUCCESS)
    keep(Invoice, {Status.SUCCESS: OLD})
    keep(Audited, {Status.SUCCESS: OLD})
    keep(TextKeyed, {Status.SUCCESS: OLD})
    for model in (PaidInvoice, Audited, TextKeyed):
        bring_to(create_task(model), Status.SUCCESS)

    go()

    assert not Invoice.objects.exists()
    assert not ForeignInvoice.objects.filter(pk=child.pk).exists()
    assert not AuditEntry.objects.exists()
    assert not TextKeyed.objects.exists()
    assert findings() == []


def test_each_database_has_its_tombstones(keep: Keep) -> None:
    keep(Elsewhere, {Status.SUCCESS: OLD})
    bring_to(create_task(Elsewhere), Status.SUCCESS)

    go(Elsewhere)

    assert tombstone("other").tasks == 1
    assert not Tombstone.objects.using("default").exists()


def test_batches_are_transactions_of_their_own_and_leave_nothing(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    tasks = [bring_to(create_task(Invoice), Status.SUCCESS) for _ in range(7)]
    tasks[3].hold("court")
    sums: list[int] = []

    (result,) = go(Invoice, size=2, on_batch=lambda result: sums.append(result.pruned))

    assert (result.pruned, result.on_hold) == (6, 1)
    assert sums == [2, 3, 5, 6]
    assert Tombstone.objects.count() == 4
    assert Invoice.objects.get() == tasks[3]


def test_a_batch_takes_a_bounded_number_of_statements(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    counts = []
    for number in (3, 30):
        for _ in range(number):
            bring_to(create_task(Invoice), Status.SUCCESS)
        with CaptureQueriesContext(connection) as queries:
            go(Invoice)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_pruning_can_be_stopped_between_two_batches(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    for _ in range(5):
        bring_to(create_task(Invoice), Status.SUCCESS)
    answers = iter([True, True, False])

    (result,) = go(Invoice, size=1, may_go_on=lambda: next(answers))

    assert result.pruned == 2


def test_a_protected_task_is_kept_and_does_not_stop_the_others(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    tasks = [bring_to(create_task(Invoice), Status.SUCCESS) for _ in range(3)]
    Receipt.objects.create(invoice=tasks[1])

    (result,) = go(Invoice)

    assert (result.pruned, result.protected) == (2, 1)
    assert Invoice.objects.get() == tasks[1]
    assert len(stream_of(tasks[1])) == 3
    assert Tombstone.objects.count() == 2
    assert findings() == []


def test_a_task_whose_cascade_holds_a_task_on_hold_is_kept(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    tasks = [bring_to(create_task(Invoice), Status.SUCCESS) for _ in range(3)]
    reminder = create_task(Dunning, invoice=tasks[1])
    reminder.hold("court")

    (result,) = go(Invoice)

    assert (result.pruned, result.protected) == (2, 1)
    assert row_of(reminder) is not None
    assert len(stream_of(tasks[1])) == 3
    assert findings() == []


def test_a_table_that_fails_stops_no_other(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (Invoice, Letter):
        keep(model, {Status.SUCCESS: OLD})
        bring_to(create_task(model), Status.SUCCESS)
    held = prune_module.pks_on_hold

    def failing(root: Any, *asked: Any) -> Any:
        if root is Invoice:
            raise OperationalError("away")
        return held(root, *asked)

    monkeypatch.setattr(prune_module, "pks_on_hold", failing)

    assert prune_module.prune_due() == 1
    assert Invoice.objects.exists()


def test_a_task_that_is_moved_before_it_is_erased_stays(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD}})
    first, second = lived(), lived()
    held = prune_module.pks_on_hold

    def overtaken(*asked: Any) -> Any:
        if row_of(first).status == Status.SUCCESS:
            apply_kinds(first, EventKind.RESET)
        return held(*asked)

    monkeypatch.setattr(prune_module, "pks_on_hold", overtaken)

    (result,) = go(Invoice)

    assert result.pruned == 1
    assert "secret" not in everything(second)


def test_a_key_that_is_used_again_begins_a_stream_of_its_own(keep: Keep) -> None:
    keep(TextKeyed, {Status.SUCCESS: OLD})
    bring_to(create_task(TextKeyed, id="again"), Status.SUCCESS)
    go(TextKeyed)

    task = create_task(TextKeyed, id="again")

    assert [event.sequence for event in stream_of(task)] == [1]
    assert findings() == []


def test_a_task_that_was_reset_meanwhile_stays(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    held = prune_module.pks_on_hold
    monkeypatch.setattr(
        prune_module,
        "pks_on_hold",
        lambda *asked: (
            task.reset("again") or held(*asked)
            if row_of(task).status == Status.SUCCESS
            else held(*asked)
        ),
    )

    (result,) = go(Invoice)

    assert result.pruned == 0
    assert row_of(task).status == Status.PENDING
    assert not Tombstone.objects.exists()


# Deleted tasks


def test_the_stream_of_a_deleted_task_goes(keep: Keep) -> None:
    keep(Letter, {"deleted": OLD})
    task = bring_to(create_task(Letter), Status.SUCCESS)
    key = task.pk
    task.delete()
    stays = bring_to(create_task(Letter), Status.SUCCESS)

    (result,) = go(Letter)

    assert (result.pruned, result.events) == (1, 4)
    assert stream_of(task, key) == []
    assert len(stream_of(stays)) == 3
    assert (tombstone().scope, tombstone().data["keys"]) == ("stream", [str(key)])


def test_the_stream_of_a_key_that_is_in_use_again_stays(keep: Keep) -> None:
    keep(TextKeyed, {"deleted": OLD})
    create_task(TextKeyed, id="again").delete()
    task = create_task(TextKeyed, id="again")

    (result,) = go(TextKeyed)

    assert result.pruned == 0
    assert kinds(task) == ["enqueue", "delete", "enqueue"]


# Payloads


def lived() -> Any:
    """A task whose row and events hold payloads."""
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, EventKind.RETRY, error_data=ERROR, data={"traceback": "secret line"})
    apply_kinds(task, EventKind.START)
    apply_kinds(task, EventKind.FAIL, error_data=ERROR)
    apply_kinds(task, EventKind.RESET)
    apply_kinds(task, EventKind.START)
    return apply_kinds(task, EventKind.ACK, result={"secret": 1})


def everything(task: Any) -> str:
    row = models.QuerySet(Invoice).filter(pk=task.pk).values_list()
    events = models.QuerySet(Invoice.event_model).filter(task=task.pk).values_list()
    return repr([*row, *events])


def test_a_payload_goes_and_the_chain_holds(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD}})
    task = lived()
    digests = [event.digest for event in stream_of(task)]
    assert everything(task).count("secret") >= 6

    with task_context(actor="ann"):
        (result,) = go(Invoice, reason="article 17")

    assert result.pruned == 1
    assert "secret" not in everything(task)
    stream, row = stream_of(task), row_of(task)
    assert [event.digest for event in stream[:-1]] == digests
    assert broken_links(stream) == []
    assert fold(stream) == Projection.of(row)
    last = stream[-1]
    assert (last.kind, last.reason, last.actor) == ("erase", "article 17", "ann")
    assert is_erased(stream[2].data["error"])
    assert (tombstone().scope, tombstone().tasks, tombstone().events) == ("payload", 1, 4)
    assert findings() == []


def test_erasing_again_writes_nothing(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD}})
    task = lived()
    go(Invoice)

    with CaptureQueriesContext(connection) as queries:
        (result,) = go(Invoice)

    assert result.pruned == 0
    assert wrote(queries) == []
    assert Tombstone.objects.count() == 1
    assert not task.erase("again")


def test_payloads_that_only_events_hold_are_erased_too(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD}})
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, EventKind.RETRY, error_data=ERROR)
    apply_kinds(task, EventKind.START, EventKind.ACK)

    go(Invoice)

    assert "secret" not in everything(task)


def test_first_the_payload_goes_then_the_task(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD, "delete": YOUNG}})
    task = lived()

    results = go(Invoice)

    assert [(one.rule.target, one.pruned) for one in results] == [("payload", 1), ("task", 0)]
    keep(Invoice, {Status.SUCCESS: {"erase": YOUNG, "delete": OLD}})
    assert [(one.rule.target, one.pruned) for one in go(Invoice)] == [("payload", 0), ("task", 1)]
    assert row_of(task) is None


def test_a_finished_task_can_be_erased_by_hand() -> None:
    task = lived()

    with task_context(actor="ann"):
        assert task.erase("article 17")

    assert task.result_data is None
    assert "secret" not in everything(task)
    assert stream_of(task)[-1].reason == "article 17"
    assert tombstone().actor == "ann"
    assert findings() == []


def test_the_payload_of_notes_and_of_the_context_is_erased_and_nothing_else() -> None:
    with task_context(payload={"phone": "secret"}, order=12):
        task = create_task(Invoice)
    task.note("called", duration=95, payload=["secret", {"line": "secret"}])
    apply_kinds(task, EventKind.CANCEL)

    assert task.erase("article 17")

    assert "secret" not in everything(task)
    first, note = stream_of(task)[:2]
    assert (first.data["order"], note.data["duration"]) == (12, 95)
    assert findings() == []


def test_what_was_erased_cannot_be_guessed() -> None:
    task = lived()
    values = [{"secret": 1}, *ERROR.values(), {"type": ERROR["type"], "message": ERROR["message"]}]
    guesses = {digest_of(encode(value)) for value in [*values, ERROR, "secret line"]}
    assert any(digest in everything(task) for digest in guesses)

    task.erase()

    assert not [digest for digest in guesses if digest in everything(task)]
    assert "payload_salt" not in everything(task)
    assert "size" not in everything(task)
    assert findings() == []


def test_data_that_were_cut_are_erased_beyond_guessing_too(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT = 300
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, EventKind.FAIL, error_data={**ERROR, "message": "secret" * 100})
    digest = task.digest
    (cut,) = [event.data for event in stream_of(task) if event.kind == EventKind.FAIL]
    assert "secret" in cut["head"]

    task.erase()

    (erased,) = [event.data for event in stream_of(task) if event.kind == EventKind.FAIL]
    assert erased["head"]["digest"] != digest_of(encode(cut["head"]))
    assert "payload_salt" not in erased
    assert [event.digest for event in stream_of(task)][2] == digest
    assert findings() == []


def test_a_task_runs_again_after_it_was_erased() -> None:
    task = lived()
    task.erase()
    apply_kinds(task, EventKind.RESET, EventKind.START)
    apply_kinds(task, EventKind.ACK, result="new")

    assert row_of(task).result_data == "new"
    assert findings() == []


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_a_task_that_is_not_finished_cannot_be_erased(status: Status) -> None:
    task = bring_to(create_task(Invoice), status)
    done = bring_to(create_task(Invoice), Status.SUCCESS)

    with pytest.raises(IllegalTransition, match="cannot be erased"):
        Invoice.objects.filter(pk__in=[task.pk, done.pk]).erase("no")

    assert "erase" not in [*kinds(task), *kinds(done)]


def test_a_queryset_can_be_erased() -> None:
    tasks = [lived() for _ in range(3)]
    tasks[0].hold()

    assert Invoice.objects.all().erase("article 17") == 2

    assert ["secret" in everything(task) for task in tasks] == [True, False, False]


# Holds


def test_a_task_on_hold_is_kept_until_the_hold_is_lifted(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD, "delete": OLD}})
    task = lived()
    task.hold("court")

    assert [(one.pruned, one.on_hold) for one in go(Invoice)] == [(0, 1), (0, 1)]
    assert task.is_held
    assert not Tombstone.objects.exists()

    task.lift("settled")

    assert not task.is_held
    assert [one.pruned for one in go(Invoice)] == [1, 1]


def test_a_held_task_cannot_be_deleted_or_erased() -> None:
    task = lived()
    task.hold("court")

    for refused in (task.delete, Invoice.objects.all().delete, task.erase):
        with pytest.raises(TaskHeld, match="lift"), transaction.atomic():
            refused()

    assert row_of(task).result_data == {"secret": 1}
    assert kinds(task)[-1] == "hold"


def test_a_held_task_does_not_go_with_what_it_belongs_to() -> None:
    customer = Customer.objects.create()
    letter = create_task(Letter, customer=customer)
    letter.hold("court")

    with pytest.raises(TaskHeld), transaction.atomic():
        customer.delete()

    assert row_of(letter) is not None


def test_the_stream_of_a_deleted_task_may_be_held(keep: Keep) -> None:
    keep(Letter, {"deleted": OLD})
    task = create_task(Letter)
    key = task.pk
    task.hold("court")
    models.QuerySet(Letter).filter(pk=key)._raw_delete("default")
    list(audit(Letter, "default", repair=True))

    (result,) = go(Letter)

    assert (result.pruned, result.on_hold) == (0, 1)
    assert kinds(task, key) == ["enqueue", "hold", "delete"]


def test_many_tasks_can_be_held_and_lifted() -> None:
    tasks = [create_task(Invoice) for _ in range(3)]

    assert Invoice.objects.all().hold("court") == 3
    assert all(task.is_held for task in tasks)
    assert Invoice.objects.filter(pk=tasks[0].pk).lift("settled") == 1
    assert [task.is_held for task in tasks] == [False, True, True]


def test_a_hold_that_comes_at_the_last_moment_wins(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    held = prune_module.pks_on_hold

    def overtaken(*asked: Any) -> Any:
        found = held(*asked)
        if not task.is_held:
            task.hold("court")
        return found

    monkeypatch.setattr(prune_module, "pks_on_hold", overtaken)

    (result,) = go(Invoice)

    assert result.pruned == 0
    assert kinds(task)[-1] == "hold"
    assert not Tombstone.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_a_hold_and_the_pruner_do_not_halve_a_task(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    outcomes: list[str] = []

    def hold() -> None:
        try:
            Invoice.objects.get(pk=task.pk).hold("court")
            outcomes.append("held")
        except Exception as error:
            outcomes.append(type(error).__name__)
        finally:
            connections.close_all()

    holder = threading.Thread(target=hold)
    summarize = tombstones.Tombstone.summarize

    def summarize_later(stone: Any, *args: Any, **options: Any) -> None:
        holder.start()
        holder.join(0.5)
        summarize(stone, *args, **options)

    monkeypatch.setattr(tombstones.Tombstone, "summarize", summarize_later)

    (result,) = go(Invoice)
    holder.join()

    assert (result.pruned, outcomes) == (1, ["TaskGone"])
    assert stream_of(task) == []


# The command and the maintenance job


def command(*words: str) -> str:
    output = StringIO()
    call_command("django-simpletask3-prune", *words, "--pause=0", stdout=output)
    return output.getvalue()


def test_the_command_lets_go_in_the_name_of_who_calls_it(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    keep(Invoice, {Status.SUCCESS: OLD})
    bring_to(create_task(Invoice), Status.SUCCESS).hold()
    bring_to(create_task(Invoice), Status.SUCCESS)

    output = command("--model", "testapp.Invoice", "--reason", "spring cleaning")

    assert (
        "testapp.Invoice (default), task of SUCCESS after 0:00:00.000001: 1 pruned, 1 on hold"
        in output
    )
    assert (tombstone().actor, tombstone().reason) == ("ada", "spring cleaning")


def test_a_dry_run_counts_and_writes_nothing(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: {"erase": OLD, "delete": OLD}})
    task = lived()

    with CaptureQueriesContext(connection) as queries:
        output = command("--dry-run")

    assert output.count("1 would be pruned") == 2
    assert wrote(queries) == []
    assert row_of(task) is not None


def test_the_command_tells_programs(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    bring_to(create_task(Invoice), Status.SUCCESS)

    (result,) = json.loads(command("--json", "--model", "testapp.Invoice"))

    assert result == {
        "model": "testapp.Invoice",
        "database": "default",
        "rule": "task of SUCCESS after 0:00:00.000001",
        "pruned": 1,
        "events": 3,
        "on_hold": 0,
        "protected": 0,
    }


def test_the_command_says_what_keeps_everything() -> None:
    assert "testapp.Invoice: keeps everything" in command("--model", "testapp.Invoice")


@pytest.mark.parametrize("words", [["--batch-size", "0"], ["--pause", "-1"], ["--model", "no.No"]])
def test_bad_input_gets_one_clear_error(words: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("django-simpletask3-prune", *words)


def test_a_server_lets_go_of_what_is_due(keep: Keep) -> None:
    keep(Invoice, {Status.SUCCESS: OLD})
    bring_to(create_task(Invoice), Status.SUCCESS)

    assert prune_module.prune_due() == 1
    assert prune_module.prune_due() == 0
    assert tombstone().actor == "retention"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL explains")
@pytest.mark.parametrize("rules", [{Status.SUCCESS: OLD}, {"deleted": OLD}], ids=["task", "stream"])
def test_old_tasks_are_found_by_an_index(keep: Keep, rules: Any) -> None:
    keep(Invoice, rules)
    with CaptureQueriesContext(connection) as queries:
        go(Invoice)
    (asked,) = [query["sql"] for query in queries if "LIMIT 500" in query["sql"]]

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + asked)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Index Cond: " in plan
    assert "done_time <" in plan or "event_time <" in plan


# Where the database refuses to delete events


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rule", [OLD, {"erase": OLD}], ids=["task", "payload"])
def test_only_pruning_may_delete_from_append_only_tables(keep: Keep, rule: Any) -> None:
    keep(Book, {Status.SUCCESS: rule})
    task = apply_kinds(create_task(Book), EventKind.START)
    apply_kinds(task, EventKind.RETRY, error_data=ERROR)
    apply_kinds(task, EventKind.START, EventKind.ACK)
    events = models.QuerySet(Book.event_model).filter(task=task.pk)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        events._raw_delete("default")

    (result,) = go(Book)

    assert result.pruned == 1
    assert events.count() == (0 if rule is OLD else 6)
    assert findings() == []
    create_task(Book)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        models.QuerySet(Book.event_model).update(reason="because")
