"""Moving tasks: what is written, what is refused, what is undone."""

import copy
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections, models
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from django_simpletask3.conf.options import options
from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.exceptions import IllegalTransition, StaleTask, TaskGone, TransitionRefused
from django_simpletask3.ledger.digests import digest_of
from django_simpletask3.ledger.encoding import encode
from django_simpletask3.ledger.projection import broken_links, fold
from django_simpletask3.signals import event_recorded, task_transitioned
from django_simpletask3.states import (
    AUDIT_ONLY,
    RECOVERABLE,
    TRANSITIONS,
    EventKind,
    Holder,
    Status,
    kinds_where,
)
from django_simpletask3.transitions.best_effort import apply_each
from django_simpletask3.transitions.transition import Transition, known_row
from django_simpletask3.transitions.writer import apply, apply_all
from tests.steps import (
    apply_kinds,
    bring_to,
    create_task,
    kinds,
    label_of,
    locking_reads,
    make_task,
    message_count,
    projection_of,
    row_of,
    stream_of,
    without_salt,
)
from tests.testapp.models import (
    ForeignInvoice,
    Gadget,
    Invoice,
    PaidInvoice,
    Reminder,
    Secret,
    TextKeyed,
    UuidKeyed,
)

#: Kinds that only the attempt that holds the lease records.
HOLDERS_KINDS = frozenset(kinds_where(lambda spec: spec.holder is Holder.ALWAYS))

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "no", "traceback": "line 1"}


class Refusal(Exception):
    """What a receiver raises."""


@contextmanager
def refusing(*kinds: EventKind) -> Iterator[None]:
    """Within the block, a receiver of ``event_recorded`` refuses events of these kinds."""

    def refuse(event: Any, **_: Any) -> None:
        if event.kind in kinds:
            raise Refusal

    event_recorded.connect(refuse)
    try:
        yield
    finally:
        event_recorded.disconnect(refuse)


_VERB = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b")

#: The statements that write rows with their events; one on PostgreSQL, which begins with WITH.
WRITES = ["WITH"] if connections["default"].vendor == "postgresql" else ["UPDATE", "INSERT"]


def verbs(made: CaptureQueriesContext) -> list[str]:
    """The statements for the tables, without those around transactions.

    Django's log has "20 times: UPDATE" for many rows at once.
    """
    statements = [query["sql"].rpartition("times: ")[2].strip() for query in made]
    found = map(_VERB.match, statements)
    return [one[1] for one in found if one]


def attributes(task: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(task).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.ENQUEUE])
@pytest.mark.parametrize("status", Status)
def test_a_row_moves_along_the_arrows_and_no_other_way(status: Status, kind: EventKind) -> None:
    task = bring_to(create_task(Invoice), status)
    before = projection_of(task)

    if (status, kind) in TRANSITIONS:
        event = apply(task, kind, worker="w1")
        assert (event.kind, event.from_status) == (kind, status)
        assert event.to_status == TRANSITIONS[status, kind]
        assert stream_of(task)[-1] == event
        assert kind is EventKind.DELETE or row_of(task).status == event.to_status
    else:
        with pytest.raises(TransitionRefused) as refused:
            apply(task, kind, worker="another")
        assert (refused.value.pk, refused.value.kind) == (task.pk, kind)
        assert isinstance(refused.value, StaleTask if kind in HOLDERS_KINDS else IllegalTransition)
        assert projection_of(task).status == before.status
        assert kinds(task)[before.sequence :] == (["reject"] if kind in HOLDERS_KINDS else [])


def test_a_transition_reads_once_and_writes_row_and_event_together(pending_task: Any) -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        apply_kinds(pending_task, EventKind.START)

    assert verbs(made) == [*locking_reads(), *WRITES]


