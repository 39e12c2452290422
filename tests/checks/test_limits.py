"""``check`` names a limit that is none, or that does not fit its model."""

from typing import Any

import pytest
from django.core import checks
from django.db import connections

from django_simpletask3 import checks as own_checks
from django_simpletask3.checks.limits import check_limits
from django_simpletask3.limits import Limit
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import Elsewhere, Errand, Invoice, Letter

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        (2, "django_simpletask3_limit is 2, which is no Limit."),
        (Limit(2, key="{buyer}"), "The key of the limit '{buyer}' names buyer, which is no column"),
        (Limit(2, fair_by="{buyer}"), "fair_by of the limit '{buyer}' names buyer, which is no"),
        (Limit(2, key="{status}"), "names status, which is a column of this package"),
        (Limit(2, key="{id}"), "names id, which has its value only when the task is saved"),
        (Limit(2, key="pages"), "'pages' names no column: all tasks would have that key."),
        (Limit(2, name="testapp.Errand"), "another number of places, or rate, in testapp.Errand"),
    ],
    ids=str,
)
def test_a_wrong_limit_is_an_error(limit: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Letter, "django_simpletask3_limit", limit)
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(1))

    (error,) = messages_of_package()

    assert (error.level, error.id, error.obj) == (checks.ERROR, own_checks.LIMIT_ID, Letter)
    assert fault in error.msg


def test_a_name_has_one_number_in_all_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Letter, "django_simpletask3_limit", Limit(2, name="shared"))
    monkeypatch.setattr(Elsewhere, "django_simpletask3_limit", Limit(1, name="shared"))

    (error,) = messages_of_package()

    assert error.id == own_checks.LIMIT_ID
    assert "The limit shared has another number of places" in error.msg


def test_a_key_of_columns_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(1, key="{customer_id} {pages:04}", name="letters")
    monkeypatch.setattr(Letter, "django_simpletask3_limit", limit)
    monkeypatch.setattr(Invoice, "django_simpletask3_limit", Limit(1, name="letters"))

    assert messages_of_package() == []


@pytest.mark.parametrize("running", [0, -1, True, 1.5, "2", None])
def test_a_limit_below_one_is_refused_where_it_is_written(running: Any) -> None:
    with pytest.raises(ValueError, match=r"running is .*; expected a number of at least 1"):
        Limit(running)


def test_a_limit_of_nothing_says_that_a_rate_would_do() -> None:
    with pytest.raises(ValueError, match=r'at least 1, or none and a rate="100/m"\.$'):
        Limit()


@pytest.mark.parametrize("key", ["{", "{}", "{customer.name}", "{0}", "{a:{b}}", 7])
def test_a_key_that_is_no_template_is_refused_where_it_is_written(key: Any) -> None:
    with pytest.raises(ValueError, match=r"key: The template .* (expected|columns only)"):
        Limit(1, key=key)


@pytest.mark.parametrize(
    ("level", "is_right"),
    [
        ({"mysql": "repeatable read", "postgresql": 3}, False),
        ({"mysql": None, "postgresql": 4}, False),
        ({"mysql": "read committed", "postgresql": 2}, True),
        ({"mysql": "Read Committed", "postgresql": None}, True),
    ],
    ids=["repeatable read", "the server's or serializable", "read committed", "default"],
)
def test_a_database_should_read_what_is_committed(
    level: dict[str, Any], is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection: Any = connections["default"]
    options = {"isolation_level": level.get(connection.vendor)}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    found = [(m.id, m.obj) for m in check_limits() if "'default'" in m.msg]

    is_named = connection.vendor != "sqlite" and not is_right
    assert found == [(own_checks.SNAPSHOT_ID, Errand)] * is_named
