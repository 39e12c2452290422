"""The machine, arrow by arrow, against the table it was designed as."""

from operator import attrgetter
from typing import Any
from unittest.mock import Mock

import pytest

from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.ledger.fields import KIND
from django_simpletask3.schema import inferred_events
from django_simpletask3.signals import SIGNALS
from django_simpletask3.states import (
    EVENTS,
    FINAL,
    RECOVERABLE,
    TRANSITIONS,
    UNFINISHED,
    EventKind,
    EventSpec,
    Holder,
    Status,
    kinds_where,
    target,
)
from django_simpletask3.worker.node.counters import Counters

#: Kinds that only the attempt that holds the lease records.
HOLDERS_KINDS = frozenset(kinds_where(lambda spec: spec.holder is Holder.ALWAYS))
#: kind | from | to, as in the documentation; "same" moves nothing, "none" is no row.
TABLE = """
enqueue | none             | PENDING
start   | PENDING          | RUNNING
ack     | RUNNING          | SUCCESS
fail    | RUNNING          | FAILED
retry   | RUNNING          | PENDING
snooze  | RUNNING          | PENDING
recover | RUNNING, PENDING | PENDING
drop    | RUNNING, PENDING | FAILED
release | RUNNING          | PENDING
block   | PENDING          | BLOCKED
unblock | BLOCKED          | PENDING
cancel  | PENDING, BLOCKED, RUNNING | CANCELED
expire  | PENDING, BLOCKED | CANCELED
reset   | any              | PENDING
reject  | any              | same
note    | any              | same
checkpoint | RUNNING       | same
hold    | any              | same
lift    | any              | same
erase   | any              | same
delete  | any              | none
"""
NUMBERS = {
    "PENDING": 0,
    "BLOCKED": 5,
    "RUNNING": 10,
    "SUCCESS": 20,
    "FAILED": 30,
    "CANCELED": 40,
}


def statuses(words: str) -> list[Status | None]:
    if words == "any":
        return list(Status)
    return [None if word == "none" else Status[word] for word in words.split(", ")]


def arrows() -> dict[tuple[Status | None, EventKind], Status | None]:
    found: dict[tuple[Status | None, EventKind], Status | None] = {}
    for line in TABLE.strip().splitlines():
        kind, sources, after = (word.strip() for word in line.split("|"))
        for source in statuses(sources):
            found[source, EventKind(kind)] = source if after == "same" else statuses(after)[0]
    return found


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("status", [None, *Status])
def test_only_drawn_arrows_exist(status: Status | None, kind: EventKind) -> None:
    drawn = arrows()

    if (status, kind) not in drawn:
        with pytest.raises(IllegalTransition) as refused:
            target(status, kind)
        assert refused.value.kind == kind
    else:
        assert target(status, kind) is drawn[status, kind]


def test_the_table_holds_nothing_else() -> None:
    assert dict(TRANSITIONS) == arrows()


def test_the_numbers_that_are_stored_stay_what_they_are() -> None:
    assert {status.name: int(status) for status in Status} == NUMBERS


@pytest.mark.parametrize("status", Status)
def test_a_state_is_final_if_no_worker_can_leave_it(status: Status) -> None:
    leaving = {kind for source, kind in TRANSITIONS if source is status} & (
        HOLDERS_KINDS | {EventKind.START, EventKind.UNBLOCK}
    )

    assert status.is_final == (not leaving)


def test_a_worker_may_say_outcome_of_a_running_task_only() -> None:
    sources = {source for source, kind in TRANSITIONS if kind in HOLDERS_KINDS}

    assert sources == {Status.RUNNING}


def test_no_one_changes_the_machine() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[Status.SUCCESS, EventKind.START] = Status.RUNNING  # type: ignore[index]


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_its_meaning_a_label_and_signals(kind: EventKind) -> None:
    places = {"states.EVENTS": EVENTS, "ledger.fields.KIND": dict(KIND), "signals.SIGNALS": SIGNALS}
    assert [place for place, kinds in places.items() if kind not in kinds] == []


def test_an_event_that_does_not_change_the_state_can_happen_in_any_status() -> None:
    with pytest.raises(ValueError, match="ANY"):
        EventSpec(frozenset({Status.PENDING}), None, changes_state=False)


@pytest.mark.parametrize("kind", EventKind)
def test_a_kind_of_the_holder_leaves_running_tasks_only(kind: EventKind) -> None:
    if EVENTS[kind].holder is Holder.ALWAYS:
        assert EVENTS[kind].sources == {Status.RUNNING}


@pytest.mark.parametrize("kind", kinds_where(lambda spec: bool(spec.counter)))
def test_workers_count_it(kind: EventKind) -> None:
    counters = Counters()

    counters.count([Mock(last_transition=Mock(kind=kind))])

    assert counters.read()[EVENTS[kind].counter] == 1


@pytest.mark.parametrize("status", Status)
def test_backfill_can_infer_every_status(status: Status) -> None:
    kinds = inferred_events._KINDS_BY_STATUS[status]

    steps: list[Status | None] = [None]
    for kind in kinds:
        steps.append(target(steps[-1], kind))
    assert steps[-1] is status


@pytest.mark.parametrize("status", Status)
def test_every_status_is_final_or_unfinished(status: Status) -> None:
    assert (status in FINAL) != (status in UNFINISHED)
    assert RECOVERABLE <= UNFINISHED


@pytest.mark.parametrize(("source", "kind"), [(7, EventKind.START), (Status.PENDING, "later")])
def test_what_a_newer_version_knows_is_refused(source: Any, kind: Any) -> None:
    with pytest.raises(IllegalTransition):
        target(source, kind)


def test_what_ends_an_attempt_or_the_waiting_of_a_task() -> None:
    names = {"ends_attempt": "ack fail retry snooze recover drop release"}
    names["is_outcome"] = "ack fail retry snooze release cancel"
    names["ends_waiting"] = "block unblock cancel expire reset delete"

    for name, kinds in names.items():
        assert set(kinds_where(attrgetter(name))) == set(kinds.split())
