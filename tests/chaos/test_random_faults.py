"""Half a minute of kills at random instants: the promise, one clause after the other."""

import pytest

from tests.chaos.conftest import Report


def test_the_storm_was_one(storm: Report) -> None:
    faults = storm["faults"]

    assert faults["processes killed"] >= 20
    assert {"child", "supervisor"} <= set(faults["by"])
    assert storm["tasks"]["tasks"] >= 100
    assert storm["tasks"]["recover"] > 0


@pytest.mark.parametrize(
    "clause",
    [
        "lost",
        "recorded twice",
        "unexplained executions",
        "streams that do not give the row",
        "findings of the audit",
        "leaked",
    ],
)
def test_nothing_is(storm: Report, clause: str) -> None:
    assert storm["promise"][clause] == 0, storm["violations"]


def test_rows_streams_and_witnesses_agree(storm: Report) -> None:
    assert storm["violations"] == "none"


def test_no_caller_saw_an_error_that_was_not_the_databases(storm: Report) -> None:
    assert storm["producers"]["unforeseen"] == []


def test_no_node_ended_by_itself(storm: Report) -> None:
    assert storm["nodes"]["surprises"] == []
