"""``check`` names an expiry that is no time, and one that has no column."""

import math
from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.test.utils import isolate_apps

from django_simpletask3 import checks as own_checks
from django_simpletask3.checks.expiry import check_expiry
from django_simpletask3.models import ExpiringTask
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import Invoice, Offer

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.mark.parametrize(
    "bad", [0, -1, math.inf, math.nan, "1h", True, timedelta(0), [60]], ids=str
)
def test_an_expiry_that_is_no_time_is_an_error(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Offer, "django_simpletask3_expires", bad)

    (error,) = messages_of_package()

    assert (error.level, error.id, error.obj) == (checks.ERROR, own_checks.EXPIRY_ID, Offer)
    assert f"django_simpletask3_expires is {bad!r}; expected" in error.msg


@pytest.mark.parametrize("good", [1, 0.5, timedelta(days=400), None], ids=str)
def test_a_number_of_seconds_or_a_timedelta_is_right(
    good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Offer, "django_simpletask3_expires", good)

    assert messages_of_package() == []


def test_a_model_without_the_column_cannot_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_expires", 60)

    errors = [error for error in messages_of_package() if error.obj is Invoice]

    assert [error.id for error in errors] == [own_checks.EXPIRY_ID]
    assert errors[0].msg == "Tasks in the table of testapp.Invoice do not expire."
    assert "Derive Invoice from ExpiringTask" in str(errors[0].hint)


@isolate_apps("tests.testapp")
def test_the_column_must_be_in_the_table_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    class LateChild(Invoice, ExpiringTask):
        class Meta:
            app_label = "testapp"

    monkeypatch.setattr("django_simpletask3.checks.expiry.task_models", lambda: [LateChild])

    (error,) = check_expiry()

    assert (error.id, error.obj) == (own_checks.EXPIRY_ID, LateChild)
    assert error.msg == "Tasks in the table of testapp.Invoice do not expire."
