"""An explanation: a cause, which programs can compare, and a sentence for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop, override

from ...logs import printable
from .durations import format_duration

#: Of the text of a reason or an error.
_MAX_TEXT = 200


class Cause(StrEnum):
    """Why a task does not run now, or that it runs."""

    NOT_SAVED = "not_saved"
    DELETED = "deleted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    RUNNING = "running"
    LEASE_ENDED = "lease_ended"  # its worker has not renewed the lease
    BLOCKED = "blocked"
    LIMIT_REACHED = "limit_reached"  # it is blocked until a place of its limit is free
    WAITS_FOR_TASKS = "waits_for_tasks"
    EXPIRED = "expired"  # recovery has not canceled it yet
    NOT_DUE = "not_due"
    PAUSED = "paused"
    REDIS_UNAVAILABLE = "redis_unavailable"
    NO_WORKER = "no_worker"  # none that reports runs the model
    MESSAGE_MISSING = "message_missing"
    CLAIMED = "claimed"  # a worker has its message
    QUEUED = "queued"  # waits for its turn
    UNKNOWN_STATUS = "unknown_status"  # of a newer version


_EXPIRES = gettext_noop("It expires at %(time)s.")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task does not run now; the values of the sentence are formatted in its language."""

    cause: Cause
    sentence: str | Promise
    values: Mapping[str, object] = field(default_factory=dict)
    #: When a task that waits is of no use any more, if it ever is.
    expires_at: datetime | None = None

    def __str__(self) -> str:
        """The sentence in English, whatever language is active."""
        with override("en"):
            return self.translate()

    def translate(self, format_time: Callable[[datetime], str] | None = None) -> str:
        """The sentence in the active language; its times have a date unless ``format_time`` says
        otherwise.
        """
        template: Any = self.sentence
        if isinstance(template, str):
            template = gettext(template)
        format_time = format_time or _format_time
        values = {name: _format(value, format_time) for name, value in self.values.items()}
        text = str(template % values)
        if self.expires_at is None:
            return text
        return f"{text} {gettext(_EXPIRES) % {'time': format_time(self.expires_at)}}"


def details_of(actor: str, reason: str) -> str:
    """Who and why, as far as it is known."""
    return ": ".join(part for part in (actor, reason) if part)


def with_details(
    cause: Cause,
    sentence: str,
    sentence_with_details: str,
    values: Mapping[str, object],
    expires_at: datetime | None = None,
) -> Explanation:
    """The explanation with the sentence for ``details``, unless there are none in ``values``."""
    chosen = sentence_with_details if values["details"] else sentence
    return Explanation(cause, chosen, values, expires_at)


def _format_time(instant: datetime) -> str:
    local = timezone.localtime(instant) if timezone.is_aware(instant) else instant
    return local.isoformat(sep=" ", timespec="seconds")[:19]


def _format(value: object, format_time: Callable[[datetime], str]) -> object:
    """``value`` as it stands in a sentence: on one line, in the current time zone."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, str):
        return printable(value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}…")
    return "?" if value is None else value
