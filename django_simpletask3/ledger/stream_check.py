"""Check one stream, and its row against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from ..exceptions import IllegalTransition
from ..states import AUDIT_ONLY, RECOVERABLE, EventKind, Status, kinds_where, status_name, status_of
from .digests import has_erased_parts, is_erased, summary_of
from .projection import Projection


class DiscrepancyKind(StrEnum):
    """How a stream or its row differs from what was written."""

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
    LINE = "line"  # it waits for a limit that does not know it
    PLACE = "place"  # it runs without a place of its limit
    WAIT = "wait"  # it waits for tasks that have ended, or its end was not counted


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A difference, at the event number ``sequence``."""

    sequence: int
    problem: DiscrepancyKind
    detail: str


#: Of hostile input no more is kept.
_MAX_DISCREPANCIES, _MAX_DETAIL = 1000, 2000

#: The columns that each event says, whatever its kind.
_SAID_BY_EVENTS = frozenset({"status", "attempt", "sequence"})
_REPAIR_ELSEWHERE = "a newer version has written events: repair the row with that version"
_OUTCOMES = frozenset(kinds_where(lambda spec: spec.sets_result_time))
#: The kinds whose events say when the task expires, and which key it has.
_SETS_EXPIRY_AND_KEY = frozenset({EventKind.ENQUEUE, EventKind.RESET})


