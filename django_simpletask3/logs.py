"""Loggers that write each record as one line of ``event key=value`` pairs."""

from __future__ import annotations

import json
import logging
import traceback
import unicodedata
from typing import Any

_MUST_BE_QUOTED = frozenset(" \"'=\\")
#: How many characters of one value a record shows.
_MAX_LENGTH = 2000
#: How many characters of a traceback: half of them from its beginning, half from its end.
_MAX_TRACEBACK = 40_000


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Quotes the values of a record, so that no value can begin a new line or a new key."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """As ``Logger.log``; texts and exceptions in ``args`` are quoted where they need it.

        Raises nothing.
        """
        if self.isEnabledFor(level):
            values = (value if isinstance(value, int | float) else quote(value) for value in args)
            try:
                self.logger.log(level, msg, *values, **{"stacklevel": 2, **kwargs})
            except Exception:  # of a handler: it must not end a thread of a worker
                if logging.raiseExceptions:
                    traceback.print_exc()


def get_logger(name: str) -> EventLogger:
    """The logger of a module of this package."""
    return EventLogger(logging.getLogger(name))


class TerminalFormatter(logging.Formatter):
    """Indents tracebacks and escapes their control characters: they quote text from outside."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - as in logging
        """As in logging; no line of it can be taken for a record, and it never raises."""
        try:
            text = super().formatException(ei)
        except Exception:  # of an exception with odd attributes: the record must not be lost
            text = f"{type(ei[1]).__qualname__}: its traceback cannot be formatted"
        if len(text) > _MAX_TRACEBACK:
            text = f"{text[: _MAX_TRACEBACK // 2]}\n…\n{text[-_MAX_TRACEBACK // 2 :]}"
        return "\n".join(f"  {printable(line)}" for line in text.splitlines())


def quote(value: object) -> str:
    """``value`` as text; in double quotes, escaped as in JSON, unless it is one plain word.

    Never raises. A text of more than 2000 characters is cut.
    """
    try:
        text = str(value)
    except Exception:
        text = type(value).__qualname__
    if len(text) > _MAX_LENGTH:
        text = f"{text[:_MAX_LENGTH]}…"
    if text and text.isprintable() and _MUST_BE_QUOTED.isdisjoint(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def printable(text: str, *, keep: str = "") -> str:
    """``text`` as one line for a terminal: line breaks and invisible characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
