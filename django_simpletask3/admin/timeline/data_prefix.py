"""The first part of an event's data, so that pages never read large data in full."""

from __future__ import annotations

import json
import re
from typing import Any

from ...ledger.encoding import decode
from ...ledger.event import TaskEvent

#: Characters of an event's data to read: a reset keeps the result that it erased.
LIMIT = 2000

_COMMA, _COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")


def is_truncated(event: TaskEvent) -> bool:
    """Whether the data of ``event`` is longer than the part that was read."""
    return len(getattr(event, "head", None) or "") > LIMIT


def parse_prefix(event: TaskEvent) -> dict[str, object]:
    """The members of the data of ``event``; only the complete ones if it was cut.

    For an event with the annotation ``head``, as in the timeline, no other data is loaded.
    """
    if not hasattr(event, "head"):
        data = event.data
    elif is_truncated(event):
        return dict(_complete_members(event.head))
    else:
        data = None if event.head is None else decode(event.head)
    return data if isinstance(data, dict) else {}


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
