"""What the digest of an event is over."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from django_simpletask3.ledger.digests import (
    ERASABLE_KEYS,
    SALT_KEY,
    chained_digest,
    digest_of,
    erase_payload,
    with_salt,
)
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

    assert chained_digest("a" * 64, reported) == digest_of(canonical("a" * 64, reported))


WORDS = some.text() | some.integers() | some.floats() | some.booleans() | some.none()
DATA = some.dictionaries(
    some.text(max_size=3),  # not those of the payload, which are sealed otherwise
    some.recursive(WORDS, lambda one: some.lists(one) | some.dictionaries(some.text(), one)),
    max_size=5,
)


@given(DATA)
def test_the_data_of_any_event_are_in_canonical_json(data: dict[str, Any]) -> None:
    reported = {**FIELDS, "data": data}

    assert chained_digest("a" * 64, reported) == digest_of(canonical("a" * 64, reported))


@pytest.mark.parametrize("key", ERASABLE_KEYS)
def test_a_payload_and_its_mark_have_the_same_digest(key: str) -> None:
    data = with_salt({key: {"message": "no"}, "seconds": 1})

    erased = erase_payload(data)

    assert "no" not in repr(erased)
    assert erased.keys() == data.keys() - {SALT_KEY}
    assert erase_payload(erased) == erased
    assert chained_digest("a", {**FIELDS, "data": erased}) == chained_digest(
        "a", {**FIELDS, "data": data}
    )


def test_what_was_erased_cannot_be_guessed() -> None:
    marks = [erase_payload(with_salt({"error": True, "result": True})) for _ in range(2)]

    digests = {mark[key]["digest"] for mark in marks for key in mark}
    assert len(digests & {digest_of(text) for text in ("true", "[null,true]", '["",true]')}) == 0
    assert marks[0] != marks[1]


@pytest.mark.parametrize(
    "change",
    [{"error": 23, SALT_KEY: "1"}, {"error": 123, SALT_KEY: "0"}, {"error": 123}, {"error": 1}],
    ids=repr,
)
def test_neither_a_payload_nor_its_salt_can_be_changed(change: dict[str, Any]) -> None:
    data = {"error": 123, SALT_KEY: ""}

    assert chained_digest("a", {**FIELDS, "data": change}) != chained_digest(
        "a", {**FIELDS, "data": data}
    )


def test_data_without_a_payload_get_no_salt() -> None:
    assert with_salt({"seconds": 1}) == {"seconds": 1}
    assert with_salt({"error": "", SALT_KEY: "mine"})[SALT_KEY] != "mine"
