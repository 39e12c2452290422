"""Crashes and lost replies after each Redis command, statement and commit of a task."""

from collections import Counter

import pytest

from tests.chaos.conftest import CRASH_POINTS, Report


def test_every_scenario_was_crashed_to_its_end(crashes: Counter[str]) -> None:
    scenarios = {name for names, _, _ in CRASH_POINTS for name in names.split(",")}

    assert set(crashes) == scenarios
    assert all(count >= 3 for count in crashes.values()), crashes
    assert crashes.total() >= 120


@pytest.mark.parametrize("scenario", ["killed_child", "killed_node"])
def test_no_step_of_a_task_was_left_out(crashes: Counter[str], scenario: str) -> None:
    assert crashes[scenario] >= 40


def test_no_crash_violates_an_invariant(crash_points: list[Report]) -> None:
    assert [report["violations"] for report in crash_points] == ["none"] * len(CRASH_POINTS)
