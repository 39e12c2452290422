"""A minute of faults at random moments, after which every guarantee holds."""

import pytest

from tests.chaos.conftest import Report


def test_there_were_enough_faults(random_faults: Report) -> None:
    faults = random_faults["faults"]

    assert faults["processes killed"] >= 20
    assert {"child", "supervisor"} <= set(faults["by"])
    assert random_faults["tasks"]["tasks"] >= 100
    assert random_faults["tasks"]["calls"] >= 20
    assert random_faults["tasks"]["ticks"] >= 30
    happened = ("recover", "snooze", "retry", "cancel", "expire", "checkpoint", "progress")
    assert all(random_faults["tasks"].get(kind, 0) > 0 for kind in happened), random_faults["tasks"]


@pytest.mark.parametrize(
    "guarantee",
    [
        "lost",
        "recorded twice",
        "unexplained executions",
        "effects that are not one",
        "streams that do not give the row",
        "findings of the audit",
        "leaked",
        "limits exceeded",
        "dependents not released once",
        "calls that did not end as they had to",
        "ticks not fired once",
    ],
)
def test_nothing_is(random_faults: Report, guarantee: str) -> None:
    assert random_faults["guarantees"][guarantee] == 0, random_faults["violations"]


def test_rows_streams_and_execution_log_agree(random_faults: Report) -> None:
    assert random_faults["violations"] == "none"


def test_no_caller_saw_an_error_that_was_not_the_databases(random_faults: Report) -> None:
    assert random_faults["producers"]["unforeseen"] == []


def test_no_node_ended_by_itself(random_faults: Report) -> None:
    assert random_faults["nodes"]["anomalies"] == []
