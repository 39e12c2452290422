"""The digest chain of a stream: it shows every change, and payloads can still be erased."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.utils import timezone

from ..states import EventKind
from .encoding import TAG, TaggedValue, plain_text, quote, to_json_value

#: Keys of an event's data that may hold parts of a result or an error, what a step returned, a
#: digest of columns that can be guessed, or what a user put under ``payload``. The chain covers
#: their digests instead, so that it still holds when they are erased.
ERASABLE_KEYS = ("erased", "error", "traceback", "head", "result", "unique", "value", "payload")
_ERASABLE_KEY_SET = frozenset(ERASABLE_KEYS)
#: The key of a random text that the digests of erasable values include. It is erased with them:
#: without it, guessing does not tell what was erased.
SALT_KEY = "payload_salt"


def chained_digest(previous: str, content: Mapping[str, Any]) -> str:
    """The digest of the event with this content after the one with the digest ``previous``.

    ``content`` is as ``content_of`` returns it, and may hold more. The first event, and a ``block``
    right after it, leave out the task's key: the database may not have assigned it yet.
    """
    return digest_of(_covered_text(previous, content))


class FirstDigests:
    """The digests of first events that differ in their times only; ``content`` is that of one.

    Raises ValueError if that has the words of its time twice.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        text = _covered_text("", content)
        stamp = f',"event_time":"{_format_time(content["event_time"])}",'
        self._head, self._tail = text.split(stamp)

    def at(self, event_time: datetime) -> str:
        """The digest of the one at this time."""
        return digest_of(f'{self._head},"event_time":"{_format_time(event_time)}",{self._tail}')


def _covered_text(previous: str, content: Mapping[str, Any]) -> str:
    # An object of JSON with its keys in order, written out: it is done for each event, and to have
    # a dict encoded takes twice as long (test_a_seal_is_over_canonical_json).
    sequence, kind = content["sequence"], content["kind"]
    may_lack_key = sequence == 1 or (sequence == 2 and kind == EventKind.BLOCK)
    return (
        f'{{"actor":{_text(content["actor"])},"attempt":{_number(content["attempt"])}'
        f',"data":{_data_text(content["data"])}'
        f',"event_time":"{_format_time(content["event_time"])}"'
        f',"from_status":{_status(content["from_status"])},"kind":{quote(str(kind))}'
        f',"previous":{quote(previous)},"reason":{_text(content["reason"])}'
        f',"sequence":{_number(sequence)}'
        f',"task":{"null" if may_lack_key else quote(str(content["task"]))}'
        f',"to_status":{_status(content["to_status"])},"worker":{_text(content["worker"])}}}'
    )


def _text(text: Any) -> str:
    return quote(text) if type(text) is str else _canonical_json(text)


def _number(number: Any) -> str:
    return str(number) if type(number) is int else _canonical_json(number)


def _status(status: int | None) -> str:
    return "null" if status is None else str(int(status))


def _data_text(data: Any) -> str:
    if not (isinstance(data, dict) and _has_erasable_keys(data)):
        plain = plain_text(data, is_sorted=True)
        if plain is not None:
            return plain
    return _canonical_json(_redacted(to_json_value(data)))


def digest_of(text: str) -> str:
    """The SHA-256 of ``text``, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def summary_of(text: str) -> dict[str, object]:
    """What an event holds of a result or an error with this stored text: its digest and size."""
    return {"digest": digest_of(text), "size": len(text)}


def with_salt(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` of a new event, with a new salt if it has erasable values."""
    if not _has_erasable_keys(data):
        return data
    salted = type(data)(data)
    salted[SALT_KEY] = secrets.token_hex(16)
    return salted


def erase_payload(data: Any) -> Any:
    """``data`` of an event with each erasable value replaced by a mark with its digest."""
    if not isinstance(data, dict):
        return data
    marks = _marks(to_json_value(data))
    kept = {key: value for key, value in data.items() if not (marks and key == SALT_KEY)}
    return type(data)({**kept, **marks})


def has_erased_parts(data: object) -> bool:
    """Whether something was erased from ``data`` of an event."""
    return isinstance(data, dict) and any(is_erased(data.get(key)) for key in ERASABLE_KEYS)


def is_erased(value: object) -> bool:
    """Whether ``value`` is the mark that erasing leaves."""
    return isinstance(value, dict) and value.get(TAG) == "erased"


def _redacted(json_data: Any) -> Any:
    if not isinstance(json_data, dict) or not _has_erasable_keys(json_data):
        return json_data
    kept = {key: value for key, value in json_data.items() if key != SALT_KEY}
    return {**kept, **{key: mark["digest"] for key, mark in _marks(json_data).items()}}


def _has_erasable_keys(data: dict[str, Any]) -> bool:
    return not _ERASABLE_KEY_SET.isdisjoint(data)


def _marks(json_data: dict[str, Any]) -> dict[str, TaggedValue]:
    salt = json_data.get(SALT_KEY)
    return {key: _mark(json_data[key], salt) for key in ERASABLE_KEYS if key in json_data}


def _mark(value: Any, salt: Any) -> TaggedValue:
    # As a list: the end of a salt and the beginning of a value cannot be exchanged unnoticed.
    digest = value.get("digest") if is_erased(value) else digest_of(_canonical_json([salt, value]))
    return TaggedValue({TAG: "erased", "digest": digest})


_canonical_json: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":")
).encode


def _format_time(moment: datetime) -> str:
    if moment.tzinfo is UTC:
        return _format_utc_time(moment)
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")


@lru_cache(maxsize=100)
def _format_utc_time(moment: datetime) -> str:
    # A fixture in JSON keeps no microseconds, and the chain must hold after loaddata. The events of
    # a batch have one time.
    return moment.isoformat(timespec="milliseconds")
