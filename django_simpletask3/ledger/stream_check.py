"""What does not fit in one stream, and between the stream and its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..exceptions import IllegalTransition
from ..states import EVIDENCE, EventKind, Status
from .digests import digest_of, has_erased
from .projection import Projection


class Problem(StrEnum):
    """In what way a stream or its row is not as it was written."""

    GAP = "gap"  # events are missing, or numbered wrongly
    DIGEST = "digest"  # an event is not as it was sealed
    ARROW = "arrow"  # the state machine does not allow it
    TWICE = "twice"  # one attempt has ended twice
    ERASED = "erased"  # something was erased that no event tells of
    TAIL = "tail"  # the row knows of events that are not there
    ROW = "row"  # the row says something else than its events
    RESULT = "result"  # the result or error is not the one that was recorded
    STREAM = "stream"  # a row without events
    ORPHAN = "orphan"  # events without a row, and no event of its deletion


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something that does not fit, at the event number ``sequence``."""

    sequence: int
    problem: Problem
    what: str


_OUTCOMES = frozenset({EventKind.ACK, EventKind.FAIL, EventKind.DROP})


class Examination:
    """Hears the events of one task in order, then compares the row; remembers no event.

    ``suspicions`` is what does not fit; ``projection`` is what the events say of the row.
    """

    def __init__(self) -> None:
        self.projection = Projection()
        self.suspicions: list[Suspicion] = []
        self._last: Any = None
        self._outcome: Any = None
        self._ended: int | None = None
        self._erased_at: int | None = None

    @property
    def is_intact(self) -> bool:
        """Whether what does not fit is the row only: then the events can tell what it must say."""
        return all(one.problem in (Problem.ROW, Problem.ORPHAN) for one in self.suspicions)

    @property
    def _is_confused(self) -> bool:
        """Whether the stream makes no sense, so that there is nothing to compare the row with."""
        senseless = {Problem.GAP, Problem.ARROW, Problem.TWICE}
        return any(one.problem in senseless for one in self.suspicions)

    def hear(self, event: Any) -> None:
        """The next event of the stream."""
        self._check_place(event)
        self._check_arrow(event)
        self._check_end(event)
        self._remember_outcome(event)
        self._last = event

    def compare(self, row: Mapping[str, Any] | None) -> None:
        """The row that belongs to the stream, None if it is gone: its columns by name.

        The outcome is compared if the row has ``result_text`` (as it is stored) and ``error_data``.
        """
        if self._erased_at is not None:
            self._suspect(
                self._erased_at, Problem.ERASED, "a payload is marked as erased, by no event"
            )
        if row is None:
            self._compare_nothing()
        elif self._last is None:
            self._suspect(0, Problem.STREAM, f"the row is at event {row['sequence']}; none exists")
        elif row["sequence"] > self.projection.sequence:
            last = self.projection.sequence + 1
            missing = f"{last} to {row['sequence']}" if row["sequence"] > last else str(last)
            self._suspect(last, Problem.TAIL, f"missing at the end: {missing}")
        else:
            self._compare_columns(row)

    def _suspect(self, sequence: int, problem: Problem, what: str) -> None:
        self.suspicions.append(Suspicion(sequence, problem, what))

    def _check_place(self, event: Any) -> None:
        expected = self.projection.sequence + 1
        if event.sequence != expected:
            missing = f"{expected} to {event.sequence - 1}"
            self._suspect(event.sequence, Problem.GAP, f"missing before it: {missing}")
        elif event.digest != event.sealed(self.projection.digest):
            self._suspect(event.sequence, Problem.DIGEST, f"the {event.kind} was changed")

    def _check_arrow(self, event: Any) -> None:
        before = self.projection
        attempt = before.attempt + (event.kind == EventKind.START)
        try:
            after = before.after(event)
        except (IllegalTransition, ValueError) as error:
            self._suspect(event.sequence, Problem.ARROW, str(error))
            after = self._as_told(event)
        else:
            told = (event.from_status, event.to_status, event.attempt)
            if told != (before.status, after.status, attempt):
                says = f"{_name(told[0])} to {_name(told[1])}, attempt {told[2]}"
                is_so = f"{_name(before.status)} to {_name(after.status)}, attempt {attempt}"
                self._suspect(event.sequence, Problem.ARROW, f"it says {says}; it is {is_so}")
                after = after._replace(status=_status(event.to_status))
        self.projection = after

    def _as_told(self, event: Any) -> Projection:
        return self.projection._replace(
            sequence=event.sequence,
            digest=event.digest,
            status=_status(event.to_status),
            attempt=event.attempt,
        )

    def _check_end(self, event: Any) -> None:
        if event.kind not in _OUTCOMES or event.from_status != Status.RUNNING:
            return
        if event.attempt == self._ended:
            what = f"attempt {event.attempt} had ended already"
            self._suspect(event.sequence, Problem.TWICE, what)
        self._ended = event.attempt

    def _remember_outcome(self, event: Any) -> None:
        if event.kind == EventKind.ERASE:
            self._outcome = self._erased_at = None
        elif event.kind not in EVIDENCE:
            self._outcome = event
        if has_erased(event.data) and self._erased_at is None:
            self._erased_at = event.sequence

    def _compare_nothing(self) -> None:
        if self._last is not None and self._last.kind != EventKind.DELETE:
            self._suspect(self._last.sequence, Problem.ORPHAN, "the row is gone, by no event")

    def _compare_columns(self, row: Mapping[str, Any]) -> None:
        said = Projection.of(dict(row))
        differences = self.projection.differences(said)
        at = self.projection.sequence
        if said.sequence == at and "digest" in differences:
            # Somebody has sealed the last event anew.
            what = "the row knows another digest of the last event"
            self._suspect(at, Problem.TAIL, what)
        if self._is_confused:
            return
        if differences.keys() - {"digest"}:
            told = (f"{name} is {_word(b)}, not {_word(a)}" for name, (a, b) in differences.items())
            self._suspect(at, Problem.ROW, "; ".join(told))
        elif "result_text" in row:
            self._compare_outcome(row)

    def _compare_outcome(self, row: Mapping[str, Any]) -> None:
        event = self._outcome
        data = event.data if event is not None and isinstance(event.data, dict) else {}
        if event is not None and event.kind == EventKind.ACK:
            self._compare_result(data.get("result"), row["result_text"])
        elif row["result_text"] is not None:
            self._blame("there is a result, and no ack")
        error = row["error_data"]
        if "error" in data and not has_erased({"error": data["error"]}):
            told = data["error"]
            if not isinstance(error, dict) or any(error.get(k) != v for k, v in told.items()):
                self._blame("the error is not the one that was recorded")
        elif error is not None and "head" not in data:
            self._blame("there is an error, and none was recorded")

    def _compare_result(self, recorded: Any, text: str | None) -> None:
        found = None if text is None else {"digest": digest_of(text), "size": len(text)}
        if found != recorded:
            self._blame("the result is not the one that was recorded")

    def _blame(self, what: str) -> None:
        self._suspect(self._last.sequence, Problem.RESULT, what)


def _status(number: int | None) -> Any:
    try:
        return None if number is None else Status(number)
    except ValueError:
        return number


def _name(status: Any) -> str:
    return getattr(status, "name", str(status)) if status is not None else "none"


def _word(value: Any) -> str:
    return value.name if isinstance(value, Status) else str(value)
