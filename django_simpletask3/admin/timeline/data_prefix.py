"""What the beginning of an event's data says: of large data no more is read."""

from __future__ import annotations

import json
import re
from typing import Any

from ...ledger.encoding import decode

#: How much of an event's data is read: a reset keeps the result that it erased.
LIMIT = 2000

_COMMA, _COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")


def is_cut(event: Any) -> bool:
    """Whether the data of ``event`` goes on behind what was read."""
    return len(getattr(event, "head", None) or "") > LIMIT


def said_in(event: Any) -> dict[str, Any]:
    """The members of the data of ``event``; those that are whole, if it was cut.

    An event that was read with ``head``, as the timeline does, is asked for nothing else.
    """
    if not hasattr(event, "head"):
        data = event.data
    elif is_cut(event):
        return dict(_members(event.head))
    else:
        data = None if event.head is None else decode(event.head)
    return data if isinstance(data, dict) else {}


def _members(text: str) -> list[tuple[str, Any]]:
    """The members of an object that breaks off somewhere."""
    decoder = json.JSONDecoder()
    found: list[tuple[str, Any]] = []
    place = text.find("{") + 1
    try:
        while place:
            name, place = decoder.raw_decode(text, _behind(_COMMA, text, place))
            value, place = decoder.raw_decode(text, _behind(_COLON, text, place))
            found.append((name, value))
    except (ValueError, RecursionError):
        pass
    return found


def _behind(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place
