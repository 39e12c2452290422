"""When a task function that raised is tried again: the delays, and the errors for which it is."""

from __future__ import annotations

import math
import numbers
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from django.utils.module_loading import import_string

#: An exception class or its dotted path, or several of them.
ErrorNames = type[BaseException] | str | Iterable[type[BaseException] | str]


class Backoff(Protocol):
    """Says when a retry begins: seconds or a timedelta from now, or an aware datetime.

    It is called with the number of the retry, 1 for the first, and with what the task function
    raised.
    """

    def __call__(
        self, retry_number: int, error: BaseException, /
    ) -> float | timedelta | datetime: ...


@dataclass(frozen=True, slots=True)
class Exponential:
    """A delay that begins with ``first`` and is ``factor`` times as long at each further retry.

    It never exceeds ``maximum``. A random part of it, at most the fraction ``jitter``, is left out:
    tasks that failed together are not tried again together. ``first`` and ``maximum`` are seconds
    or timedeltas. Raises ValueError for what makes no delay.
    """

    first: float | timedelta = 1
    factor: float = 2
    maximum: float | timedelta = 300
    jitter: float = 0.25

    def __post_init__(self) -> None:
        duration = "a positive number of seconds, or a timedelta"
        _require(0 < seconds_of(self.first) < math.inf, "first", self.first, duration)
        _require(0 < seconds_of(self.maximum) < math.inf, "maximum", self.maximum, duration)
        is_growth = 1 <= _number(self.factor) < math.inf
        _require(is_growth, "factor", self.factor, "a number of at least 1")
        _require(0 <= _number(self.jitter) <= 1, "jitter", self.jitter, "a fraction from 0 to 1")

    def __call__(self, retry_number: int, error: BaseException | None = None) -> float:
        """Seconds until the retry with this number, 1 for the first."""
        try:
            growth = float(self.factor) ** max(retry_number - 1, 0)
        except OverflowError:
            growth = math.inf
        delay = min(seconds_of(self.first) * growth, seconds_of(self.maximum))
        return delay * (1.0 - float(self.jitter) * random.random())  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same delay each time: ``seconds`` or a timedelta. Raises ValueError for others."""

    seconds: float | timedelta

    def __post_init__(self) -> None:
        expected = "a number of seconds, 0 or more, or a timedelta"
        _require(0 <= seconds_of(self.seconds) < math.inf, "seconds", self.seconds, expected)

    def __call__(self, retry_number: int, error: BaseException | None = None) -> float:
        """Seconds until the retry."""
        return seconds_of(self.seconds)


def seconds_of(duration: object) -> float:
    """``duration``, a number of seconds or a timedelta, in seconds; NaN for anything else."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    return _number(duration)


def error_entries(names: ErrorNames | None) -> Iterator[object]:
    """The single entries of ``names``: classes and dotted paths, each still to be resolved."""
    if isinstance(names, Iterable) and not isinstance(names, str | type):
        yield from names
    elif names is not None:
        yield names


def resolve_error(entry: object) -> type[BaseException]:
    """The exception class that an entry names. Raises LookupError, which says why, if it does not.

    A dotted path is imported.
    """
    found = entry
    if isinstance(entry, str):
        try:
            found = import_string(entry)
        except (Exception, SystemExit) as error:  # a script may end when it is imported
            raise LookupError(
                f"{entry!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise LookupError(f"{entry!r} is no exception class")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _require(is_valid: bool, name: str, value: object, expected: str) -> None:
    if not is_valid:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
