"""The sentence in the head of a task's page: what it does, or why it ended, and what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ....ledger.event import TaskEvent
from ....models.explanation.causes import explain_row
from ....models.explanation.durations import format_duration
from ....models.explanation.sentences import Cause, Explanation
from ....models.task import SimpleTask
from ....states import FINAL, EventKind, Status
from ...html import times, values, words
from ...html.reasons import REASON_WORDS, reason_words
from ...task_details.progress import Progress

#: Characters of an error, and of a result.
_MAX_ERROR, _MAX_RESULT = 200, 80
#: Canceled for one of these reasons: the explanation says more than the event.
_EXPLAINED = ("prerequisite_failed",)


def sentence(
    task: SimpleTask,
    now: datetime,
    *,
    progress: Progress | None,
    end: TaskEvent | None,
    shows_outcome: bool,
) -> SafeString:
    """The sentence about ``task`` in its current state.

    ``end`` is the event that ended it, if it was read. Error and result are left out unless the
    page ``shows_outcome``.
    """
    if task.status == Status.RUNNING:
        return _running(task, now, progress)
    if task.status not in FINAL or task.done_time is None:
        return _explained(explain_row(task), now, shows_outcome=shows_outcome)
    time = times.moment(task.done_time, now)
    if task.status == Status.FAILED:
        return _failed(task, time, shows_outcome=shows_outcome)
    if task.status == Status.SUCCESS:
        return _succeeded(task, time, shows_outcome=shows_outcome)
    if end is not None and end.reason in _EXPLAINED:
        return _explained(explain_row(task), now, shows_outcome=shows_outcome)
    return _canceled(time, end)


def error_headline(error: Any) -> tuple[str, str]:
    """Type, without its module, and first line of the message of ``error_data``."""
    if not isinstance(error, dict):
        return "", ""
    name = str(error.get("type", "")).rpartition(".")[2]
    lines = str(error.get("message", ""))[: 10 * _MAX_ERROR].strip().splitlines()
    return values.escape_invisible(name[:_MAX_ERROR]), _cut("".join(lines[:1]), _MAX_ERROR)


def _explained(
    explanation: Explanation, now: datetime, *, shows_outcome: bool = True
) -> SafeString:
    if not shows_outcome and explanation.values.get("error"):
        explanation = replace(explanation, values={**explanation.values, "error": "…"})
    text = explanation.translate(lambda instant: times.format_moment(instant, now))
    return format_html("{}", text)


def _running(task: SimpleTask, now: datetime, progress: Progress | None) -> SafeString:
    explanation = explain_row(task)
    if explanation.cause is Cause.LEASE_ENDED or task.start_time is None:
        return _explained(explanation, now)
    parts = (
        format_duration(now - task.start_time),
        times.moment(task.start_time, now),
        "" if progress is None else progress.words or progress.text,
    )
    if parts[2]:
        text = _("Has been running for {0}, since {1}, and is at {2}.")
    else:
        text = _("Has been running for {0}, since {1}.")
    return format_html(text, _strong(parts[0]), parts[1], _strong(parts[2]))


def _failed(task: SimpleTask, time: SafeString, *, shows_outcome: bool) -> SafeString:
    name, message = error_headline(task.error_data) if shows_outcome else ("", "")
    headline = ": ".join(filter(None, (name, message)))
    text = (
        _("Failed at {0} in the first attempt: nothing more happens unless it is retried.")
        if task.attempt <= 1
        else _(
            "Failed at {0} in attempt {1}, the last one: nothing more happens unless it is retried."
        )
    )
    sentence = format_html(text, time, task.attempt)
    if not headline:
        return sentence
    end = "" if headline.endswith((".", "!", "?", "…")) else "."
    return format_html("{} {}", _strong(f"{headline}{end}"), sentence)


def _succeeded(task: SimpleTask, time: SafeString, *, shows_outcome: bool) -> SafeString:
    text = (
        _("Succeeded at {0}, in the first attempt.")
        if task.attempt <= 1
        else _("Succeeded at {0}, in attempt {1}.")
    )
    sentence = format_html(text, time, task.attempt)
    returned = _result_words(task.result_data) if shows_outcome else ""
    if not returned:
        return sentence
    return format_html("{} {}", sentence, format_html(_("Returned {0}."), _strong(returned)))


def _canceled(time: SafeString, end: TaskEvent | None) -> SafeString:
    if end is not None and end.kind == EventKind.EXPIRE:
        return format_html(_("Expired at {0}, while it waited, and was canceled."), time)
    details = "" if end is None else _who_and_why(end)
    canceled = _("Canceled at {0} {1}.") if details else _("Canceled at {0}.")
    ran = end is not None and end.from_status == Status.RUNNING
    following = (
        _("It was running: what its function still returns is refused.")
        if ran
        else _("Nothing more happens unless it is reset.")
    )
    return format_html("{} {}", format_html(canceled, time, details), following)


def _who_and_why(event: TaskEvent) -> str:
    why = reason_words(event.reason)
    if event.reason and event.reason not in REASON_WORDS and event.actor:
        return f"{words.by(event.actor)}: {why}"
    return " ".join(filter(None, (words.by(event.actor), why)))


def _result_words(result: Any) -> str:
    """A result that is one short value."""
    if result is None or isinstance(result, dict | list):
        return ""
    if isinstance(result, str) and (len(result) > _MAX_RESULT or "\n" in result):
        return ""
    return _cut(values.format_json(result), _MAX_RESULT)


def _cut(text: str, length: int) -> str:
    text = text if len(text) <= length else f"{text[:length]}…"
    return values.escape_invisible(text)


def _strong(text: str) -> SafeString:
    return format_html("<strong>{}</strong>", text)
