"""Times as short as today allows, durations in two units at most."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import translation

from django_simpletask3.admin.html import times
from django_simpletask3.models.explanation.durations import format_duration

NOW = datetime(2026, 11, 28, 14, 5, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _zone(settings) -> None:
    settings.TIME_ZONE = "UTC"


@pytest.mark.parametrize(
    ("instant", "english", "chinese"),
    [
        (NOW - timedelta(minutes=3), "14:02:23", "14:02:23"),
        (NOW - timedelta(days=1), "27 Nov 14:05", "11月27日 14:05"),
        (NOW + timedelta(days=60), "27 Jan 2027 14:05", "2027年1月27日 14:05"),
    ],
    ids=["today", "another day", "another year"],
)
def test_a_moment_is_as_short_as_today_allows(instant, english, chinese) -> None:
    with translation.override("en"):
        assert times.format_moment(instant, NOW) == english
    with translation.override("zh-hans"):
        assert times.format_moment(instant, NOW) == chinese


def test_a_narrow_column_has_a_time_or_a_day() -> None:
    with translation.override("en"):
        shown = [times.time_or_day(NOW - timedelta(days=d), NOW) for d in (0, 1, 400)]

    assert [words.rpartition("</")[0].rpartition(">")[2] for words in shown] == [
        "14:05",
        "27 Nov",
        "24 Oct 2025",
    ]


def test_a_moment_has_the_exact_time_as_title() -> None:
    with translation.override("en"):
        shown = times.moment(NOW, NOW, seconds=False)

    assert shown == (
        '<time datetime="2026-11-28T14:05:23+00:00" title="2026-11-28 14:05:23.000+00:00">'
        "14:05</time>"
    )


def test_today_is_that_of_the_time_zone(settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    late = datetime(2026, 11, 28, 16, 0, tzinfo=UTC)

    with translation.override("en"):
        assert times.format_moment(late - timedelta(seconds=1), late) == "28 Nov 23:59"


@pytest.mark.parametrize(
    ("day", "shown"),
    [
        (None, "14:05:23.007"),
        (date(2026, 11, 28), "14:05:23.007"),
        (date(2026, 11, 27), "28 Nov 14:05:23.007"),
    ],
)
def test_an_event_has_milliseconds(day, shown) -> None:
    with translation.override("en"):
        exact = times.exact_time(NOW.replace(microsecond=7999), day)

    assert exact == f'<time datetime="2026-11-28T14:05:23.007999+00:00">{shown}</time>'


@pytest.mark.parametrize(
    ("seconds", "shown", "since"),
    [
        (0.276, "276 ms", "just now"),
        (1.3, "1.3 s", "1 s ago"),
        (192, "3 min 12 s", "3 min ago"),
        (28_500, "7 h 55 min", "7 h ago"),
        (180_000, "2 d 2 h", "2 d ago"),
    ],
)
def test_durations_have_two_units_at_most(seconds, shown, since) -> None:
    duration = timedelta(seconds=seconds)

    with translation.override("en"):
        assert format_duration(duration) == shown
        assert times.ago(NOW - duration, NOW) == since


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (117, "2 min"),
        (3599, "1 h"),
        (28_500, "8 h"),
        (86_000, "1 d"),
    ],
)
def test_the_time_that_is_left_is_rounded(seconds, shown) -> None:
    with translation.override("en"):
        assert times.rounded_duration(timedelta(seconds=seconds)) == shown