def test_a_batch_of_transitions_costs_what_one_costs() -> None:
    tasks = [create_task(Invoice) for _ in range(20)]

    with CaptureQueriesContext(connections["default"]) as made:
        apply_all([Transition(task, EventKind.START, worker="w1") for task in tasks])

    assert verbs(made) == [*locking_reads(), *WRITES]
    assert {row_of(task).status for task in tasks} == {Status.RUNNING}


def test_nothing_to_move_is_nothing_done() -> None:
    with CaptureQueriesContext(connections["default"]) as made:
        apply_all([])

    assert len(made) == 0


def test_the_row_says_where_the_task_is_not_the_instance(running_task: Any) -> None:
    stale = row_of(running_task)
    apply_kinds(running_task, EventKind.ACK, result="OK")

    apply(stale, EventKind.RESET)

    assert stale.status == Status.PENDING
    assert kinds(stale) == ["enqueue", "start", "ack", "reset"]
    assert fold(stream_of(stale)) == projection_of(stale)


def test_the_instance_says_afterwards_what_the_row_says(pending_task: Any) -> None:
    for kind in (EventKind.START, EventKind.FAIL, EventKind.RESET, EventKind.CANCEL):
        apply_kinds(pending_task, kind, error_data=ERROR if kind is EventKind.FAIL else None)

        row = row_of(pending_task)

        assert attributes(row) == {name: vars(pending_task)[name] for name in attributes(row)}


def test_a_start_counts_the_attempt_and_names_the_worker(pending_task: Any) -> None:
    until = clock.after("default", 30)

    event = apply(pending_task, EventKind.START, worker="w7", values={"check_at": until})

    row = row_of(pending_task)
    assert (row.attempt, row.worker, row.start_time) == (1, "w7", event.event_time)
    assert (row.check_at, event.attempt, event.worker) == (until, 1, "w7")


@pytest.mark.parametrize(
    "kind", [kind for kind in EventKind if (Status.RUNNING, kind) in TRANSITIONS]
)
def test_only_an_unfinished_task_has_a_time_for_recovery(
    kind: EventKind, running_task: Any
) -> None:
    apply_kinds(running_task, kind)

    if kind is not EventKind.DELETE:
        row = row_of(running_task)
        assert (row.check_at is not None) == (row.status in RECOVERABLE)


def test_a_waiting_task_is_looked_at_when_its_message_should_have_been_received(
    running_task: Any, settings: Any
) -> None:
    settings.SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL = 77
    expected = clock.after("default", 77)

    apply_kinds(running_task, EventKind.RELEASE)

    assert abs(row_of(running_task).check_at - expected) < timedelta(seconds=10)


def test_a_task_that_waits_for_its_time_is_looked_at_then(running_task: Any) -> None:
    later = clock.after("default", 5000)

    apply_kinds(running_task, EventKind.RETRY, error_data=ERROR, values={"run_after": later})

    row = row_of(running_task)
    assert row.run_after == row.check_at == later


def test_a_result_stands_on_the_row_and_its_digest_in_the_stream(running_task: Any) -> None:
    result = {"sum": [1, 2], "text": "ü"}

    event = apply(running_task, EventKind.ACK, worker="w1", result=result)

    text = encode(row_of(running_task).result_data)
    assert row_of(running_task).result_data == result
    assert without_salt(event.data) == {"result": {"digest": digest_of(text), "size": len(text)}}


def test_an_error_stands_on_the_row_and_its_type_and_message_in_the_stream(
    running_task: Any,
) -> None:
    event = apply(running_task, EventKind.FAIL, worker="w1", error_data=ERROR)

    row = row_of(running_task)
    assert (row.error_data, row.success) == (ERROR, False)
    text = encode(ERROR)
    summary = {"digest": digest_of(text), "size": len(text)}
    assert without_salt(event.data) == {"error": {"type": "ValueError", "message": "no", **summary}}


