"""The machine, arrow by arrow, against the table it was designed as."""

import pytest

from django_simpletask3.exceptions import IllegalTransition
from django_simpletask3.states import FENCED, TRANSITIONS, EventKind, Status, target

#: kind | from | to, as in the documentation; "same" moves nothing, "none" is no row.
TABLE = """
enqueue | none             | PENDING
start   | PENDING          | RUNNING
ack     | RUNNING          | SUCCESS
fail    | RUNNING          | FAILED
retry   | RUNNING          | PENDING
recover | RUNNING, PENDING | PENDING
drop    | RUNNING, PENDING | FAILED
release | RUNNING          | PENDING
cancel  | PENDING, RUNNING | CANCELED
reset   | any              | PENDING
reject  | any              | same
note    | any              | same
hold    | any              | same
lift    | any              | same
erase   | any              | same
delete  | any              | none
"""
NUMBERS = {"PENDING": 0, "RUNNING": 10, "SUCCESS": 20, "FAILED": 30, "CANCELED": 40}


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
        FENCED | {EventKind.START}
    )

    assert status.is_final == (not leaving)


def test_a_worker_may_say_last_words_of_a_running_task_only() -> None:
    sources = {source for source, kind in TRANSITIONS if kind in FENCED}

    assert sources == {Status.RUNNING}


def test_nobody_changes_the_machine() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[Status.SUCCESS, EventKind.START] = Status.RUNNING  # type: ignore[index]
