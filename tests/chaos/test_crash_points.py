"""A death, or a lost answer, after each command, statement and commit on the way of a task."""

from collections import Counter

import pytest

from tests.chaos.conftest import WALKS, Report


def test_every_way_was_walked_to_its_end(deaths: Counter[str]) -> None:
    ways = {way for ways, _, _ in WALKS for way in ways.split(",")}

    assert set(deaths) == ways
    assert all(count >= 3 for count in deaths.values()), deaths
    assert deaths.total() >= 120


@pytest.mark.parametrize("way", ["burst_child", "burst_node"])
def test_the_way_of_a_task_was_left_out_at_no_step(deaths: Counter[str], way: str) -> None:
    assert deaths[way] >= 40


def test_no_death_loses_doubles_or_leaves_anything(walks: list[Report]) -> None:
    assert [report["violations"] for report in walks] == ["none"] * len(WALKS)