class StreamChecker:
    """Check the events of one task in order, then compare the row; keeps no events.

    ``discrepancies`` lists what does not fit; ``projection`` is the fold of the events, and
    ``operational_columns`` are the other columns of the row that follow from them.
    """

    def __init__(self) -> None:
        self.projection = Projection()
        self.operational_columns: dict[str, Any] = {}
        self.discrepancies: list[Discrepancy] = []
        #: The number of events that were fed.
        self.events = 0
        self._last_event: Any = None
        self._outcome_event: Any = None
        self._ended_attempt: int | None = None
        self._erased_sequence: int | None = None
        #: Whether there are events that only a newer version understands. They are checked for
        #: changes, and the row only for what they say themselves.
        self.has_unknown_events = False

    @property
    def is_intact(self) -> bool:
        """Whether only the row does not fit, so that it can be repaired from the events."""
        repairable = {DiscrepancyKind.ROW, DiscrepancyKind.ORPHAN}
        return not self.has_unknown_events and all(
            discrepancy.problem in repairable for discrepancy in self.discrepancies
        )

    @property
    def _is_inconsistent(self) -> bool:
        """Whether the stream cannot have happened, so that the row cannot be compared."""
        inconsistencies = {DiscrepancyKind.GAP, DiscrepancyKind.ARROW, DiscrepancyKind.TWICE}
        return any(discrepancy.problem in inconsistencies for discrepancy in self.discrepancies)

    def feed(self, event: Any) -> None:
        """Check the next event of the stream."""
        self.events += 1
        self._check_position(event)
        self._check_arrow(event)
        self._check_attempt_end(event)
        self._remember_outcome(event)
        self._remember_operational_columns(event)
        self._last_event = event

    def compare(self, row: Mapping[str, Any] | None) -> None:
        """Check the row of the stream: its columns by name, None if it is gone.

        The outcome is compared if the row has ``result_text`` and ``error_text``, as they are
        stored; the operational columns are compared if the row has them.
        """
        if self._erased_sequence is not None:
            self._add_at(
                self._erased_sequence,
                DiscrepancyKind.ERASED,
                "a payload is marked as erased, by no event",
            )
        if row is None:
            self._check_missing_row()
        elif self._last_event is None:
            self._add_at(
                0, DiscrepancyKind.STREAM, f"the row is at event {row['sequence']}; none exists"
            )
        elif row["sequence"] > self.projection.sequence:
            first_missing = self.projection.sequence + 1
            missing = (
                f"{first_missing} to {row['sequence']}"
                if row["sequence"] > first_missing
                else str(first_missing)
            )
            self._add_at(first_missing, DiscrepancyKind.TAIL, f"missing at the end: {missing}")
        else:
            self._compare_columns(row)

    def _add_at(self, sequence: int, problem: DiscrepancyKind, detail: str) -> None:
        if len(self.discrepancies) < _MAX_DISCREPANCIES:
            self.discrepancies.append(Discrepancy(sequence, problem, detail[:_MAX_DETAIL]))

    def _check_position(self, event: Any) -> None:
        expected = self.projection.sequence + 1
        if event.sequence != expected:
            missing = f"{expected} to {event.sequence - 1}"
            self._add_at(event.sequence, DiscrepancyKind.GAP, f"missing before it: {missing}")
        elif event.digest != event.expected_digest(self.projection.digest):
            self._add_at(event.sequence, DiscrepancyKind.DIGEST, f"the {event.kind} was changed")

    def _check_arrow(self, event: Any) -> None:
        before = self.projection
        is_unknown = before.is_unknown(event)
        self.has_unknown_events |= is_unknown
        attempt = before.attempt + (event.kind == EventKind.START)
        try:
            after = before.after(event)
        except (IllegalTransition, ValueError) as error:
            self._add_at(event.sequence, DiscrepancyKind.ARROW, str(error))
            after = self._as_recorded(event)
        else:
            recorded = (event.from_status, event.to_status, event.attempt)
            attempt = event.attempt if is_unknown else attempt
            if recorded != (before.status, after.status, attempt):
                recorded_text = (
                    f"{_name(recorded[0])} to {_name(recorded[1])}, attempt {recorded[2]}"
                )
                expected_text = (
                    f"{_name(before.status)} to {_name(after.status)}, attempt {attempt}"
                )
                self._add_at(
                    event.sequence,
                    DiscrepancyKind.ARROW,
                    f"it says {recorded_text}; it is {expected_text}",
                )
                after = after._replace(status=status_of(event.to_status))
        self.projection = after

    def _as_recorded(self, event: Any) -> Projection:
        return self.projection._replace(
            sequence=event.sequence,
            digest=event.digest,
            status=status_of(event.to_status),
            attempt=event.attempt,
        )

    def _check_attempt_end(self, event: Any) -> None:
        if event.kind not in _OUTCOMES or event.from_status != Status.RUNNING:
            return
        if self.has_unknown_events:
            return  # one of them may have begun the attempt again
        if event.attempt == self._ended_attempt:
            detail = f"attempt {event.attempt} had ended already"
            self._add_at(event.sequence, DiscrepancyKind.TWICE, detail)
        self._ended_attempt = event.attempt

    def _remember_outcome(self, event: Any) -> None:
        if event.kind == EventKind.ERASE:
            self._outcome_event = self._erased_sequence = None
        elif event.kind not in AUDIT_ONLY:
            self._outcome_event = event
        if has_erased_parts(event.data) and self._erased_sequence is None:
            self._erased_sequence = event.sequence

    def _remember_operational_columns(self, event: Any) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        if event.kind == EventKind.ENQUEUE:
            # Unknown if the row was inserted without save(), or the data were cut.
            is_known = not data.get("adopted") and "head" not in data
            self.operational_columns = {"parent": data.get("parent")} if is_known else {}
        if event.kind in _SETS_EXPIRY_AND_KEY:
            self._remember_expiry(data)
            self._remember_key(data)
        if data.get("key_freed") is True:
            self.operational_columns["unique_key"] = None
        if event.kind in AUDIT_ONLY:
            return
        if self.projection.status == Status.RUNNING:
            self.operational_columns["worker"] = event.worker
        elif self.projection.status == Status.PENDING:
            self.operational_columns["worker"] = ""

    def _remember_expiry(self, data: Mapping[str, Any]) -> None:
        if data.get("adopted") or "head" in data:
            self.operational_columns.pop("expires_at", None)
        else:
            self.operational_columns["expires_at"] = _parse_time(data.get("expires_at"))

    def _remember_key(self, data: Mapping[str, Any]) -> None:
        if data.get("adopted") or "head" in data or is_erased(data.get("unique")):
            self.operational_columns.pop("unique_key", None)
        else:
            self.operational_columns["unique_key"] = _parse_key(data.get("unique"))

    def _check_missing_row(self) -> None:
        if self._last_event is not None and self.projection.status is not None:
            self._add_at(
                self._last_event.sequence, DiscrepancyKind.ORPHAN, "the row is gone, by no event"
            )

    def _compare_columns(self, row: Mapping[str, Any]) -> None:
        row_projection = Projection.of(dict(row))
        differences = self.projection.differences(row_projection)
        sequence = self.projection.sequence
        if row_projection.sequence == sequence and "digest" in differences:
            # The digest of the last event was computed anew.
            detail = "the row knows another digest of the last event"
            self._add_at(sequence, DiscrepancyKind.TAIL, detail)
        if self._is_inconsistent:
            return
        if self.has_unknown_events:
            differences = {n: d for n, d in differences.items() if n in _SAID_BY_EVENTS}
            if differences:
                self._add_row_differences(differences, [_REPAIR_ELSEWHERE])
            return
        operational_texts = list(self._operational_differences(row))
        if differences.keys() - {"digest"} or operational_texts:
            self._add_row_differences(differences, operational_texts)
        if "result_text" in row and not differences.keys() - {"digest"}:
            self._compare_outcome(row)

    def _add_row_differences(
        self, differences: Mapping[str, tuple[object, object]], texts: Sequence[str]
    ) -> None:
        column_texts = (
            f"{name} is {_value_text(b)}, not {_value_text(a)}"
            for name, (a, b) in differences.items()
        )
        sequence = self.projection.sequence
        self._add_at(sequence, DiscrepancyKind.ROW, "; ".join([*column_texts, *texts]))

    def _operational_differences(self, row: Mapping[str, Any]) -> Iterator[str]:
        for name, value in self.operational_columns.items():
            if name in row and row[name] != value:
                yield f"{name} is {row[name]!r}, not {value!r}"
        is_examined = self.projection.status in RECOVERABLE or (
            self.projection.status == Status.BLOCKED and row.get("expires_at") is not None
        )
        if "check_at" in row and (row["check_at"] is not None) != is_examined:
            expected = "a time" if is_examined else "None"
            yield f"check_at is {row['check_at']}, not {expected}"

    def _compare_outcome(self, row: Mapping[str, Any]) -> None:
        event = self._outcome_event
        data = event.data if event is not None and isinstance(event.data, dict) else {}
        if event is not None and event.kind == EventKind.ACK:
            self._compare_text("result", data.get("result"), row["result_text"])
        elif row["result_text"] is not None:
            self._add("there is a result, and no ack")
        if "error" in data:
            self._compare_text("error", data["error"], row["error_text"])
        elif row["error_text"] is not None and "head" not in data:
            self._add("there is an error, and none was recorded")

    def _compare_text(self, name: str, recorded: Any, text: str | None) -> None:
        """Compare a stored result or error with the summary in its event."""
        if is_erased(recorded):
            return  # reported as such
        stored = None if text is None else summary_of(text)
        summary = recorded and {key: recorded.get(key) for key in ("digest", "size")}
        if stored != summary:
            self._add(f"the {name} is not the one that was recorded")

    def _add(self, detail: str) -> None:
        self._add_at(self._last_event.sequence, DiscrepancyKind.RESULT, detail)


def _parse_time(text: Any) -> Any:
    """The time in the data of an event; what is none is as it is."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return text


def _parse_key(text: Any) -> Any:
    """The unique key in the data of an event; what is none is as it is."""
    try:
        return UUID(text)
    except (AttributeError, TypeError, ValueError):
        return text


def _name(status: Any) -> str:
    return "none" if status is None else status_name(status)


def _value_text(value: object) -> str:
    return value.name if isinstance(value, Status) else str(value)
