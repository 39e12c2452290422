"""The states of a task in words, each with its own icon and colour."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ...db import clock
from ...ledger.task_row import write_database
from ...states import Status
from .icons import icon


class State(StrEnum):
    """A state as a page names it; the value is the name of its icon and of its CSS class."""

    WAITING = "waiting"
    SCHEDULED = "scheduled"  # waits for a time to come
    BLOCKED = "blocked"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


STATE_WORDS = {
    State.WAITING: _("waiting"),
    State.SCHEDULED: _("scheduled"),
    State.BLOCKED: _("blocked"),
    State.RUNNING: _("running"),
    State.SUCCEEDED: _("succeeded"),
    State.FAILED: _("failed"),
    State.CANCELED: _("canceled"),
}
_STATE_BY_STATUS = {
    Status.PENDING: State.WAITING,
    Status.BLOCKED: State.BLOCKED,
    Status.RUNNING: State.RUNNING,
    Status.SUCCESS: State.SUCCEEDED,
    Status.FAILED: State.FAILED,
    Status.CANCELED: State.CANCELED,
}


def state_of(
    status: Any, run_after: datetime | None = None, now: datetime | None = None
) -> State | None:
    """The state of a task with these columns; None for a status unknown to this version.

    A waiting task is scheduled if ``run_after`` is later than ``now``.
    """
    if status == Status.PENDING and run_after is not None and now is not None and run_after > now:
        return State.SCHEDULED
    return _STATE_BY_STATUS.get(status)


def state_of_task(task: Any) -> State | None:
    """The state of ``task`` now, by the clock of its database."""
    return state_of(task.status, task.run_after, clock.now(write_database(task)))


def pill(state: State | None, unknown: object = "", *, is_large: bool = False) -> SafeString:
    """Icon and word of ``state`` on a tinted surface; ``unknown`` in its place if it is None."""
    return format_html(
        '<span class="st3-pill st3-{}{}">{}{}</span>',
        state or "unknown",
        " st3-pill-large" if is_large else "",
        icon(state or "note"),
        STATE_WORDS[state] if state else unknown,
    )


def status_pill(status: Any) -> SafeString:
    """The pill of a status alone; a number unknown to this version is shown unchanged."""
    return pill(state_of(status), status)


def state_label(state: State) -> SafeString:
    """Icon and word of ``state`` in its colour, without a surface."""
    return format_html(
        '<span class="st3-{0}"><span class="st3-colour">{1} {2}</span></span>',
        state.value,
        icon(state),
        STATE_WORDS[state],
    )
