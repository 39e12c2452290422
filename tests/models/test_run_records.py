"""What the records of a task's runs say, whatever happened to the task."""

import pickle
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_simpletask3.context import task_context
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.models import RunRecord, prefetch_runs
from django_simpletask3.models.run_records import fold_runs
from django_simpletask3.states import AUDIT_ONLY, EVENTS, TRANSITIONS, EventKind, Status
from tests.ledger.test_projection import DETAILS, lived
from tests.steps import TASK_MODELS, apply_kinds, bring_to, create_task, label_of, stream_of
from tests.testapp.models import Elsewhere, Invoice, InvoiceEvent, PaidInvoice

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
#: The kinds that end a run.
ENDS = sorted(
    kind
    for (source, kind), target in TRANSITIONS.items()
    if source is Status.RUNNING and target is not Status.RUNNING
)
ERROR = {"type": "SMTPServerDisconnected", "message": "connection lost"}


def event(kind: Any, *statuses: Any, attempt: int = 1, second: int = 0, **columns: Any) -> Any:
    """An event that changes the first of ``statuses`` to the second."""
    before, after = statuses
    return InvoiceEvent(
        kind=kind,
        from_status=before,
        to_status=after,
        attempt=attempt,
        event_time=NOON + timedelta(seconds=second),
        **{"worker": "w1", **columns},
    )


def started(attempt: int = 1, second: int = 0, **columns: Any) -> Any:
    statuses = Status.PENDING, Status.RUNNING
    return event(EventKind.START, *statuses, attempt=attempt, second=second, **columns)


def ended(kind: EventKind, attempt: int = 1, second: int = 5, **columns: Any) -> Any:
    statuses = Status.RUNNING, EVENTS[kind].target
    return event(kind, *statuses, attempt=attempt, second=second, **columns)


def test_a_task_that_has_not_started_has_no_runs() -> None:
    assert fold_runs([event(EventKind.ENQUEUE, None, Status.PENDING, attempt=0)]) == []


def test_a_run_has_no_outcome_while_it_lasts() -> None:
    noted = event(EventKind.NOTE, Status.RUNNING, Status.RUNNING)

    assert fold_runs([started(), noted]) == [RunRecord(1, "w1", NOON)]


@pytest.mark.parametrize("kind", ENDS)
def test_each_kind_that_ends_a_run_is_its_outcome(kind: EventKind) -> None:
    events = [started(), ended(kind, worker="", reason="because", data={"error": ERROR})]

    (run,) = fold_runs(events)

    end = NOON + timedelta(seconds=5)
    assert run == RunRecord(1, "w1", NOON, end, kind, "because", ERROR)


@pytest.mark.parametrize("kind", sorted(set(AUDIT_ONLY) - {EventKind.REJECT}))
def test_an_event_that_changes_no_status_changes_no_run(kind: EventKind) -> None:
    running = event(kind, Status.RUNNING, Status.RUNNING, second=3, data={"error": ERROR})
    final = event(kind, Status.SUCCESS, Status.SUCCESS, second=9, data={"error": ERROR})

    runs = fold_runs([started(), running, ended(EventKind.ACK), final])

    assert runs == fold_runs([started(), ended(EventKind.ACK)])


@pytest.mark.parametrize("kind", [EventKind.BLOCK, EventKind.CANCEL, EventKind.EXPIRE])
def test_what_happens_to_a_waiting_task_changes_no_run(kind: EventKind) -> None:
    later = event(kind, Status.PENDING, EVENTS[kind].target, second=9, reason="later")

    runs = fold_runs([started(), ended(EventKind.RETRY, data={"error": ERROR}), later])

    assert [(run.outcome, run.reason, run.error) for run in runs] == [("retry", "", ERROR)]


def test_each_claim_has_its_own_run() -> None:
    events = [
        started(1, 0, worker="a"),
        ended(EventKind.RETRY, 1, 1, data={"error": {**ERROR, "size": 3}, "traceback": "..."}),
        started(2, 2, worker="b"),
        ended(EventKind.RECOVER, 2, 3, reason="lease_expired"),
        started(3, 4, worker="c"),
    ]

    runs = fold_runs(events)

    assert [(run.number, run.worker, run.outcome, run.reason, run.error) for run in runs] == [
        (1, "a", "retry", "", ERROR),
        (2, "b", "recover", "lease_expired", None),
        (3, "c", None, "", None),
    ]


def test_a_late_outcome_stands_at_the_run_that_was_too_late() -> None:
    late = event(
        EventKind.REJECT,
        *(Status.RUNNING, Status.RUNNING),
        attempt=2,
        data={"refused": "ack", "attempt": 1},
    )

    runs = fold_runs([started(1), ended(EventKind.RECOVER, 1), started(2, 6, worker="b"), late])

    assert [(run.number, run.outcome, run.refused) for run in runs] == [
        (1, "recover", "ack"),
        (2, None, ""),
    ]


