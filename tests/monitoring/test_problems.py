"""Problems are English for programs and translated for readers."""

from dataclasses import replace
from typing import Any

import pytest
from django.utils import translation

from django_simpletask3.monitoring import problems
from django_simpletask3.monitoring.health_types import (
    DatabaseHealth,
    Health,
    ModelHealth,
    RedisHealth,
    SubscriptionHealth,
    TableHealth,
    WorkerHealth,
)

SUBSCRIPTION = SubscriptionHealth(
    "ledger", "default", waiting=2, dead=0, lag=70.0, is_registered=True
)
WORKER = WorkerHealth(
    "node:1:token",
    node="node",
    version="0",
    started=0.0,
    seconds_since_report=1.0,
    seconds_since_recovery=1.0,
    models={},
    counts={},
    jobs={},
)
TABLE = TableHealth(
    "testapp.Invoice",
    "default",
    pending=0,
    due=0,
    running=3,
    blocked=0,
    expired_leases=3,
    is_complete=True,
    longest_wait=None,
    longest_expired=90.0,
)
WELL = Health(
    time="now",
    version="0",
    databases={},
    redis=RedisHealth(),
    tables=[],
    models=[],
    subscriptions=[],
    workers=[WORKER],
)
EVERY: dict[str, dict[str, Any]] = {
    "a database": {"databases": {"other": DatabaseHealth("sqlite", "hush-hush")}},
    "redis": {"redis": RedisHealth(error="hush-hush")},
    "rights": {"redis": RedisHealth(error="hush-hush", is_refusal=True)},
    "a lease": {"tables": [TABLE]},
    "a dead delivery": {"subscriptions": [replace(SUBSCRIPTION, dead=1, waiting=0, lag=None)]},
    "a subscriber": {"subscriptions": [SUBSCRIPTION]},
    "no subscriber": {"subscriptions": [replace(SUBSCRIPTION, is_registered=False)]},
    "no worker": {"workers": []},
    "a queue": {"models": [ModelHealth("testapp.Invoice", "channel", messages=4)]},
    "recovery": {"workers": [replace(WORKER, seconds_since_recovery=900.0)]},
}
each = pytest.mark.parametrize("wrong", EVERY.values(), ids=EVERY)


def test_a_healthy_project_has_no_problem() -> None:
    assert list(problems.find_problems(WELL)) == []


@each
def test_each_problem_is_translated_and_stays_english_for_programs(wrong: dict[str, Any]) -> None:
    (problem,) = problems.find_problems(replace(WELL, **wrong))

    with translation.override("zh-hans"):
        english, chinese = str(problem), problem.translate()

    assert english.isascii()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
    assert problem.translate() == english


@each
def test_no_error_is_quoted_to_who_may_only_look(wrong: dict[str, Any]) -> None:
    (problem,) = problems.find_problems(replace(WELL, **wrong))

    assert "hush-hush" not in problem.translate(in_full=False)
