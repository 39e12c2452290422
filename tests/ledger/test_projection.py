"""The fold of a stream is the row, whatever happened."""

import random
from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.ledger.projection import PROJECTED, Projection, broken_links, fold
from django_simpletask3.ledger.task_row import has_expiry
from django_simpletask3.states import TRANSITIONS, EventKind, Holder, Status, kinds_where
from tests.steps import (
    TASK_MODELS,
    apply_kinds,
    bring_to,
    create_task,
    label_of,
    projection_of,
    row_of,
    stream_of,
)
from tests.testapp.models import Invoice

#: Kinds that only the attempt that holds the lease records.
HOLDERS_KINDS = frozenset(kinds_where(lambda spec: spec.holder is Holder.ALWAYS))

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "no", "traceback": "..."}
DETAILS: dict[EventKind, dict[str, Any]] = {
    EventKind.ACK: {"result": {"sum": [1, 2.5, "ü\x00"]}},
    EventKind.FAIL: {"error": ERROR},
    EventKind.RETRY: {"error": ERROR},
    EventKind.DROP: {"error": ERROR},
    EventKind.NOTE: {"data": {"done": 0.5}},
}
#: What can happen to a task that has its row, and stays.
STEPS = {
    status: sorted(
        kind
        for source, kind in TRANSITIONS
        if source is status and kind not in (EventKind.DELETE, EventKind.REJECT)
    )
    for status in Status
}


def may_happen(kind: EventKind, task: Any) -> bool:
    """Whether it can happen now: no task of a model whose tasks expire has expired."""
    return kind is not EventKind.EXPIRE or not has_expiry(type(task))


def lived(task: Any, seed: int, steps: int = 14) -> list[EventKind]:
    """Let legal things happen to ``task``, drawn by lot."""
    lot = random.Random(seed)
    happened = []
    for _ in range(steps):
        kind = lot.choice([k for k in STEPS[row_of(task).status] if may_happen(k, task)])
        apply_kinds(task, kind, **DETAILS.get(kind, {}))
        happened.append(kind)
    return happened


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2))]
)
@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_the_fold_of_the_stream_is_the_row_whatever_happened(model: type[Any], seed: int) -> None:
    task = create_task(model)

    happened = lived(task, seed)

    events = stream_of(task)
    assert [event.kind for event in events[1:]] == happened
    assert fold(events) == projection_of(task) == Projection.of(task)
    assert broken_links(events) == []


def test_every_arrow_but_first_event_and_death_can_be_drawn_by_lot() -> None:
    drawn = {(status, kind) for status, kinds in STEPS.items() for kind in kinds}

    missing = {kind for _, kind in TRANSITIONS.keys() - drawn}

    assert missing == {EventKind.ENQUEUE, EventKind.DELETE, EventKind.REJECT}


def test_what_a_row_says_at_any_time_is_the_fold_up_to_there() -> None:
    task = create_task(Invoice)
    seen = [projection_of(task)]
    for kind in [EventKind.START, EventKind.RETRY, EventKind.START, EventKind.ACK, EventKind.RESET]:
        apply_kinds(task, kind, **DETAILS.get(kind, {}))
        seen.append(projection_of(task))

    events = stream_of(task)

    assert [fold(events[: n + 1]) for n in range(len(events))] == seen


def test_a_deleted_task_folds_to_no_row() -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    pk = task.pk

    task.delete()

    assert fold(stream_of(task, pk)).status is None


def test_a_stream_that_cannot_have_happened_does_not_fold() -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)

    with pytest.raises(IllegalTransition):
        fold(stream_of(task)[:1] * 2)


def test_a_row_that_says_something_else_is_distinguished_column_by_column() -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    before = fold(stream_of(task))
    apply_kinds(task, EventKind.ACK)

    reported = before.differences(projection_of(task))

    assert reported["status"] == (Status.RUNNING, Status.SUCCESS)
    assert reported.keys() == {
        "status",
        "sequence",
        "digest",
        "done_time",
        "success",
        "result_time",
    }
    assert before.differences(before) == {}


def test_the_fold_covers_every_projected_column_but_the_results() -> None:
    folded = set(Projection._fields)

    assert set(PROJECTED) - folded == {"result_data", "error_data"}
    assert folded <= set(PROJECTED)


@pytest.mark.parametrize("kind", sorted(HOLDERS_KINDS))
def test_a_task_that_is_tried_again_has_no_traces_of_the_last_try(kind: EventKind) -> None:
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, kind, **DETAILS.get(kind, {}))

    apply_kinds(task, EventKind.RESET)

    row = row_of(task)
    assert (row.start_time, row.done_time, row.success, row.result_time) == (None,) * 4
    assert (row.result_data, row.error_data, row.worker) == (None, None, "")


def test_a_task_can_be_asked_what_it_was() -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    task.reset("again")
    events = stream_of(task)

    found = [task.state_at(event.event_time).status for event in events]

    assert found == [Status.PENDING, Status.RUNNING, Status.SUCCESS, Status.PENDING]
    assert task.state_at(events[0].event_time - timedelta(seconds=1)) == Projection()
    assert task.state_at(events[-1].event_time) == projection_of(task)
