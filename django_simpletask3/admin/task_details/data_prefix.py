"""The first part of an event's data, so that pages never read large data in full."""

from __future__ import annotations

import json
import re
from typing import Any

from ...ledger.encoding import decode
from ...ledger.event import TaskEvent

#: Characters of an event's data to read: a reset keeps the result that it erased.
LIMIT = 2000
#: Keys that may hold parts of a result or an error, or what a step returned.
_OUTCOME = frozenset({"erased", "error", "head", "result", "traceback", "value"})

_COMMA, _COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")


def is_truncated(event: TaskEvent) -> bool:
    """Whether the data of ``event`` is longer than the part that was read."""
    return len(getattr(event, "head", None) or "") > LIMIT


def parse_prefix(event: TaskEvent) -> dict[str, object]:
    """The members of the data of ``event``; only the complete ones if it was cut.

    For an event with the annotation ``head``, as in the timeline, no other data is loaded.
    """
    if hasattr(event, "head"):
        return parse_text(event.head)
    return event.data if isinstance(event.data, dict) else {}


def parse_text(text: str | None) -> dict[str, object]:
    """As ``parse_prefix``, of the first LIMIT + 1 characters of the stored data."""
    if text is None:
        return {}
    if len(text) > LIMIT:
        return dict(_complete_members(text))
    data = decode(text)
    return data if isinstance(data, dict) else {}


def without_outcome(data: dict[str, object]) -> dict[str, object]:
    """``data`` of an event without results and errors."""
    return {key: value for key, value in data.items() if key not in _OUTCOME}


def parse_data(event: TaskEvent) -> Any:
    """The data of ``event``, which is not truncated; None without any."""
    if not hasattr(event, "head"):
        return event.data
    return None if event.head is None else decode(event.head)


def _complete_members(text: str) -> list[tuple[str, object]]:
    """The complete members of a truncated JSON object."""
    decoder = json.JSONDecoder()
    members: list[tuple[str, Any]] = []
    position = text.find("{") + 1
    try:
        while position:
            name, position = decoder.raw_decode(text, _skip(_COMMA, text, position))
            value, position = decoder.raw_decode(text, _skip(_COLON, text, position))
            members.append((name, value))
    except (ValueError, RecursionError):
        pass
    return members


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
