"""The reasons that the package itself gives to events and undelivered messages, in words."""

from __future__ import annotations

import re

from django.utils.translation import gettext_lazy as _

from .values import escape_invisible
from .words import quoted

#: By the reason that is stored.
REASON_WORDS = {
    "limit": _("its limit"),
    "orphaned": _("an audit found that nothing would unblock it"),
    "lease_expired": _("its lease ended without being renewed"),
    "worker_died": _("its worker process ended"),
    "interpreter_held": _("a task held the interpreter of its worker process, which was ended"),
    "node_restarted": _("its worker process no longer exists"),
    "time_limit": _("a task function ignored its time limit, and its process was replaced"),
    "message_lost": _("its message was lost"),
    "worker_stopping": _("its worker was stopping"),
    "not_canceled": _("the cancel for which its function stopped was rolled back"),
    "no_retry_left": _("no retry is left"),
    "retry_time_over": _("the time for retries is over"),
    "error_not_retried": _("this error is not tried again"),
    "no_snooze_left": _("it may not be snoozed again"),
    "expired": _("it had expired before its function was called"),
    "database_away": _("its earlier events could not be read"),
    "dependent_added": _("another task waits for it"),
    "prerequisites": _("waits for other tasks"),
    "prerequisites_ended": _("all tasks that it waited for have ended"),
    "prerequisite_failed": _("a task that it waited for has failed"),
    "prerequisite_reset": _("a task that it waited for was reset"),
    "replaced": _("a new task has taken its unique key"),
    "queue_paused": _("its queue was paused"),
    "audit": _("repaired by an audit"),
    "retention": _("by the rules of retention"),
    "older than its events": _("inferred: the task is older than its events"),
    "taken over from django-tasks-db": _("taken over from django-tasks-db"),
    "execute now": _("to run next"),
    "executed in the admin": _("in the admin, by the web server"),
    "reset in the admin": _("in the admin"),
    "retried in the admin": _("in the admin"),
    "canceled in the admin": _("in the admin"),
    "canceled by force in the admin": _("by force, in the admin"),
    "unblocked in the admin": _("in the admin"),
    "held in the admin": _("in the admin"),
    "lifted in the admin": _("in the admin"),
    "exported in the admin": _("exported in the admin"),
}

#: Why a message could not be delivered: the pattern of what is stored, and its words.
_MESSAGE_WORDS = (
    (r"malformed message: (?P<kind>.+)", _("it is malformed: %(kind)s")),
    (r"message for another model: (?P<model>.+)", _("it is for another model: %(model)s")),
    (r"message without id", _("it names no task")),
    (r"not a key of (?P<model>\S+): (?P<key>.+)", _("%(key)s is not a key of %(model)s")),
    (
        r"message for a database that holds no (?P<model>\S+): (?P<database>.+)",
        _("it names the database %(database)s, which holds no %(model)s"),
    ),
    (r"row cannot be read: (?P<error>.+)", _("the row of its task cannot be read: %(error)s")),
    (r"unreadable dead letter", _("what is stored of it cannot be read")),
)


def reason_words(reason: str) -> str:
    """A reason of the package in words; any other one in quotation marks."""
    return str(REASON_WORDS[reason]) if reason in REASON_WORDS else quoted(reason)


def message_words(reason: str) -> str:
    """Why a message could not be delivered, in words; a reason of another version as it is."""
    for pattern, words in _MESSAGE_WORDS:
        if match := re.fullmatch(pattern, reason, re.DOTALL):
            return escape_invisible(str(words) % match.groupdict())
    return escape_invisible(reason)
