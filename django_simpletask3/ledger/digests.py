"""The digest of an event: any change of it shows, and what a body said can still be erased."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.utils import timezone

from .encoding import TAG, TaggedValue, is_simple, to_json_value

#: The parts of an event's data that say what a body returned or raised. The chain seals their
#: digests, so that they can be erased and the chain still holds.
ERASABLE_KEYS = ("erased", "error", "traceback", "head")
_ERASABLE_KEY_SET = frozenset(ERASABLE_KEYS)


def chained_digest(previous: str, **content: Any) -> str:
    """The digest of the event with this ``content`` after the one with the digest ``previous``."""
    head, tail = halves(**content)
    return digest_of(f"{head}{_word(previous)}{tail}")


def halves(
    *,
    task: Any,
    sequence: int,
    kind: str,
    from_status: int | None,
    to_status: int | None,
    attempt: int,
    event_time: datetime,
    worker: str,
    actor: str,
    reason: str,
    data: Any,
) -> tuple[str, str]:
    """What a digest is over: the text before, and after, the JSON of the digest before it.

    The first event leaves out the task's key: the database may not have assigned it yet.
    """
    # The words of a JSON object whose keys are sorted (test_a_seal_is_over_canonical_json), written
    # out: it is done for every move, and a dict that is sorted first takes twice as long.
    word = _word
    head = (
        f'{{"actor":{word(actor)},"attempt":{_number(attempt)},"data":{_payload(data)}'
        f',"event_time":"{_instant(event_time)}","from_status":{_status(from_status)}'
        f',"kind":{word(str(kind))},"previous":'
    )
    tail = (
        f',"reason":{word(reason)},"sequence":{_number(sequence)}'
        f',"task":{"null" if sequence == 1 else word(str(task))}'
        f',"to_status":{_status(to_status)},"worker":{word(worker)}}}'
    )
    return head, tail


def digest_of(text: str) -> str:
    """The SHA-256 of ``text``, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def erase_payload(data: Any) -> Any:
    """``data`` of an event with a mark of its digest in the place of each part of the payload."""
    if not isinstance(data, dict):
        return data
    parts = {key: _erasure_mark(to_json_value(data[key])) for key in ERASABLE_KEYS if key in data}
    return type(data)({**data, **parts})


def has_erased_parts(data: Any) -> bool:
    """Whether something was erased from ``data`` of an event."""
    return isinstance(data, dict) and any(is_erased(data.get(key)) for key in ERASABLE_KEYS)


def is_erased(value: Any) -> bool:
    """Whether ``value`` is the mark that erasing leaves."""
    return isinstance(value, dict) and value.get(TAG) == "erased"


def _erasure_mark(part: Any) -> TaggedValue:
    digest = part.get("digest") if is_erased(part) else digest_of(_canonical_json(part))
    return TaggedValue({TAG: "erased", "digest": digest})


def _redacted(data: Any) -> Any:
    if not isinstance(data, dict) or _ERASABLE_KEY_SET.isdisjoint(data):
        return data
    return {
        **data,
        **{key: _erasure_mark(data[key])["digest"] for key in ERASABLE_KEYS if key in data},
    }


_canonical_json: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":")
).encode
#: What that does with a text, without the way to it.
_quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii


def _word(text: Any) -> str:
    return _quoted(text) if type(text) is str else _canonical_json(text)


def _payload(data: Any) -> str:
    if is_simple(data):
        return _written(_redacted(data))
    return _canonical_json(_redacted(to_json_value(data)))


def _written(value: Any) -> str:
    """As ``_canonical``, of a simple value: to prepare that takes longer than to write a few words.

    JSON writes numbers as Python does.
    """
    kind = type(value)
    if kind is str:
        return _quoted(value)
    if kind is dict:
        words = [f"{_quoted(key)}:{_written(value[key])}" for key in sorted(value)]
        return f"{{{','.join(words)}}}"
    if kind is list:
        return f"[{','.join(map(_written, value))}]"
    return repr(value) if kind is int or kind is float else _canonical_json(value)


def _number(number: Any) -> str:
    return str(number) if type(number) is int else _canonical_json(number)


def _status(status: Any) -> str:
    return "null" if status is None else str(int(status))


def _instant(moment: datetime) -> str:
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    return _format_time(moment)


@lru_cache(maxsize=100)
def _format_time(moment: datetime) -> str:
    """A moment of UTC, or of no zone: those of a batch are said again and again."""
    # A fixture in JSON keeps no microseconds, and the chain must hold after loaddata.
    return moment.isoformat(timespec="milliseconds")
