"""The ticks of cron expressions and intervals, as a set of instants."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.schedules.ticks import (
    Cron,
    Interval,
    last_ticks,
    parse_ticks,
    ticks_between,
)

#: Of 2026: the changes of the clock, in spring and in autumn of the place.
CHANGES = {
    "Europe/Berlin": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    # By half an hour only, and the other way round.
    "Australia/Lord_Howe": (
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
    ),
}
DAY = timedelta(days=1)
EXPRESSIONS = ["*/30 2 * * *", "30 2 * * *", "15,45 1-3 * * *", "0 * * * *", "*/7 * * * *"]


def shown(expression: str, zone: str, day: datetime) -> list[str]:
    """The ticks of the 24 hours around ``day``, as clocks of the zone show them."""
    ticks = ticks_between(parse_ticks(expression, zone), day - DAY / 2, day + DAY / 2)
    return [tick.astimezone(ZoneInfo(zone)).strftime("%H:%M%z") for tick in ticks]


@pytest.mark.parametrize(
    ("expression", "zone", "spring", "autumn"),
    [
        ("30 2 * * *", "Europe/Berlin", ["03:00+0200"], ["02:30+0200"]),
        ("0 2 * * *", "Europe/Berlin", ["03:00+0200"], ["02:00+0200"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            [],
            ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"],
        ),
        ("30 2 * * *", "America/New_York", ["03:00-0400"], ["02:30-0500"]),
        ("30 1 * * *", "America/New_York", ["01:30-0500"], ["01:30-0400"]),
        ("*/30 1 * * *", "America/New_York", ["01:00-0500", "01:30-0500"], None),
        ("15 2 * * *", "Australia/Lord_Howe", ["02:30+1100"], ["02:15+1030"]),
        ("45 1 * * *", "Australia/Lord_Howe", ["01:45+1030"], ["01:45+1100"]),
        (
            "*/15 1 * * *",
            "Australia/Lord_Howe",
            ["01:00+1030", "01:15+1030", "01:30+1030", "01:45+1030"],
            [
                *["01:00+1100", "01:15+1100", "01:30+1100", "01:45+1100"],
                *["01:30+1030", "01:45+1030"],
            ],
        ),
        # cronsim itself misses these: it counts on by whole hours.
        ("*/30 3 * * *", "Australia/Lord_Howe", ["03:00+1100", "03:30+1100"], None),
    ],
)
def test_a_change_of_the_clock_skips_and_repeats_no_time_of_day(
    expression: str, zone: str, spring: list[str], autumn: list[str] | None
) -> None:
    assert shown(expression, zone, CHANGES[zone][0]) == spring
    if autumn is not None:
        assert shown(expression, zone, CHANGES[zone][1]) == autumn


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize(
    "expression", [*EXPRESSIONS, "0 9 * * mon-fri", "0 0 1,15 * *", "5 4 L * *"]
)
def test_ticks_are_those_of_cronsim(expression: str, zone: str) -> None:
    begin, end = datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)

    ticks = list(ticks_between(parse_ticks(expression, zone), begin, end))

    theirs = [
        t.astimezone(UTC)
        for t in _until(CronSim(expression, begin.astimezone(ZoneInfo(zone))), end)
    ]
    assert ticks == theirs


def _until(ticks: CronSim, end: datetime) -> list[datetime]:
    found = []
    while (tick := next(ticks)) <= end:
        found.append(tick)
    return found


@given(
    zone=st.sampled_from(sorted(CHANGES)),
    season=st.sampled_from([0, 1]),
    expression=st.sampled_from(EXPRESSIONS),
    hours=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_the_ticks_of_two_periods_are_those_of_both(
    zone: str, season: int, expression: str, hours: list[float]
) -> None:
    change, table = CHANGES[zone][season], parse_ticks(expression, zone)
    begin, middle, end = sorted(change + timedelta(hours=hour) for hour in hours)

    ticks = list(ticks_between(table, begin, end))

    first, second = ticks_between(table, begin, middle), ticks_between(table, middle, end)
    assert [*first, *second] == ticks
    assert ticks == sorted(set(ticks))
    assert last_ticks(table, begin, end, 3) == ticks[-3:]


def test_the_end_of_the_month_is_its_last_day() -> None:
    ticks = ticks_between(
        parse_ticks("0 23 L * *", "Europe/Berlin"),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 5, 1, tzinfo=UTC),
    )

    assert [f"{tick:%m-%d %H}" for tick in ticks] == [
        "01-31 22",
        "02-28 22",
        "03-31 21",
        "04-30 21",
    ]


def test_the_thirty_first_is_skipped_in_shorter_months() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    ticks = ticks_between(parse_ticks("0 0 31 * *", "UTC"), begin, datetime(2026, 7, 1, tzinfo=UTC))

    assert [tick.month for tick in ticks] == [1, 3, 5]


def test_the_leap_day_comes_every_four_years() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    ticks = ticks_between(
        parse_ticks("0 12 29 2 *", "America/New_York"), begin, datetime(2037, 1, 1, tzinfo=UTC)
    )

    assert [tick.year for tick in ticks] == [2028, 2032, 2036]


def test_an_interval_is_counted_from_1970() -> None:
    table = Interval(timedelta(minutes=7))
    begin = datetime(2026, 11, 29, 18, 0, 1, tzinfo=UTC)

    ticks = list(ticks_between(table, begin, begin + timedelta(minutes=15)))

    assert [(tick.timestamp() / 420).is_integer() for tick in ticks] == [True, True]
    assert table.next_after(ticks[0]) == ticks[1]


def test_a_tick_lies_after_the_moment_and_not_at_it() -> None:
    table, tick = parse_ticks("0 6 * * *", "UTC"), datetime(2026, 1, 1, 6, tzinfo=UTC)

    assert table.next_after(tick - timedelta(microseconds=1)) == tick
    assert table.next_after(tick) == tick + DAY


def test_the_last_ticks_of_years_are_found_without_the_others() -> None:
    calls: list[datetime] = []

    class Counted(Cron):
        def next_after(self, moment: datetime) -> datetime | None:
            calls.append(moment)
            return super().next_after(moment)

    table, end = Counted("* * * * *", ZoneInfo("UTC")), datetime(2026, 1, 1, tzinfo=UTC)

    ticks = last_ticks(table, datetime(2000, 1, 1, tzinfo=UTC), end, 100)

    assert (len(ticks), ticks[-1], ticks[0]) == (100, end, end - timedelta(minutes=99))
    assert len(calls) < 1000


@pytest.mark.parametrize(
    ("when", "zone", "fault"),
    [
        ("0 25 * * *", "UTC", "'0 25 * * *' is no cron expression: Bad hour"),
        ("* * * *", "UTC", "'* * * *' has 4 fields"),
        ("* * * * * *", "UTC", "'* * * * * *' has 6 fields"),
        ("0 0 31 2 *", "UTC", "'0 0 31 2 *' is no cron expression"),
        ("0 6 * * *", "Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
        ("0 6 * * *", "../etc/passwd", "there is no time zone"),
        (timedelta(0), "", "the interval 0:00:00 is shorter than a second"),
    ],
)
def test_what_has_no_ticks_is_named(when: str | timedelta, zone: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("*", r"\*")):
        parse_ticks(when, zone)
