"""Dead letters: the messages that no worker could understand, each with the reason."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

from ..conf.priorities import PRIORITIES
from .encoding import Undecodable, loads_json
from .messages import NO_BODY, Message
from .operations import QueueOperations

UNREADABLE = "unreadable dead letter"

_MAX_REASON, _MAX_DATA = 500, 2000
_LAST_TIME = 253_402_300_799.0  # the last second of the year 9999
_PAGE_SIZE = 100


class DeadLetters(QueueOperations):
    """The dead letters of each channel; whatever stands in their list, the others are read."""

    def dead_letter(self, message: Message, reason: str) -> bool:
        """Drop a message and add it to the channel's dead letters (the last 10 000 are kept).

        Returns False, and adds nothing, if the claim is no longer valid. A body of more than 2000
        characters is cut, and such a letter cannot be pushed again.
        """
        return self.settle([message], "drop", "null", _write(message, reason))[0]

    def dead_letters(self, channel: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest ``limit`` dead letters of a channel, newest first.

        Each has a text ``id``, ``channel`` and ``reason``, a Unix ``time`` or None, the
        ``priority``, and the ``data`` of the message; or, if that could not be read or was too
        long, its beginning, ``raw``.
        """
        letters = self.run("letters", channel, 0, limit - 1)
        return [_read(letter, length, channel) for letter, length in letters]

    def dead_letter_count(self, channel: str) -> int:
        """The number of dead letters of the channel."""
        key = self.get_dead_key(channel)
        return int(self.ask(lambda: self.db.llen(key), key=key))

    def requeue_dead_letters(self, channel: str, limit: int = 1000) -> int:
        """Push the oldest ``limit`` dead letters of a channel again; returns their number.

        Each is pushed before it is removed from the list: if the process dies in between, a later
        call pushes it once more, which is harmless. A letter without the whole message stays.
        """
        pushed = left = 0
        while pushed < limit:
            size = min(_PAGE_SIZE, limit - pushed)
            page = self.run("letters", channel, -left - size, -left - 1)
            for letter, length in reversed(page):
                is_pushed = self._requeue(channel, letter, length)
                pushed, left = pushed + is_pushed, left + (not is_pushed)
            if len(page) < size:
                break
        return pushed

    def requeue_dead_letter(self, channel: str, message_id: str) -> bool:
        """Push the newest dead letter of this message again; False if there is none to push.

        The newest letters are searched first. One without the whole message stays.
        """
        first = 0
        while page := self.run("letters", channel, first, first + _PAGE_SIZE - 1):
            for letter, length in page:
                if _read(letter, length, channel)["id"] == message_id:
                    return self._requeue(channel, letter, length)
            first += _PAGE_SIZE
        return False

    def _requeue(self, channel: str, letter: bytes, length: int) -> bool:
        fields = _read(letter, length, channel)
        if "raw" in fields:
            return False
        priorities = {fields["id"]: fields["priority"]}
        try:
            self.push(channel, [(fields["id"], fields["data"])], priorities=priorities)
        except (TypeError, ValueError):
            return False
        key = self.get_dead_key(channel)
        self.ask(partial(self.db.lrem, key, -1, letter), tries=1)
        return True


def _write(message: Message, reason: str) -> str:
    """The letter as JSON; never raises."""
    letter = {
        "id": message.id,
        "channel": message.channel,
        "reason": reason[:_MAX_REASON],
        "time": time.time(),
        **({"priority": message.priority} if message.priority else {}),
    }
    try:
        data = json.dumps(message.data, default=str, skipkeys=True)
    except Exception:
        data = ""
    is_whole = message.problem in ("", NO_BODY) and 0 < len(data) <= _MAX_DATA
    raw = message.raw.decode(errors="backslashreplace") or data
    body = {"data": json.loads(data)} if is_whole else {"raw": raw[:_MAX_DATA]}
    return json.dumps(letter | body)


def _read(letter: bytes, length: int, channel: str) -> dict[str, Any]:
    try:
        fields = loads_json(letter) if len(letter) == length else None
    except Undecodable:
        fields = None
    if not isinstance(fields, dict):
        fields = {"reason": UNREADABLE, "raw": letter[:_MAX_DATA].decode(errors="backslashreplace")}
    texts = {name: _text(fields.get(name)) for name in ("id", "channel", "reason")}
    known = {
        "channel": channel,
        "time": _time(fields.get("time")),
        "data": fields.get("data"),
        "priority": _priority(fields.get("priority")),
    }
    read = {**texts, **known}
    if "data" not in fields or not texts["id"]:
        read["raw"] = _text(fields.get("raw"))
    return read


def _priority(value: object) -> int:
    return value if type(value) is int and value in PRIORITIES else 0


def _text(value: object) -> str:
    return value[: _MAX_DATA * 4] if isinstance(value, str) else ""


def _time(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _LAST_TIME else None  # type: ignore[operator, arg-type]
