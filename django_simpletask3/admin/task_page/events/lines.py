"""One event as a line: when, what happened, why and who, and its data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils.formats import number_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ....ledger.event import TaskEvent
from ....ledger.fields import KIND
from ....models.explanation.durations import format_duration
from ....states import EventKind, Status
from ...html import times, values, words
from ...html.icons import kind_icon
from ...html.pills import STATE_WORDS, state_of
from ...html.reasons import reason_words
from ...task_details import data_prefix
from ...task_details.progress import Progress, progress_in

#: Characters of the data of an event that are shown, and of their summary: more than fit.
MAX_DATA, MAX_SUMMARY = 10_000, 120
_MAX_KEYS = 3
_NOT_SUMMARIZED = frozenset({"claim", "payload_salt", "traceback"})
#: The CSS class, which has the colour, of an event of this kind.
CSS_CLASSES = {
    EventKind.START: "running",
    EventKind.ACK: "succeeded",
    EventKind.FAIL: "failed",
    EventKind.RETRY: "failed",
    EventKind.SNOOZE: "scheduled",
    EventKind.RECOVER: "lost",
    EventKind.DROP: "failed",
    EventKind.BLOCK: "blocked",
    EventKind.CANCEL: "canceled",
    EventKind.EXPIRE: "canceled",
    EventKind.REJECT: "refused",
    EventKind.DELETE: "failed",
}

_Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event as the page shows it."""

    sequence: int
    time: SafeString
    #: The time since the event before.
    gap: str
    icon: SafeString
    css_class: str
    what: str
    #: Why, and what else is to say.
    text: str
    who: str
    #: The first keys of its data, and all of it; empty without data.
    summary: str
    data: str


def event_line(
    event: TaskEvent, gap: timedelta | None, day: date | None, *, shows_outcome: bool = True
) -> EventLine:
    """The line of ``event``, ``gap`` after the one before; its time has no date on ``day``.

    A result and an error are left out unless it ``shows_outcome``.
    """
    data = data_prefix.parse_prefix(event)
    if not shows_outcome:
        data = data_prefix.without_outcome(data)
    texts = _TEXTS.get(event.kind, _reason)(event, data)
    text = _data_text(event) if shows_outcome else _json_of(data)
    summary = _summary(data) if data else values.escape_invisible(text[:MAX_SUMMARY])
    return EventLine(
        event.sequence,
        times.exact_time(event.event_time, day),
        "" if gap is None else _gap(gap),
        kind_icon(event.kind),
        CSS_CLASSES.get(event.kind, ""),
        what(event),
        _joined(texts),
        who(event),
        summary if text else "",
        text,
    )


def what(event: TaskEvent) -> str:
    """What happened; a kind, or a status, unknown to this version is shown unchanged."""
    if isinstance(event.kind, EventKind):
        return str(dict(KIND)[event.kind])
    label = values.escape_invisible(str(event.kind))
    return f"{label} ({_status(event.from_status)} → {_status(event.to_status)})"


def who(event: TaskEvent) -> str:
    """Who did it: the actor, or the task function."""
    if event.actor:
        return words.by(event.actor)
    is_noted = event.kind in (EventKind.NOTE, EventKind.CHECKPOINT)
    return _("by the task") if is_noted and event.worker else ""


def error_text(data: _Data) -> str:
    """Type and message of the error in ``data``; empty without one."""
    error = data.get("error")
    if not isinstance(error, Mapping):
        return ""
    name = str(error.get("type", "")).rpartition(".")[2]
    return values.escape_invisible(": ".join(filter(None, (name, str(error.get("message", ""))))))


def _status(value: Any) -> str:
    state = state_of(value)
    return str(STATE_WORDS[state]) if state else ("" if value is None else str(value))


def _gap(gap: timedelta) -> str:
    return f"{'' if gap < timedelta(0) else '+'}{format_duration(gap)}"


def _joined(texts: Iterable[str]) -> str:
    joined = ""
    for text in filter(None, texts):
        between = " " if joined.endswith((".", "!", "?", "…", "。")) else "; "
        joined = f"{joined}{between}{text}" if joined else text
    return joined


def _reason(event: TaskEvent, _data: _Data) -> list[str]:
    return [reason_words(event.reason)]


def _enqueue(event: TaskEvent, data: _Data) -> list[str]:
    parent = data.get("parent")
    by_task = _("by the task %(task)s") % {"task": values.escape_invisible(str(parent))}
    return [reason_words(event.reason), by_task if parent else ""]


def _start(event: TaskEvent, _data: _Data) -> list[str]:
    worker = words.worker_label(event.worker)
    on = _("on %(worker)s") % {"worker": worker} if worker else ""
    return [on, reason_words(event.reason)]