def test_what_a_reset_erases_is_kept_in_the_stream(running_task: Any) -> None:
    apply_kinds(running_task, EventKind.ACK, result={"a": 1})

    running_task.reset("again")

    event = stream_of(running_task)[-1]
    erased = {"result_data": {"a": 1}, "error_data": None}
    assert without_salt(event.data) == {"restart": False, "erased": erased}
    assert (event.reason, row_of(running_task).result_data) == ("again", None)


def test_a_reset_that_erases_nothing_says_nothing_of_it(pending_task: Any) -> None:
    pending_task.reset()

    assert stream_of(pending_task)[-1].data == {"restart": False}


def test_evidence_moves_nothing_but_the_end_of_the_stream(running_task: Any) -> None:
    before = row_of(running_task)

    running_task.note("halfway", done=0.5)

    changed = {n for n, v in attributes(row_of(running_task)).items() if v != vars(before)[n]}
    assert changed == {"sequence", "digest"}
    assert stream_of(running_task)[-1].data == {"done": 0.5}


@pytest.mark.parametrize("kind", sorted(HOLDERS_KINDS))
def test_a_stalled_worker_cannot_overwrite_the_new_run(kind: EventKind, running_task: Any) -> None:
    stalled = row_of(running_task)
    apply_kinds(running_task, EventKind.RECOVER, EventKind.START, worker="w2")

    with pytest.raises(StaleTask):
        apply(stalled, kind, worker="w1", result="late", error_data=ERROR)

    row, event = row_of(running_task), stream_of(running_task)[-1]
    assert (row.status, row.attempt, row.worker, row.result_data) == (Status.RUNNING, 2, "w2", None)
    assert event.kind == EventKind.REJECT
    assert event.data == {
        "refused": kind,
        "attempt": 1,
        "worker": "w1",
        "current_attempt": 2,
        "current_worker": "w2",
    }


def test_a_refusal_is_recorded_once_however_often_it_is_asked_for(running_task: Any) -> None:
    stalled = row_of(running_task)
    running_task.cancel()

    for _ in range(3):
        with pytest.raises(StaleTask):
            apply(copy.copy(stalled), EventKind.ACK, worker="w1", result="late")

    assert kinds(running_task) == ["enqueue", "start", "cancel", "reject"]
    assert row_of(running_task).status == Status.CANCELED
    assert broken_links(stream_of(running_task)) == []


def test_a_refusal_that_an_actor_asks_for_again_is_recorded_once(running_task: Any) -> None:
    stalled = row_of(running_task)
    running_task.cancel()

    for _ in range(2):
        with task_context(actor="me", request="POST /"), pytest.raises(StaleTask):
            apply(copy.copy(stalled), EventKind.ACK, worker="w1", result="late")

    assert kinds(running_task) == ["enqueue", "start", "cancel", "reject"]


@pytest.mark.parametrize("kind", sorted(HOLDERS_KINDS - AUDIT_ONLY))
@pytest.mark.parametrize("then", [[], [EventKind.RESET], [EventKind.RESET, EventKind.START]])
def test_an_outcome_whose_reply_was_lost_is_recorded_once(
    then: list[EventKind], kind: EventKind, running_task: Any
) -> None:
    again = copy.copy(running_task)
    first = apply(running_task, kind, worker="w1", result="OK", error_data=ERROR)
    apply_kinds(running_task, *then, worker="w2")
    before = projection_of(running_task)

    second = apply(again, kind, worker="w1", result="OK", error_data=ERROR)

    assert second == first
    assert projection_of(running_task) == before


def test_a_claim_whose_answer_was_lost_is_made_once_and_is_still_a_claim(
    pending_task: Any,
) -> None:
    again = row_of(pending_task)
    first = apply(pending_task, EventKind.START, worker="w1", data={"claim": "c1"})

    second = apply(again, EventKind.START, worker="w1", data={"claim": "c1"})

    assert second == first
    assert (again.status, again.attempt) == (Status.RUNNING, 1)
    assert kinds(pending_task) == ["enqueue", "start"]


