"""The labels of a time axis stand at round times."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from django_simpletask3.admin.html.time_axis import share, ticks

BEGIN = datetime(2026, 11, 28, 13, 58, 2, 114000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0, ["13:58:02", "13:58:02"]),
        (4, ["13:58:02", "13:58:03", "13:58:04", "13:58:05", "13:58:06"]),
        (127, ["13:58:02", "13:58:30", "13:59:00", "13:59:30", "14:00:09"]),
        (7 * 60, ["13:58:02", "14:00", "14:02", "14:05:02"]),
        (6 * 3600, ["13:58:02", "16:00", "18:00", "19:58:02"]),
        (20 * 3600, ["13:58:02", "20:00", "29 Nov 00:00", "29 Nov 04:00", "29 Nov 09:58:02"]),
        (30 * 86400, ["28 Nov", "5 Dec", "12 Dec", "19 Dec", "28 Dec"]),
    ],
)
def test_labels_stand_at_round_times(settings, seconds, labels) -> None:
    settings.TIME_ZONE = "UTC"

    with translation.override("en"):
        found = ticks(BEGIN, BEGIN + timedelta(seconds=seconds))

    assert [tick.text for tick in found] == labels
    assert [tick.x for tick in found] == sorted(tick.x for tick in found)
    assert (found[0].anchor, found[-1].anchor) == ("start", "end")


def test_the_end_may_be_now() -> None:
    with translation.override("en"):
        assert ticks(BEGIN, BEGIN, ends_now=True)[-1].text == "now"


def test_a_share_stays_between_the_ends() -> None:
    end = BEGIN + timedelta(seconds=10)

    shares = [share(BEGIN + timedelta(seconds=s), BEGIN, end) for s in (-1, 0, 2.5, 10, 11)]

    assert shares == [0, 0, 25, 100, 100]
    assert share(BEGIN, BEGIN, BEGIN) == 0
