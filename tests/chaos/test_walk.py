"""A death, or a lost answer, after each command, statement and commit on the way of a task."""

from tests.chaos.conftest import Report


def test_every_way_was_walked_to_its_end(walks: dict[str, Report]) -> None:
    deaths = {
        way: told["deaths"] for report in walks.values() for way, told in report["ways"].items()
    }

    assert all(count >= 3 for count in deaths.values()), deaths
    assert sum(deaths.values()) >= 60


def test_no_death_loses_doubles_or_leaves_anything(walks: dict[str, Report]) -> None:
    assert {ways: report["violations"] for ways, report in walks.items()} == dict.fromkeys(
        walks, "none"
    )
