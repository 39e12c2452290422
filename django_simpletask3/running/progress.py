"""The progress that a task function reports: how it is kept, and what events say of it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Sized
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from django.db.models import QuerySet
from django.db.models.query import RawQuerySet

from ..ledger.task_row import TaskRow
from . import progress_writer
from .attempt import Attempt

T = TypeVar("T")

_DIGITS = 6  # of a fraction


class Progress(NamedTuple):
    """How much is ``done``, of a ``total`` if that is known, and a word about it."""

    done: float
    total: float | None = None
    message: str = ""

    def data(self) -> dict[str, object]:
        """What ``data`` of an event says of it, but for the message."""
        if self.total is None:
            return {"done": self.done}
        share = min(self.done / self.total, 1.0) if self.total else 1.0
        return {"done": self.done, "total": self.total, "progress": round(share, _DIGITS)}


def data_of_outcome(attempt: Attempt) -> dict[str, object]:
    """What ``data`` of the outcome says of the last progress of ``attempt``."""
    last: Progress = attempt.progress
    return {**last.data(), **({"message": last.message} if last.message else {})}


def report(attempt: Attempt, progress: Progress) -> None:
    """Keep ``progress`` of a running attempt; it is written in the background."""
    attempt.progress = progress
    if attempt.progress_writer is not progress_writer.current:
        progress_writer.current.watch(attempt)


def checked(done: Any, total: Any, message: Any) -> Progress:
    """The arguments as Progress. Raises ValueError for what is no number of at least 0."""
    if type(done) is not int or done < 0:
        done = _number("done", done)
    if total is not None and (type(total) is not int or total < 0):
        total = _number("total", total)
    return Progress(done, total, message if type(message) is str else str(message))


def track(attempt: Attempt, rows: Iterable[T], total: float | None, message: str) -> Iterator[T]:
    """Yield ``rows``, and report how many are done; raises TaskStopped as ``check_stop()``."""
    done = -1
    for done, row in enumerate(rows):
        TaskRow.check_stop(attempt.task)
        report(attempt, Progress(done, total, message))
        yield row
    report(attempt, Progress(done + 1, total, message))


def known_length(rows: Iterable[Any]) -> int | None:
    """How many ``rows`` there are, if that is known without a query."""
    if isinstance(rows, QuerySet | RawQuerySet):
        cached = rows._result_cache  # type: ignore[union-attr]
        return None if cached is None else len(cached)
    return len(rows) if isinstance(rows, Sized) else None


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} is {value!r}; expected a number of at least 0.")
    return number