@pytest.mark.parametrize("claim", [{"claim": "c2"}, {}])
def test_another_claim_of_a_running_task_is_refused(
    claim: dict[str, str], pending_task: Any
) -> None:
    again = row_of(pending_task)
    apply(pending_task, EventKind.START, worker="w1", data={"claim": "c1"})

    with pytest.raises(IllegalTransition):
        apply(again, EventKind.START, worker="w1", data=claim)

    assert kinds(pending_task) == ["enqueue", "start"]


def test_what_is_not_as_expected_is_stale(running_task: Any) -> None:
    seen = row_of(running_task).check_at

    with pytest.raises(StaleTask):
        apply(
            running_task,
            EventKind.RECOVER,
            expected={"status": Status.RUNNING, "check_at": seen - timedelta(seconds=1)},
        )

    assert kinds(running_task) == ["enqueue", "start"]


def test_a_refused_move_stops_no_other(running_task: Any) -> None:
    other, gone = create_task(Invoice), create_task(Invoice)
    Invoice.objects.filter(pk=gone.pk).delete()
    moves = [Transition(task, EventKind.START, worker="w1") for task in (running_task, gone, other)]

    apply_all(moves)

    assert [type(move.refusal) for move in moves] == [IllegalTransition, TaskGone, type(None)]
    assert [move.event is None for move in moves] == [True, True, False]
    assert row_of(other).status == Status.RUNNING


def test_two_moves_of_one_task_in_one_batch_follow_each_other(pending_task: Any) -> None:
    kinds_asked = [EventKind.NOTE, EventKind.CANCEL, EventKind.CANCEL, EventKind.RESET]
    moves = [Transition(pending_task, kind) for kind in kinds_asked]

    apply_all(moves)

    assert [type(move.refusal) for move in moves][2] is IllegalTransition
    assert kinds(pending_task) == ["enqueue", "note", "cancel", "reset"]
    assert fold(stream_of(pending_task)) == projection_of(pending_task)


@pytest.mark.parametrize("has_changed", [False, True])
def test_two_transitions_from_the_same_known_row_follow_each_other(
    has_changed: bool, pending_task: Any
) -> None:
    """One statement writes both, or neither: then they follow what the row has become."""
    known = known_row(pending_task)
    if has_changed:
        apply(row_of(pending_task), EventKind.NOTE)
    started = {"worker": "w1", "data": {"claim": str(uuid.uuid4())}}
    start = Transition(pending_task, EventKind.START, last_known_row=known, **started)
    note = Transition(pending_task, EventKind.NOTE, last_known_row=known)

    apply_all([start, note], skip_locked=True)

    assert kinds(pending_task) == ["enqueue", *["note"] * has_changed, "start", "note"]
    assert not broken_links(stream_of(pending_task))
    assert (start.event.pk, note.event.pk) == tuple(e.pk for e in stream_of(pending_task)[-2:])
    assert row_of(pending_task).sequence == note.event.sequence


def test_tasks_of_two_databases_are_each_moved_where_they_are() -> None:
    here, there = Reminder(text="here"), Reminder(text="there")
    here.save()
    there.save(using="other")

    apply_all([Transition(task, EventKind.START, worker="w1") for task in (here, there)])
    apply_all([Transition(there, EventKind.ACK, worker="w1")])

    assert [row_of(here).status, row_of(there).status] == [Status.RUNNING, Status.SUCCESS]
    assert (kinds(here), kinds(there)) == (["enqueue", "start"], ["enqueue", "start", "ack"])


