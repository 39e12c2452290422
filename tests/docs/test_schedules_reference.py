"""The reference of schedules, against the code."""

import inspect
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_simpletask3.models import ScheduleTick
from django_simpletask3.monitoring.schedules import (
    MAX_ROWS,
    OVERDUE_SECONDS,
    LastTick,
    ScheduleReport,
)
from django_simpletask3.schedules import CatchUp, Overlap, due, schedule
from django_simpletask3.schedules.definition import MAX_EXPRESSION, MAX_KEY
from django_simpletask3.schedules.history import KEPT_TICKS
from django_simpletask3.schedules.tables import HAS_TASK, Outcome, Schedule
from django_simpletask3.schedules.targets import _MAY_BE_SET
from django_simpletask3.schedules.ticks import parse_ticks, ticks_between
from tests.docs.pages import reference, words

PAGE = reference("schedules")
BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)


def section(title: str) -> str:
    """The text below the heading, up to the next one."""
    return PAGE.prose.split(f"# {title}\n", 1)[1].split("\n#", 1)[0]


def column(title: str, number: int = 0) -> list[str]:
    """What is in that column of the table below the heading, as code."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [word for line in lines for word in words(line.strip("|").split("|")[number])]


def test_the_arguments_have_the_defaults_of_the_code() -> None:
    parameters = inspect.signature(schedule).parameters
    when, *others = parameters.values()

    assert column("`schedule()`") == list(parameters)
    assert (when.default, when.kind) == (when.empty, when.POSITIONAL_OR_KEYWORD)
    assert {one.kind for one in others} == {when.KEYWORD_ONLY}
    shown = [f'"{one.default}"' if one.name in ("catch_up", "overlap", "name") else
             repr(one.default) for one in others]  # fmt: skip
    assert column("`schedule()`", 1) == shown


def test_the_values_and_the_outcomes_are_those_of_the_code() -> None:
    assert column("`catch_up`") == [f'"{value}"' for value in CatchUp.values]
    assert column("`overlap`") == [f'"{value}"' for value in Overlap.values]
    assert column("Outcomes") == Outcome.values
    with_task = [*HAS_TASK, Outcome.RUN_NOW]
    rows = [row for row in PAGE.rows if row[0].strip("`") in Outcome.values]
    assert [row[0].strip("`") for row in rows if row[1]] == with_task


def test_the_columns_and_the_keys_of_the_json_are_those_of_the_code() -> None:
    assert set(column("Rows")) == {one.name for one in Schedule._meta.fields} - {"id"}
    outcomes = section("Outcomes")
    assert all(f"`{one.name}`" in outcomes for one in ScheduleTick._meta.fields if one.name != "id")
    assert set(column("JSON")) == {one.name for one in fields(ScheduleReport)}
    last = next(line for line in section("JSON").splitlines() if line.startswith("| `last`"))
    assert words(last)[1:] == [one.name for one in fields(LastTick)]
    assert set(_MAY_BE_SET) <= set(words(section("`schedule()`")))


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"at most {MAX_KEY} characters, a cron expression at most {MAX_EXPRESSION}" in PAGE.prose
    assert f"older than {due.GRACE_SECONDS:.0f} seconds" in section("`catch_up`")
    assert f"the last {due.MAX_TICKS} that were missed" in section("`catch_up`")
    assert f"The newest {KEPT_TICKS} of each schedule" in section("Outcomes")
    assert f"At most {MAX_ROWS} schedules" in section("JSON")
    assert f"overdue after {OVERDUE_SECONDS:.0f} seconds" in section("JSON")


def ticks_of_day(expression: str, day: datetime, zone: Any = UTC) -> list[str]:
    ticks = ticks_between(parse_ticks(expression, str(zone)), day - timedelta(seconds=1), day + DAY)
    return [f"{tick.astimezone(zone):%H:%M}" for tick in ticks]


@pytest.mark.parametrize("row", [row for row in PAGE.rows if "2 * * *" in row[0]], ids=str)
def test_changes_of_the_clock_are_as_on_the_page(row: list[str]) -> None:
    [expression] = words(row[0])

    for cell, day in zip(row[1:], (datetime(2026, 3, 29), datetime(2026, 10, 25)), strict=True):
        ticks = ticks_of_day(expression, day.replace(tzinfo=BERLIN), BERLIN)
        assert ", ".join(ticks) == cell


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 L * *", [31]),
        ("0 0 LW * *", [30]),
        ("0 0 * * fri#2", [9]),
        ("0 0 * * 5L", [30]),
        ("0 0 1 * MON", [1, 5, 12, 19, 26]),
        ("0 0 */2 * mon", [5, 19]),
        ("0 0 1,15 oct *", [1, 15]),
        ("0 0 9-12 10 *", [9, 10, 11, 12]),
        ("0 0 * * 7", [4, 11, 18, 25]),
        ("0 0 * * 0", [4, 11, 18, 25]),
    ],
)
def test_days_are_those_that_the_page_says(expression: str, days: list[int]) -> None:
    """October 2026 begins with a Thursday, and ends with a Saturday."""
    begin = datetime(2026, 9, 30, 12, tzinfo=UTC)

    ticks = ticks_between(parse_ticks(expression, "UTC"), begin, begin + 31 * DAY)

    assert [tick.day for tick in ticks] == days


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [("*/15", "00 15 30 45"), ("10-40/15", "10 25 40"), ("5/15", "05 20 35 50")],
)
def test_steps_are_those_that_the_page_says(minutes: str, expected: str) -> None:
    ticks = ticks_of_day(f"{minutes} 7 * * *", datetime(2026, 10, 1, tzinfo=UTC))

    assert f"`{minutes}`" in section("Cron expressions")
    assert ticks == [f"07:{minute}" for minute in expected.split()]


@pytest.mark.parametrize("expression", ["@daily", "0 0 0 1 1 *", "0 0 30 2 *"])
def test_what_the_page_says_is_none_is_none(expression: str) -> None:
    with pytest.raises(ValueError, match=r"fields|never due|no cron expression"):
        parse_ticks(expression, "UTC")
