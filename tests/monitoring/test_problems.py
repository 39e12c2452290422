"""Problems are told in English to programs, and in their language to readers."""

from typing import Any

import pytest
from django.utils import translation

from django_simpletask3.monitoring import problems

DATABASE = {"vendor": "sqlite", "error": "hush-hush"}
TABLE = {
    "model": "testapp.Invoice",
    "database": "default",
    "lease_ended": 3,
    "longest_ended": 90.0,
}
SUBSCRIPTION = {
    "subscription": "ledger",
    "database": "default",
    "waiting": 2,
    "dead": 1,
    "lag": 70.0,
    "is_known": True,
}
WELL: dict[str, Any] = {
    "databases": {},
    "redis": {"error": None},
    "tables": [],
    "models": [],
    "subscriptions": [],
    "workers": [{"models": {}, "seconds_since_recovery": 1.0}],
}
EVERY = {
    "a database": {"databases": {"other": DATABASE}},
    "redis": {"redis": {"error": "hush-hush"}},
    "a lease": {"tables": [TABLE]},
    "a dead delivery": {"subscriptions": [{**SUBSCRIPTION, "waiting": 0, "lag": None}]},
    "a subscriber": {"subscriptions": [{**SUBSCRIPTION, "dead": 0}]},
    "nobody subscribes": {"subscriptions": [{**SUBSCRIPTION, "dead": 0, "is_known": False}]},
    "no worker": {"workers": []},
    "a queue": {"models": [{"model": "testapp.Invoice", "messages": 4}]},
    "recovery": {"workers": [{"models": {}, "seconds_since_recovery": 900.0}]},
}
each = pytest.mark.parametrize("wrong", EVERY.values(), ids=EVERY)


def test_where_all_is_well_there_is_no_problem() -> None:
    assert list(problems.find_problems(WELL)) == []


@each
def test_each_problem_is_told_in_chinese_and_stays_english(wrong: dict[str, Any]) -> None:
    (problem,) = problems.find_problems({**WELL, **wrong})

    with translation.override("zh-hans"):
        english, chinese = str(problem), problem.translate()

    assert english.isascii()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
    assert problem.translate() == english


@each
def test_no_error_is_quoted_to_who_may_only_look(wrong: dict[str, Any]) -> None:
    (problem,) = problems.find_problems({**WELL, **wrong})

    assert "hush-hush" not in problem.translate(in_full=False)
