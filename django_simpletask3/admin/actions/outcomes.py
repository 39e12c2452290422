"""The outcomes of an action, and the messages that report them to the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

from ...exceptions import DuplicateTask, LimitReached, TaskExpired, TaskGone
from ...states import FINAL, Status
from ...transitions.transition import Transition


class Outcome(StrEnum):
    """The outcome of an action for one task."""

    DONE = "done"
    FAILED = "failed"  # done, and the task function raised
    WAITING = "waiting"  # refused: it waits for a worker
    BLOCKED = "blocked"  # refused: it waits for something else than a worker
    LIMIT_REACHED = "limit reached"  # refused: its limit has no free place, for which it waits now
    RUNNING = "running"  # refused: it is running
    FINISHED = "finished"  # refused: it is final
    ENCLOSED = (
        "enclosed"  # refused: ATOMIC_REQUESTS would enclose the task function in a transaction
    )
    NOT_HELD = "not held"  # refused: there is no hold to lift
    FORBIDDEN = "forbidden"  # refused: the user lacks permission
    EXPIRED = "expired"  # refused: it can start no more
    DUPLICATE = "duplicate"  # refused: another task has its unique key
    WAITS_AGAIN = "waits again"  # done: a dependent of a task that was reset waits for it again
    HAS_RUN = "has run"  # left alone: a dependent that ran after a task had failed
    GONE = "gone"  # refused: changed or deleted concurrently


#: Tasks to which a message links.
MAX_LINKS = 5

_RUNNING = ngettext_lazy(
    "%(count)d task was left alone: it is already running.",
    "%(count)d tasks were left alone: they are already running.",
    "count",
)
_BLOCKED = ngettext_lazy(
    "%(count)d task was left alone: it is blocked. Unblock it to run it.",
    "%(count)d tasks were left alone: they are blocked. Unblock them to run them.",
    "count",
)
_NOT_BLOCKED = ngettext_lazy(
    "%(count)d task was left alone: it is not blocked.",
    "%(count)d tasks were left alone: they are not blocked.",
    "count",
)
_FINISHED = ngettext_lazy(
    "%(count)d task was left alone: it is finished. Reset it to run it again.",
    "%(count)d tasks were left alone: they are finished. Reset them to run them again.",
    "count",
)
_WAS_FINISHED = ngettext_lazy(
    "%(count)d task was left alone: it is finished.",
    "%(count)d tasks were left alone: they are finished.",
    "count",
)
_NOT_FAILED = ngettext_lazy(
    "%(count)d task was left alone: it did not fail.",
    "%(count)d tasks were left alone: they did not fail.",
    "count",
)
_FORBIDDEN = ngettext_lazy(
    "%(count)d task was left alone: you have no permission for it.",
    "%(count)d tasks were left alone: you have no permission for them.",
    "count",
)
_GONE = ngettext_lazy(
    "%(count)d task was left alone: it was changed or deleted meanwhile.",
    "%(count)d tasks were left alone: they were changed or deleted meanwhile.",
    "count",
)

Sentences = Mapping[Outcome, Any]

EXECUTED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task will run at once.", "%(count)d tasks will run at once.", "count"
    ),
    Outcome.FINISHED: _FINISHED,
    Outcome.RUNNING: _RUNNING,
    Outcome.BLOCKED: _BLOCKED,
}
EXECUTED_HERE: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task ran here and succeeded.", "%(count)d tasks ran here and succeeded.", "count"
    ),
    Outcome.FAILED: ngettext_lazy(
        "%(count)d task ran here and did not succeed.",
        "%(count)d tasks ran here and did not succeed.",
        "count",
    ),
    Outcome.FINISHED: _FINISHED,
    Outcome.RUNNING: _RUNNING,
    Outcome.BLOCKED: _BLOCKED,
    Outcome.LIMIT_REACHED: ngettext_lazy(
        "%(count)d task was not run: all places of its limit are taken. It waits for one.",
        "%(count)d tasks were not run: all places of their limits are taken. They wait for one.",
        "count",
    ),
    Outcome.EXPIRED: ngettext_lazy(
        "%(count)d task was left alone: it has expired.",
        "%(count)d tasks were left alone: they have expired.",
        "count",
    ),
    Outcome.ENCLOSED: ngettext_lazy(
        "%(count)d task was left alone: with ATOMIC_REQUESTS no task can be executed here. "
        "Execute it in a worker.",
        "%(count)d tasks were left alone: with ATOMIC_REQUESTS no task can be executed here. "
        "Execute them in a worker.",
        "count",
    ),
}
RESET: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task was reset and waits to run again.",
        "%(count)d tasks were reset and wait to run again.",
        "count",
    ),
    Outcome.WAITS_AGAIN: ngettext_lazy(
        "%(count)d dependent waits again.", "%(count)d dependents wait again.", "count"
    ),
    Outcome.HAS_RUN: ngettext_lazy(
        "%(count)d dependent was left alone: it has run after the failure. Reset it to run it "
        "again.",
        "%(count)d dependents were left alone: they have run after the failure. Reset them to run "
        "them again.",
        "count",
    ),
    Outcome.DUPLICATE: ngettext_lazy(
        "%(count)d task was left alone: another task has its unique key.",
        "%(count)d tasks were left alone: other tasks have their unique keys.",
        "count",
    ),
}
RETRIED: Sentences = {
    **RESET,
    **dict.fromkeys(
        (Outcome.WAITING, Outcome.BLOCKED, Outcome.RUNNING, Outcome.FINISHED), _NOT_FAILED
    ),
}
CANCELED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task was canceled.", "%(count)d tasks were canceled.", "count"
    ),
    Outcome.FINISHED: _WAS_FINISHED,
}
UNBLOCKED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task was unblocked and will run.",
        "%(count)d tasks were unblocked and will run.",
        "count",
    ),
    **dict.fromkeys((Outcome.WAITING, Outcome.RUNNING, Outcome.FINISHED), _NOT_BLOCKED),
}
HELD: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task is on hold now: none of its data will be deleted.",
        "%(count)d tasks are on hold now: none of their data will be deleted.",
        "count",
    )
}
LIFTED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "The hold on %(count)d task was lifted.",
        "The holds on %(count)d tasks were lifted.",
        "count",
    ),
    Outcome.NOT_HELD: ngettext_lazy(
        "%(count)d task was left alone: there is no hold on it.",
        "%(count)d tasks were left alone: there is no hold on them.",
        "count",
    ),
}
EXPORTED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "The stream of %(count)d task was exported.",
        "The streams of %(count)d tasks were exported.",
        "count",
    )
}

_DONE = (Outcome.DONE, Outcome.WAITS_AGAIN)
_ALWAYS: Sentences = {Outcome.FORBIDDEN: _FORBIDDEN, Outcome.GONE: _GONE}


_UNFINISHED: Mapping[Status, Outcome] = {
    Status.PENDING: Outcome.WAITING,
    Status.BLOCKED: Outcome.BLOCKED,
}


def outcome_of(transition: Transition) -> Outcome:
    """The outcome of ``transition``, by the status that the task had when it was requested."""
    if transition.event is not None:
        return Outcome.DONE
    if isinstance(transition.refusal, TaskGone):
        return Outcome.GONE
    if isinstance(transition.refusal, LimitReached):
        return Outcome.LIMIT_REACHED
    if isinstance(transition.refusal, TaskExpired):
        return Outcome.EXPIRED
    if isinstance(transition.refusal, DuplicateTask):
        return Outcome.DUPLICATE
    return outcome_in_status(transition.task.status)


def outcome_in_status(status: Any) -> Outcome:
    """The outcome of an action that does not apply to tasks in ``status``."""
    return Outcome.FINISHED if status in FINAL else _UNFINISHED.get(status, Outcome.RUNNING)


def report(
    modeladmin: Any,
    request: HttpRequest,
    counts: Counter[Outcome],
    sentences: Sentences,
    links: Mapping[Outcome, Sequence[SafeString | str]],
) -> None:
    """Show one message per sentence, with links; an outcome without a sentence counts as GONE."""
    all_sentences = {**sentences, **_ALWAYS}
    # Lazy sentences cannot be compared, so they are counted by identity.
    totals = {id(sentence): 0 for sentence in all_sentences.values()}
    shown: dict[int, list[SafeString | str]] = {key: [] for key in totals}
    for outcome, count in counts.items():
        key = id(all_sentences.get(outcome, _GONE))
        totals[key] += count
        shown[key] += links.get(outcome, ())
    for outcome, sentence in all_sentences.items():
        key = id(sentence)
        if count := totals.pop(key, 0):
            level = messages.SUCCESS if outcome in _DONE else messages.WARNING
            text = sentence % {"count": count}
            modeladmin.message_user(request, _with_links(text, shown[key], count), level)


def _with_links(text: str, links: Sequence[SafeString | str], count: int) -> SafeString:
    names = format_html_join(", ", "{}", ((link,) for link in links[:MAX_LINKS]))
    if not names:
        return format_html("{}", text)
    rest = count - len(links[:MAX_LINKS])
    more = _("and %(count)d more") % {"count": rest} if rest > 0 else ""
    return format_html('{} <span class="st3-report">{} {}</span>', text, names, more)
