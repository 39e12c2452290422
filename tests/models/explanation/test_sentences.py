"""An explanation is a sentence in the reader's language and time zone."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation
from django.utils.translation import gettext_noop

from django_simpletask3.models.explanation.sentences import Cause, Explanation

NOON = datetime(2026, 1, 31, 12, 0, 5, 999_999, tzinfo=UTC)
DUE = Explanation(
    Cause.NOT_DUE,
    gettext_noop("It is due in %(duration)s, at %(time)s."),
    {"duration": timedelta(seconds=5), "time": NOON},
)


@pytest.mark.parametrize(
    ("zone", "time"), [("UTC", "2026-01-31 12:00:05"), ("Asia/Tokyo", "2026-01-31 21:00:05")]
)
def test_times_are_those_of_the_reader(zone: str, time: str) -> None:
    with timezone.override(zone):
        assert DUE.translate() == f"It is due in 5.0 s, at {time}."


def test_a_naive_time_is_as_it_is() -> None:
    explanation = Explanation(Cause.SUCCEEDED, "at %(time)s", {"time": NOON.replace(tzinfo=None)})

    assert explanation.translate() == "at 2026-01-31 12:00:05"


def test_programs_read_english_in_every_language() -> None:
    with translation.override("zh-hans"), timezone.override("UTC"):
        assert str(DUE) == "It is due in 5.0 s, at 2026-01-31 12:00:05."
        assert DUE.translate() == "将在 5.0 秒后（2026-01-31 12:00:05）可以执行。"


def test_a_task_that_expires_says_when() -> None:
    explanation = Explanation(Cause.QUEUED, "It waits.", expires_at=NOON)

    with timezone.override("UTC"):
        assert explanation.translate() == "It waits. It expires at 2026-01-31 12:00:05."


def test_a_percent_sign_in_a_text_is_no_placeholder() -> None:
    explanation = Explanation(Cause.FAILED, "It failed: %(error)s", {"error": "100 %(time)s"})

    assert explanation.translate() == "It failed: 100 %(time)s"


def test_a_value_that_is_missing_is_a_question_mark() -> None:
    assert Explanation(Cause.SUCCEEDED, "at %(time)s", {"time": None}).translate() == "at ?"