class ReplicaRouter:
    """Reads come from ``other``, writes go to ``default``."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "other"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


def test_a_task_that_was_read_from_a_replica_is_moved_where_it_is_written(
    settings: Any, commit: Any
) -> None:
    task = create_task(Reminder)
    replica = copy.copy(task)
    replica._state = copy.copy(task._state)
    replica._state.db = "other"
    settings.DATABASE_ROUTERS = [ReplicaRouter()]

    with commit():
        replica.reset()

    assert kinds(task) == ["enqueue", "reset"]
    assert "using" not in replica.get_task_data()


@pytest.mark.parametrize(("using", "suffix"), [("default", ""), ("other", "@other")])
def test_without_routers_a_message_names_a_database_that_is_not_the_default_one(
    using: str, suffix: str, settings: Any
) -> None:
    settings.DATABASE_ROUTERS = []
    task = Reminder(pk=7)
    task._state.db = using

    assert task.get_task_id().partition("@")[1:] == suffix.partition("@")[1:]
    assert task.get_task_data().get("using", "default") == using


def test_a_row_that_is_gone_cannot_be_moved(pending_task: Any) -> None:
    pk = pending_task.pk
    Invoice.objects.filter(pk=pk).delete()

    with pytest.raises(TaskGone) as refused:
        pending_task.cancel()

    assert (refused.value.pk, refused.value.kind) == (pk, EventKind.CANCEL)


def test_an_unsaved_task_cannot_be_moved() -> None:
    with pytest.raises(TaskGone):
        Invoice().cancel()


@pytest.mark.parametrize("kind", [EventKind.START, EventKind.CANCEL, EventKind.NOTE])
def test_a_receiver_that_raises_within_the_transaction_undoes_the_move(
    kind: EventKind, pending_task: Any, commit: Any, received: Any
) -> None:
    before, row = attributes(pending_task), projection_of(pending_task)

    with commit(), refusing(kind), pytest.raises(Refusal):
        apply(pending_task, kind, worker="w1")

    assert attributes(pending_task) == before
    assert projection_of(pending_task) == row
    assert kinds(pending_task) == ["enqueue"]
    assert {signal for signal, *_ in received} <= {event_recorded}


def test_an_undone_move_leaves_deferred_columns_deferred(pending_task: Any) -> None:
    task = Invoice.objects.only("pk").get(pk=pending_task.pk)
    before = attributes(task)

    with refusing(EventKind.CANCEL), pytest.raises(Refusal):
        task.cancel()

    assert attributes(task) == before
    assert task.status == Status.PENDING


def sent(received: Any, signal: Any) -> list[str]:
    """The kinds of the events for which ``signal`` was sent, in order."""
    return [str(event.kind) for one, _, _, event in received if one is signal]


@pytest.mark.django_db(transaction=True)
def test_a_receiver_may_move_the_task_and_what_follows_comes_in_order(
    listen: Any, received: Any
) -> None:
    def move_on(task: Any, event: Any, **_: Any) -> None:
        if event.kind is EventKind.ENQUEUE:
            task.note("seen")
        elif event.kind is EventKind.START:
            task.cancel()

    listen(move_on, event_recorded)
    task = apply_kinds(create_task(Invoice), EventKind.START)

    expected = ["enqueue", "note", "start", "cancel"]
    assert kinds(task) == sent(received, task_transitioned) == expected
    assert (task.status, row_of(task).status) == (Status.CANCELED, Status.CANCELED)
    assert broken_links(stream_of(task)) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("move", ["cancel", "note", "save"])
def test_a_receiver_of_post_save_may_move_the_task_and_what_follows_comes_in_order(
    move: str, received: Any, request: Any
) -> None:
    def move_on(instance: Any, created: bool, **_: Any) -> None:
        if created:
            getattr(instance, move)()

    post_save.connect(move_on, sender=Invoice)
    request.addfinalizer(lambda: post_save.disconnect(move_on, sender=Invoice))
    task = create_task(Invoice)

    expected = ["enqueue"] if move == "save" else ["enqueue", move]
    assert kinds(task) == sent(received, task_transitioned) == expected
    assert message_count(task) == (move != "cancel")
    assert broken_links(stream_of(task)) == []


def test_what_a_receiver_assigns_to_the_schedule_of_a_new_task_can_be_saved(listen: Any) -> None:
    later = clock.after("default", 3600)

    def postpone(task: Any, **_: Any) -> None:
        task.run_after = later

    listen(postpone, event_recorded)
    task = create_task(Invoice)
    task.save()

    assert row_of(task).run_after == later


def test_a_connection_cut_twice_is_no_fault_of_a_task() -> None:
    cuts = iter([True, True])

    def cut_off(execute: Any, sql: str, *rest: Any) -> Any:
        if "UPDATE" in sql and next(cuts, False):
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *rest)

    moves = [Transition(create_task(Invoice), EventKind.START, worker="w1") for _ in range(2)]
    with connections["default"].execute_wrapper(cut_off):
        apply_each(moves)

    assert [(move.event is not None, move.error) for move in moves] == [(True, None)] * 2
    assert next(cuts, None) is None


def test_a_receiver_that_raises_undoes_the_whole_batch() -> None:
    first, second = create_task(Invoice), bring_to(create_task(Invoice), Status.RUNNING)
    moves = [
        Transition(first, EventKind.START, worker="w1"),
        Transition(second, EventKind.ACK, worker="w1", result="OK"),
    ]

    with refusing(EventKind.ACK), pytest.raises(Refusal):
        apply_all(moves)

    assert [row_of(first).status, row_of(second).status] == [Status.PENDING, Status.RUNNING]
    assert [first.status, second.status, second.result_data] == [
        Status.PENDING,
        Status.RUNNING,
        None,
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("model", [Invoice, UuidKeyed, TextKeyed], ids=label_of)
def test_a_receiver_that_raises_undoes_a_first_event_and_it_can_be_tried_again(
    model: type[Any],
) -> None:
    task = make_task(model)
    before = attributes(task)
    with refusing(EventKind.ENQUEUE), pytest.raises(Refusal):
        task.save()
    undone = (attributes(task), task._state.adding)

    task.save()

    assert undone == (before, True)
    assert kinds(task) == ["enqueue"]
    assert message_count(task) == 1


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_undoes_a_bulk_of_first_event() -> None:
    tasks = [Invoice() for _ in range(3)]

    with refusing(EventKind.ENQUEUE), pytest.raises(Refusal):
        Invoice.objects.bulk_create(tasks)

    assert not Invoice.objects.exists()
    assert [(task.pk, task.sequence, task._state.adding) for task in tasks] == [(None, 0, True)] * 3
    assert message_count(Invoice) == 0


def test_a_receiver_within_the_transaction_sees_the_row_as_it_will_be(listen: Any) -> None:
    seen: list[Status] = []
    listen(lambda task, **_: seen.append(row_of(task).status), event_recorded)

    bring_to(create_task(Invoice), Status.SUCCESS)

    assert seen == [Status.PENDING, Status.RUNNING, Status.SUCCESS]


@pytest.mark.parametrize("kind", [EventKind.START, EventKind.CANCEL, EventKind.NOTE])
def test_a_row_that_came_past_save_is_given_its_first_event_first(kind: EventKind) -> None:
    (task,) = Gadget.things.bulk_create([Gadget()])

    apply_kinds(task, kind)

    assert kinds(task) == ["enqueue", kind]
    assert fold(stream_of(task)) == projection_of(task)
    assert broken_links(stream_of(task)) == []
    assert kind is EventKind.NOTE or row_of(task).check_at is None or kind is EventKind.START


def test_the_stream_says_as_which_model_a_row_was_saved() -> None:
    tasks = [create_task(model) for model in (Invoice, PaidInvoice, ForeignInvoice)]

    first_events = [stream_of(task)[0].data for task in tasks]

    assert first_events == [
        None,
        {"model": "testapp.PaidInvoice"},
        {"model": "testapp.ForeignInvoice"},
    ]


def test_a_key_that_comes_again_goes_on_with_its_stream() -> None:
    first = bring_to(create_task(TextKeyed, id="order 17"), Status.RUNNING)
    stalled = row_of(first)
    first.delete()

    again = bring_to(create_task(TextKeyed, id="order 17"), Status.RUNNING)

    assert kinds(again) == ["enqueue", "start", "delete", "enqueue", "start"]
    assert fold(stream_of(again)) == projection_of(again)
    assert broken_links(stream_of(again)) == []
    with pytest.raises(StaleTask):
        apply(stalled, EventKind.ACK, worker="w1", result="of another life")


def test_keys_that_come_again_in_bulk_go_on_with_their_streams() -> None:
    create_task(TextKeyed, id="a").delete()

    tasks = TextKeyed.objects.bulk_enqueue([{"id": "a"}, {"id": "b"}])

    assert [kinds(task) for task in tasks] == [["enqueue", "delete", "enqueue"], ["enqueue"]]


def test_a_drawn_key_that_is_chosen_again_goes_on_with_its_stream() -> None:
    key = uuid.uuid5(uuid.NAMESPACE_URL, "order/17")
    create_task(UuidKeyed, id=key).delete()

    again = bring_to(create_task(UuidKeyed, id=key), Status.RUNNING)

    assert kinds(again) == ["enqueue", "delete", "enqueue", "start"]
    assert broken_links(stream_of(again)) == []


@pytest.mark.parametrize("kind", [EventKind.START, EventKind.CANCEL, EventKind.NOTE])
def test_a_row_that_came_past_save_under_an_old_key_goes_on_with_its_stream(
    kind: EventKind,
) -> None:
    first = bring_to(create_task(TextKeyed, id="a"), Status.RUNNING)
    first.delete()
    models.QuerySet(TextKeyed).bulk_create([TextKeyed(id="a"), TextKeyed(id="b")])
    tasks = list(models.QuerySet(TextKeyed).order_by("pk"))

    apply_all([Transition(task, kind, worker="w2") for task in tasks])

    assert kinds(tasks[0]) == ["enqueue", "start", "delete", "enqueue", kind]
    assert kinds(tasks[1]) == ["enqueue", kind]
    assert row_of(tasks[0]).attempt == 1 + (kind is EventKind.START)
    assert [fold(stream_of(task)) for task in tasks] == [projection_of(task) for task in tasks]
    assert broken_links(stream_of(tasks[0])) == []


def test_two_moves_of_a_row_that_came_past_save_give_it_one_first_event() -> None:
    (task,) = Gadget.things.bulk_create([Gadget()])

    apply_all([Transition(task, EventKind.NOTE), Transition(task, EventKind.START, worker="w1")])

    assert kinds(task) == ["enqueue", "note", "start"]


@pytest.mark.parametrize("spelling", ["{}", "{.hex}"])
def test_the_seal_of_a_key_given_as_text_holds_when_it_is_read(spelling: str) -> None:
    task = UuidKeyed(id=spelling.format(uuid.uuid4()).upper())
    task.save()

    apply_kinds(task, EventKind.START, EventKind.ACK)

    assert broken_links(stream_of(row_of(task))) == []
    assert isinstance(task.pk, uuid.UUID)


def test_the_data_of_an_event_is_cut_and_sealed_as_it_will_be_read(
    settings: Any, pending_task: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT = 500

    pending_task.note(text="ü" * 1000, thing=object())

    assert stream_of(pending_task)[-1].data["size"] > options.result_size_limit
    assert broken_links(stream_of(pending_task)) == []


def test_a_move_by_a_manager_that_hides_the_row_is_made_all_the_same() -> None:
    task = create_task(Secret, hidden=True)

    task.cancel()

    assert not Secret.objects.filter(pk=task.pk).exists()
    assert models.QuerySet(Secret).get(pk=task.pk).status == Status.CANCELED
