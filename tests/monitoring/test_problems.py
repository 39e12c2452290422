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
    ModelLoad,
    OverdueSchedule,
    Pause,
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
    "a stuck queue": {
        "models": [ModelHealth("testapp.Invoice", "channel", messages=4, in_flight=0)],
        "tables": [
            replace(
                TABLE, due=4, running=0, expired_leases=0, longest_expired=None, longest_wait=90.0
            )
        ],
        "workers": [replace(WORKER, models={"testapp.Invoice": ModelLoad(1, 0)})],
    },
    "dead letters": {"models": [ModelHealth("testapp.Invoice", "channel", dead_letters=2)]},
    "a schedule": {"overdue_schedules": [OverdueSchedule("nightly", "default", 90.0)]},
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


@each
def test_a_page_has_each_problem_in_parts_in_its_language(wrong: dict[str, Any]) -> None:
    (problem,) = problems.find_problems(replace(WELL, **wrong))

    with translation.override("zh-hans"):
        parts = (problem.title({}), problem.details({}))

    for part in parts:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in part)
        assert "hush-hush" not in part


def test_the_names_of_a_page_replace_the_labels_of_a_problem() -> None:
    wrong = {"models": [ModelHealth("testapp.Invoice", "channel", messages=4)]}

    (problem,) = problems.find_problems(replace(WELL, **wrong))

    assert problem.title({"model": "Invoices"}) == "Invoices stand still"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"in_flight": 1}, id="a worker has one"),
        pytest.param({"paused": Pause("now", "mia", "")}, id="an operator wants it"),
    ],
)
def test_a_queue_that_waits_with_a_cause_is_not_stuck(state: dict[str, Any]) -> None:
    wrong = dict(EVERY["a stuck queue"])
    (queue,) = wrong["models"]

    found = problems.find_problems(replace(WELL, **{**wrong, "models": [replace(queue, **state)]}))

    assert [*found] == []
