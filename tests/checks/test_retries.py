"""``check`` names attributes about retries that cannot be used, or do nothing."""

import functools
import math
from datetime import timedelta
from typing import Any

import pytest
from django.core import checks

from django_simpletask3 import checks as own_checks
from django_simpletask3.retries import Exponential, Fixed
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import Invoice, PaidInvoice

pytestmark = [pytest.mark.django_db, pytest.mark.once]

PREFIX = "django_simpletask3_"


async def coroutine(retry_number: int, error: BaseException) -> float:
    return 1


def as_method(self: Any, retry_number: int, error: BaseException) -> float:
    return 1


def with_keyword(retry_number: int, error: BaseException, *, model: Any) -> float:
    return 1


BAD = [
    ("retry_backoff", 5, own_checks.BACKOFF_ID, "is 5, which is not callable"),
    ("retry_backoff", timedelta(5), own_checks.BACKOFF_ID, "which is not callable"),
    ("retry_backoff", None, own_checks.BACKOFF_ID, "is None, which is not callable"),
    ("retry_backoff", Exponential, own_checks.BACKOFF_ID, "is the class Exponential"),
    ("retry_backoff", coroutine, own_checks.BACKOFF_ID, "is an async function"),
    ("retry_backoff", lambda: 1, own_checks.BACKOFF_ID, "too many positional arguments"),
    ("retry_backoff", as_method, own_checks.BACKOFF_ID, "missing a required argument: 'error'"),
    ("retry_backoff", with_keyword, own_checks.BACKOFF_ID, "missing a required"),
    ("retry_on", "smtplib.SMTPExeption", own_checks.ERRORS_ID, "'smtplib.SMTPExeption' cannot be"),
    ("retry_on", (OSError, "no.such.Module"), own_checks.ERRORS_ID, "'no.such.Module' cannot be"),
    ("no_retry_on", [int], own_checks.ERRORS_ID, "<class 'int'> is no exception class"),
    ("no_retry_on", OSError(), own_checks.ERRORS_ID, "OSError() is no exception class"),
    ("retry_on", 5, own_checks.ERRORS_ID, "5 is no exception class"),
    *(
        ("retry_for", bad, own_checks.DEADLINE_ID, "expected a positive number of seconds")
        for bad in (0, -1, math.inf, math.nan, "6h", True, timedelta(0))
    ),
    *(
        (name, bad, own_checks.TRIES_ID, "expected an integer of at least 0")
        for name in ("max_retries", "max_snoozes")
        for bad in (-1, 1.5, "3", True)
    ),
    ("max_snoozes", None, own_checks.TRIES_ID, "expected an integer of at least 0"),
]


@pytest.mark.parametrize(("name", "bad", "check_id", "text"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_used_is_one_error(
    name: str, bad: Any, check_id: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 3)
    monkeypatch.setattr(Invoice, PREFIX + name, bad)

    (error,) = [message for message in messages_of_package() if message.obj is Invoice]

    assert (error.id, error.level) == (check_id, checks.ERROR)
    assert name in error.msg
    assert text in error.msg
    assert error.hint


GOOD = [
    ("retry_backoff", Exponential(first=5)),
    ("retry_backoff", Fixed(timedelta(minutes=1))),
    ("retry_backoff", lambda retry_number, error: 5),
    ("retry_backoff", lambda *_: 5),
    ("retry_backoff", staticmethod(lambda retry_number, error: 5)),
    ("retry_backoff", functools.partial(as_method, None)),
    ("retry_backoff", max),  # it has no signature
    ("retry_on", OSError),
    ("retry_on", ("smtplib.SMTPException", KeyError)),
    ("no_retry_on", {"builtins.OSError"}),
    ("retry_for", 60),
    ("retry_for", timedelta(hours=6)),
    ("max_retries", None),
    ("max_retries", 0),
    ("max_snoozes", 0),
]


@pytest.mark.parametrize(("name", "good"), GOOD, ids=range(len(GOOD)))
def test_what_can_be_used_is_no_message(
    name: str, good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 3)
    monkeypatch.setattr(Invoice, PREFIX + name, good)

    assert messages_of_package() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_backoff", Fixed(1)),
        ("retry_on", OSError),
        ("no_retry_on", OSError),
        ("retry_for", 60),
    ],
)
def test_without_retries_what_is_said_about_them_is_a_warning(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, PREFIX + name, value)

    (warning,) = messages_of_package()

    assert (warning.id, warning.level) == (own_checks.NO_RETRIES_ID, checks.WARNING)
    assert warning.msg == f"{PREFIX}{name} has no effect: django_simpletask3_max_retries is 0."


def test_what_a_parent_says_for_its_children_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 3)
    monkeypatch.setattr(Invoice, "django_simpletask3_retry_for", 60)
    monkeypatch.setattr(PaidInvoice, "django_simpletask3_max_retries", 0)

    assert messages_of_package() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("retry_backoff", Exponential()), ("retry_on", OSError), ("retry_for", 60)],
)
def test_without_the_prefix_it_has_no_effect(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, name, value, raising=False)

    messages = {message.obj: message for message in messages_of_package()}

    assert messages[Invoice].id == own_checks.BARE_ATTRIBUTE_ID
    assert PREFIX + name in str(messages[Invoice].hint)