def _ack(event: TaskEvent, data: _Data) -> list[str]:
    result: Any = data.get("result")
    size = result.get("size") if isinstance(result, Mapping) else None
    returned = ""
    if isinstance(size, int):
        returned = _("returned %(count)s bytes") % {"count": number_format(size)}
    return [", ".join(filter(None, (returned, _after(data)))), reason_words(event.reason)]


def _failed(event: TaskEvent, data: _Data) -> list[str]:
    return [error_text(data), reason_words(event.reason), _again(data)]


def _lost(event: TaskEvent, data: _Data) -> list[str]:
    worker = words.worker_label(str(data.get("lost_worker") or ""))
    why = reason_words(event.reason)
    return [": ".join(filter(None, (worker, why))), error_text(data)]


def _reject(event: TaskEvent, data: _Data) -> list[str]:
    kind: Any = data.get("refused")
    known = {str(value): str(label) for value, label in KIND}
    label = known.get(kind, "") if isinstance(kind, str) else ""
    text = _("%(worker)s reported “%(outcome)s” of attempt %(attempt)s, which was over") % {
        "worker": words.worker_label(str(data.get("worker") or event.worker or "?")),
        "outcome": label or values.escape_invisible(str(kind)),
        "attempt": values.escape_invisible(str(data.get("attempt", "?"))),
    }
    return [text, reason_words(event.reason)]


def _note(event: TaskEvent, data: _Data) -> list[str]:
    progress = progress_in(data)
    return [reason_words(event.reason), progress.text if progress else ""]


def _checkpoint(event: TaskEvent, data: _Data) -> list[str]:
    return [values.escape_invisible(str(data.get("name", ""))), reason_words(event.reason)]


def _after(data: _Data) -> str:
    seconds = _seconds(data.get("seconds"))
    return _("after %(duration)s") % {"duration": format_duration(seconds)} if seconds else ""


def _again(data: _Data) -> str:
    seconds = _seconds(data.get("retry_in", data.get("snooze_in")))
    if not seconds:
        return ""
    is_round = seconds < timedelta(minutes=1) and not seconds.microseconds
    duration = times.rough_duration(seconds) if is_round else format_duration(seconds)
    return _("again in %(duration)s") % {"duration": duration}


def _seconds(value: Any) -> timedelta | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        return None


_TEXTS: Mapping[EventKind, Callable[[TaskEvent, _Data], list[str]]] = {
    EventKind.ENQUEUE: _enqueue,
    EventKind.START: _start,
    EventKind.ACK: _ack,
    EventKind.FAIL: _failed,
    EventKind.RETRY: _failed,
    EventKind.SNOOZE: _failed,
    EventKind.RECOVER: _lost,
    EventKind.DROP: _lost,
    EventKind.RELEASE: _lost,
    EventKind.REJECT: _reject,
    EventKind.NOTE: _note,
    EventKind.CHECKPOINT: _checkpoint,
}


def _summary(data: _Data) -> str:
    """The first keys of ``data``, with plain values; the page cuts what does not fit."""
    keys = [key for key in data if key not in _NOT_SUMMARIZED]
    if not keys:
        return _("data")
    shown = [_member(key, data[key]) for key in keys[:_MAX_KEYS]]
    text = ", ".join([*shown, "…"] if len(keys) > _MAX_KEYS else shown)
    return values.escape_invisible(text[:MAX_SUMMARY])


def _member(key: str, value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        return key
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{key} {int(value) if is_whole else value}"


def _data_text(event: TaskEvent) -> str:
    """The data of ``event`` as JSON, cut if there is much of it."""
    prefix: str | None = getattr(event, "head", None)
    if prefix is None:
        return ""
    if data_prefix.is_truncated(event):
        text = values.escape_invisible(prefix[: data_prefix.LIMIT])
        return f"{text}…"
    return _json_of(data_prefix.parse_data(event))


def _json_of(data: Any) -> str:
    text = values.format_json(data, indent=2) if data != {} else ""
    return text if len(text) <= MAX_DATA else f"{text[:MAX_DATA]}…"


def is_progress_note(event: TaskEvent) -> bool:
    """Whether ``event`` is a note of progress, by the task function."""
    is_of_function = event.kind == EventKind.NOTE and event.to_status == Status.RUNNING
    return is_of_function and progress_of(event) is not None


def progress_of(event: TaskEvent) -> Progress | None:
    """The progress in the part of the data of ``event`` that was read."""
    return progress_in(data_prefix.parse_prefix(event))
