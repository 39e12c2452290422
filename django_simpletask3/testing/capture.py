"""The events, and the tasks, that a block of code has recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

from django.db import Error

from ..states import EventKind
from .new_events import NewEvents
from .selection import Selection, load_all


class Captured(Sequence[Any]):
    """What was recorded since the block began, read when it is asked for; fixed at its end."""

    def __init__(self, selection: Selection, kinds: Iterable[EventKind] | None) -> None:
        self._events = NewEvents(selection)
        self._kinds = None if kinds is None else frozenset(kinds)
        self._found: list[Any] | None = None
        self._error: Error | None = None

    def close(self) -> None:
        """Read for the last time. What that raises is raised when the list is read."""
        try:
            self._found = self._read()
        except Error as error:  # the test has ended with a broken transaction
            self._error = error

    def _read(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        if self._found is not None:
            return self._found
        events = self._events.read()
        if self._kinds is None:
            return [event for _, event in events]
        keys = dict.fromkeys(key for key, event in events if event.kind in self._kinds)
        tasks = load_all(keys)
        return [tasks[key] for key in keys if key in tasks]

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return self._read()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == (other._read() if isinstance(other, Captured) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._read())


@contextmanager
def capture_events(*models_or_tasks: Any) -> Iterator[Sequence[Any]]:
    """Yield the events that are recorded within the block, of all tasks or of these, in order.

    The list grows while the block runs. Events of a transaction that is rolled back are not in it;
    those of one that is not committed yet are.
    """
    with _captured(models_or_tasks, None) as events:
        yield events


@contextmanager
def capture_enqueued(*models_or_tasks: Any) -> Iterator[Sequence[Any]]:
    """As ``capture_events()``: the tasks that are enqueued within the block, as they are now."""
    with _captured(models_or_tasks, [EventKind.ENQUEUE]) as tasks:
        yield tasks


@contextmanager
def _captured(
    models_or_tasks: Iterable[Any], kinds: Iterable[EventKind] | None
) -> Iterator[Captured]:
    captured = Captured(Selection.of(models_or_tasks), kinds)
    yield captured
    captured.close()
