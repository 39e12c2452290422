"""Loggers that write each record as one line of ``event key=value`` pairs."""

from __future__ import annotations

import json
import logging
from typing import Any

_MUST_BE_QUOTED = frozenset(" \"'=\\")


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Quotes the values of a record, so that no value can begin a new line or a new key."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """As ``Logger.log``; texts and exceptions in ``args`` are quoted where they need it."""
        if self.isEnabledFor(level):
            values = (value if isinstance(value, int | float) else quote(value) for value in args)
            self.logger.log(level, msg, *values, **{"stacklevel": 2, **kwargs})


def get_logger(name: str) -> EventLogger:
    """The logger of a module of this package."""
    return EventLogger(logging.getLogger(name))


def quote(value: object) -> str:
    """``value`` as text; in double quotes, escaped as in JSON, unless it is one plain word."""
    text = str(value)
    if text and text.isprintable() and _MUST_BE_QUOTED.isdisjoint(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
