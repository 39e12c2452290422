"""Crashes and lost replies after each Redis command, statement and commit of a task."""

from collections import Counter

import pytest

from tests.chaos.conftest import CRASH_POINTS, Report


def test_every_scenario_was_crashed(crashes: Counter[str]) -> None:
    assert len(crashes) >= 16
    assert all(crashes.values()), crashes
    assert crashes.total() >= 150


@pytest.mark.parametrize("scenario", ["killed_child", "killed_node"])
def test_no_step_of_a_task_was_left_out(crashes: Counter[str], scenario: str) -> None:
    assert crashes[scenario] >= 40


def test_no_crash_violates_an_invariant(crash_points: list[Report]) -> None:
    assert [report["violations"] for report in crash_points] == ["none"] * len(CRASH_POINTS)
