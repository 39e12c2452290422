"""What the digest of an event is over."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from django_simpletask3.ledger.digests import chained_digest, digest_of
from django_simpletask3.ledger.encoding import to_json_value
from django_simpletask3.states import EventKind, Status

FIELDS: dict[str, Any] = {
    "task": 7,
    "sequence": 2,
    "kind": EventKind.START,
    "from_status": Status.PENDING,
    "to_status": Status.RUNNING,
    "attempt": 1,
    "event_time": datetime(2026, 2, 28, 23, 59, 59, 999999, UTC),
    "worker": "web1:7:ab",
    "actor": "",
    "reason": "",
    "data": {"claim": "c"},
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "the first": {"sequence": 1, "from_status": None},
    "a text for a key": {"task": 'a"b\\ü'},
    "texts": {"worker": "\x00é\u2028", "actor": "'\"\\", "reason": "{x}%s\ud800"},
    "data": {
        "data": {"b": 1, "a": [None, 2.5, {"z": True, "y": "\x7f"}], "date": datetime(2026, 1, 1)}
    },
    "no data": {"data": None},
    "the end": {"kind": EventKind.DELETE, "to_status": None},
    "a kind of a later version": {"kind": "frozen", "to_status": 70},
    "a number that is none": {"attempt": "1", "sequence": 2.0},
    "a zone": {"event_time": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=8)))},
    "no zone": {"event_time": datetime(2026, 1, 1, 12, 30)},
}


def canonical(previous: str, reported: dict[str, Any]) -> str:
    """The text that is sealed: JSON with sorted keys and no spaces."""
    moment = reported["event_time"]
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    said = {
        **reported,
        "previous": previous,
        "task": None if reported["sequence"] == 1 else str(reported["task"]),
        "event_time": moment.isoformat(timespec="milliseconds"),
        "data": to_json_value(reported["data"]),
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_seal_is_over_canonical_json(case: dict[str, Any]) -> None:
    reported = {**FIELDS, **case}

    assert chained_digest("a" * 64, **reported) == digest_of(canonical("a" * 64, reported))


WORDS = some.text() | some.integers() | some.floats() | some.booleans() | some.none()
DATA = some.dictionaries(
    some.text(max_size=3),  # not those of the payload, which are sealed otherwise
    some.recursive(WORDS, lambda one: some.lists(one) | some.dictionaries(some.text(), one)),
    max_size=5,
)


@given(DATA)
def test_whatever_data_say_is_said_in_canonical_json(data: dict[str, Any]) -> None:
    reported = {**FIELDS, "data": data}

    assert chained_digest("a" * 64, **reported) == digest_of(canonical("a" * 64, reported))
