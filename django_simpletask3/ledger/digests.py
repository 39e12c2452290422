"""The digest chain of a stream: it shows every change, and payloads can still be erased."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from .encoding import TAG, TaggedValue, to_json_value

#: Keys of an event's data that may hold parts of a result or an error. The chain covers their
#: digests instead, so that it still holds when they are erased.
ERASABLE_KEYS = ("erased", "error", "traceback", "head")
_ERASABLE_KEY_SET = frozenset(ERASABLE_KEYS)


def chained_digest(
    previous: str,
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
) -> str:
    """The digest of the event with this content after the one with the digest ``previous``.

    The first event leaves out the task's key: the database may not have assigned it yet.
    """
    content = {
        "task": None if sequence == 1 else str(task),
        "sequence": sequence,
        "kind": str(kind),
        "from_status": None if from_status is None else int(from_status),
        "to_status": None if to_status is None else int(to_status),
        "attempt": attempt,
        "event_time": _format_time(event_time),
        "worker": worker,
        "actor": actor,
        "reason": reason,
        "data": _redacted(to_json_value(data)),
        "previous": previous,
    }
    return digest_of(_canonical_json(content))


def digest_of(text: str) -> str:
    """The SHA-256 of ``text``, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def erase_payload(data: Any) -> Any:
    """``data`` of an event with each erasable value replaced by a mark with its digest."""
    if not isinstance(data, dict):
        return data
    parts = {key: _erasure_mark(to_json_value(data[key])) for key in ERASABLE_KEYS if key in data}
    return type(data)({**data, **parts})


def has_erased_parts(data: object) -> bool:
    """Whether something was erased from ``data`` of an event."""
    return isinstance(data, dict) and any(is_erased(data.get(key)) for key in ERASABLE_KEYS)


def is_erased(value: object) -> bool:
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


def _format_time(moment: datetime) -> str:
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    # A fixture in JSON keeps no microseconds, and the chain must hold after loaddata.
    return moment.isoformat(timespec="milliseconds")
