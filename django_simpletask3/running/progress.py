"""The progress that a task function reports: how it is kept, and what events say of it."""

from __future__ import annotations

import math
import numbers
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from django.db.models import QuerySet
from django.db.models.query import RawQuerySet

from ..ledger.encoding import safe_text
from ..ledger.fields import MAX_TEXT
from ..ledger.task_row import TaskRow
from . import progress_writer
from .attempt import Attempt

T = TypeVar("T")

#: Numbers are smaller: a float has each of these integers, as has the JSON of other languages.
_END = 2**53


class Progress(NamedTuple):
    """How much is ``done``, of a ``total`` if that is known, and a word about it."""

    done: float
    total: float | None = None
    message: str = ""

    def as_data(self, *, with_message: bool = False) -> dict[str, object]:
        """What ``data`` of an event says of it; the message of a note is its reason."""
        reported: dict[str, object] = {"done": self.done}
        if self.total is not None:
            reported["total"] = self.total
        if with_message and self.message:
            reported["message"] = self.message
        return reported


def report(attempt: Attempt, progress: Progress) -> None:
    """Keep ``progress`` of a running attempt; it is written in the background."""
    attempt.progress = progress
    if attempt.progress_writer is not progress_writer.current:
        progress_writer.current.watch(attempt)


def checked(done: Any, total: Any, message: Any) -> Progress:
    """The arguments as Progress, the message cut; raises ValueError for what is no number."""
    if type(done) is not int or not 0 <= done < _END:
        done = _number("done", done)
    if total is not None and (type(total) is not int or not 0 <= total < _END):
        total = _number("total", total)
    return Progress(done, total, safe_text(message, limit=MAX_TEXT)[:MAX_TEXT] if message else "")


def track(attempt: Attempt, rows: Iterable[T], total: float | None, message: str) -> Iterator[T]:
    """Yield ``rows``, and report how many are done; raises TaskStopped as ``check_stop()``."""
    done = -1
    for done, row in enumerate(rows):
        _begin_row(attempt, Progress(done, total, message))
        yield row
    report(attempt, Progress(done + 1, total, message))


async def atrack(
    attempt: Attempt, rows: Iterable[T] | AsyncIterable[T], total: float | None, message: str
) -> AsyncIterator[T]:
    """As ``track``; ``rows`` may be asynchronous."""
    done = 0
    async for row in _each(rows):
        _begin_row(attempt, Progress(done, total, message))
        yield row
        done += 1
    report(attempt, Progress(done, total, message))


async def _each(rows: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _begin_row(attempt: Attempt, progress: Progress) -> None:
    TaskRow.check_stop(attempt.task)
    report(attempt, progress)


def known_length(rows: Iterable[Any] | AsyncIterable[Any]) -> int | None:
    """How many ``rows`` there are, if that is known without a query."""
    if isinstance(rows, QuerySet | RawQuerySet):
        cached = rows._result_cache  # type: ignore[union-attr]
        return None if cached is None else len(cached)
    return len(rows) if isinstance(rows, Sized) else None


def _number(name: str, value: Any) -> float:
    number = math.nan
    if type(value) is not bool and isinstance(value, numbers.Real | Decimal):
        with suppress(ArithmeticError, ValueError):  # too large, a signaling NaN
            number = float(value)
    if not 0 <= number < _END:
        raise ValueError(f"{name} is {value!r}; expected a number of at least 0, below 2**53.")
    return int(number) if isinstance(value, numbers.Integral) else number
