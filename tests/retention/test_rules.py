"""The rules of ``django_simpletask3_retention``."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import checks

from django_simpletask3.ledger.tombstone import PruneTarget
from django_simpletask3.retention.rules import Rule, parse_rules
from django_simpletask3.states import Status
from tests.testapp.models import Invoice, PaidInvoice

pytestmark = pytest.mark.django_db  # checks of JSON columns ask the database

DAY = timedelta(days=1)


def test_nothing_declared_keeps_everything() -> None:
    assert parse_rules(None) == parse_rules({}) == []


def test_an_age_is_for_the_whole_task() -> None:
    assert parse_rules({Status.SUCCESS: DAY, 30: 3600}) == [
        Rule(PruneTarget.TASK, Status.SUCCESS, DAY),
        Rule(PruneTarget.TASK, Status.FAILED, timedelta(hours=1)),
    ]


def test_payloads_go_before_tasks() -> None:
    declared = {"deleted": DAY, Status.CANCELED: {"delete": 2 * DAY, "erase": DAY}}

    assert parse_rules(declared) == [
        Rule(PruneTarget.PAYLOAD, Status.CANCELED, DAY),
        Rule(PruneTarget.STREAM, None, DAY),
        Rule(PruneTarget.TASK, Status.CANCELED, 2 * DAY),
    ]


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        (90, "mapping"),
        ([Status.SUCCESS], "mapping"),
        ({Status.PENDING: DAY}, "not a final status"),
        ({Status.RUNNING: DAY}, "not a final status"),
        ({"SUCCESS": DAY}, "not a final status"),
        ({True: DAY}, "not a final status"),
        ({Status.SUCCESS: "90 days"}, "not an age"),
        ({Status.SUCCESS: -1}, "not an age"),
        ({Status.SUCCESS: timedelta(0)}, "not an age"),
        ({Status.SUCCESS: True}, "not an age"),
        ({Status.SUCCESS: None}, "not an age"),
        ({Status.SUCCESS: {}}, "nothing"),
        ({Status.SUCCESS: {"remove": DAY}}, "remove"),
        ({"deleted": {"erase": DAY}}, "erase"),
    ],
)
def test_invalid_rules_are_reported_by_the_check(
    declared: Any, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=word):
        parse_rules(declared)

    monkeypatch.setattr(Invoice, "django_simpletask3_retention", declared)
    messages = [
        message for message in checks.run_checks() if message.id == "django_simpletask3.E111"
    ]
    assert messages[0].obj in (Invoice, PaidInvoice) or "Invoice" in str(messages[0].obj)
    assert word in messages[0].msg


def test_a_model_that_shares_a_table_cannot_have_rules_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PaidInvoice, "django_simpletask3_retention", {Status.SUCCESS: DAY})

    (message,) = [one for one in checks.run_checks() if one.id == "django_simpletask3.E111"]

    assert message.obj is PaidInvoice
    assert "testapp.Invoice" in message.msg