def test_a_kind_of_a_newer_version_ends_a_run_by_its_statuses() -> None:
    pause = event("pause", Status.RUNNING, 7, second=5)
    remark = event("remark", 7, 7, second=6)
    resume = event("resume", 7, Status.RUNNING, attempt=2, second=7)

    runs = fold_runs([started(), pause, remark, resume])

    assert [(run.number, run.outcome, run.end) for run in runs] == [
        (1, "pause", NOON + timedelta(seconds=5)),
        (2, None, None),
    ]


@pytest.mark.parametrize("data", [None, [], "text", {"error": "text"}, {"attempt": 1}])
def test_data_of_any_form_are_no_obstacle(data: Any) -> None:
    late = event(EventKind.REJECT, Status.FAILED, Status.FAILED, data=data)

    (run,) = fold_runs([started(), ended(EventKind.FAIL, data=data), late])

    assert (run.outcome, run.error, run.refused) == ("fail", None, "")


def test_events_without_a_beginning_have_no_run() -> None:
    assert fold_runs([ended(EventKind.ACK), event("hold", Status.SUCCESS, Status.SUCCESS)]) == []


@pytest.mark.parametrize("seed", range(20))
def test_the_fold_is_pure(seed: int) -> None:
    lot = random.Random(seed)
    events = []
    for attempt in range(1, 31):
        events += [started(attempt, attempt), ended(lot.choice(ENDS), attempt, attempt)]

    runs = fold_runs(events)

    assert runs == fold_runs(iter(events))
    assert [run.number for run in runs] == [*range(1, 31)]
    assert [run.outcome for run in runs] == [end.kind for end in events[1::2]]


@pytest.mark.django_db
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_the_runs_of_a_task_are_those_of_its_stream(model: type[Any]) -> None:
    task = create_task(model)
    lived(task, seed=1)
    task.note("late remark")

    runs = task.runs

    stream = stream_of(task)
    assert runs == fold_runs(stream)
    assert [run.number for run in runs] == [e.attempt for e in stream if e.kind == "start"]


@pytest.mark.django_db
def test_a_failure_has_its_error_until_it_is_erased(pending_task: Any) -> None:
    apply_kinds(pending_task, EventKind.START)
    apply_kinds(pending_task, EventKind.FAIL, error_data={**ERROR, "traceback": "..."})
    (failed,) = pending_task.runs

    pending_task.erase("asked by the customer")

    (erased,) = pending_task.runs
    assert failed.error == ERROR
    assert (erased.error, erased.outcome, erased.end) == (None, EventKind.FAIL, failed.end)


@pytest.mark.django_db
def test_a_superseded_run_tells_of_its_late_result(running_task: Any) -> None:
    late = Invoice.objects.get(pk=running_task.pk)
    with task_context(actor="Ada"):
        running_task.reset("wrong amount")
    with pytest.raises(StaleTask):
        apply_kinds(late, EventKind.ACK, result="OK")

    (run,) = running_task.runs

    assert (run.outcome, run.reason, run.refused) == (EventKind.RESET, "wrong amount", "ack")


@pytest.mark.django_db
def test_the_runs_of_a_task_take_one_query(finished_task: Any, django_assert_num_queries) -> None:
    with django_assert_num_queries(1):
        assert len(finished_task.runs) == 1


@pytest.mark.django_db
def test_the_runs_of_many_tasks_take_one_query(django_assert_num_queries: Any) -> None:
    tasks = [
        *(bring_to(Invoice.objects.create(), status, **DETAILS.get(kind, {}))
          for status, kind in [(Status.SUCCESS, EventKind.ACK), (Status.PENDING, EventKind.NOTE)]),
        bring_to(PaidInvoice.objects.create(), Status.RUNNING),
    ]  # fmt: skip

    with django_assert_num_queries(1):
        prefetch_runs(tasks)
        outcomes = [[run.outcome for run in task.runs] for task in tasks]

    assert outcomes == [[EventKind.ACK], [], [None]]


@pytest.mark.django_db
def test_tasks_of_several_tables_and_databases_are_prefetched_together() -> None:
    tasks = [bring_to(create_task(model), Status.RUNNING) for model in (Invoice, Elsewhere)]

    prefetch_runs([*tasks, Invoice()])

    assert [len(task.runs) for task in tasks] == [1, 1]


@pytest.mark.django_db
def test_prefetched_runs_are_read_again_after_a_new_event(running_task: Any) -> None:
    prefetch_runs([running_task])
    running_task.runs.clear()

    apply_kinds(running_task, EventKind.ACK)

    assert [run.outcome for run in running_task.runs] == [EventKind.ACK]


@pytest.mark.django_db
def test_a_task_with_prefetched_runs_can_be_pickled(running_task: Any) -> None:
    prefetch_runs([running_task])

    assert pickle.loads(pickle.dumps(running_task)).runs == running_task.runs


@pytest.mark.django_db
def test_a_deleted_task_has_no_runs(running_task: Any) -> None:
    running_task.delete()

    assert running_task.runs == []
