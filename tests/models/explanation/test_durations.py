"""Durations are written in one or two units, as the language does."""

from datetime import timedelta

import pytest
from django.utils import translation

from django_simpletask3.models.explanation.durations import format_duration

DURATIONS = {
    "nothing": (0, "0 ms"),
    "milliseconds": (0.25, "250 ms"),
    "just below a second": (0.9996, "1.0 s"),
    "seconds": (1.24, "1.2 s"),
    "just below a minute": (59.96, "1 min"),
    "minutes": (200, "3 min 20 s"),
    "just below an hour": (3599.7, "1 h"),
    "hours": (7500, "2 h 5 min"),
    "a whole number of days": (172_900, "2 d"),
    "days": (100_000, "1 d 3 h"),
    "backwards": (-0.3, "-300 ms"),
}


@pytest.mark.parametrize(("seconds", "words"), DURATIONS.values(), ids=DURATIONS)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    with translation.override("en"):
        assert format_duration(timedelta(seconds=seconds)) == words


def test_a_duration_is_written_as_the_language_does() -> None:
    with translation.override("de"):
        assert format_duration(timedelta(seconds=1.5)).startswith("1,5 ")
    with translation.override("zh-hans"):
        assert format_duration(timedelta(seconds=1.5)) == "1.5 秒"
