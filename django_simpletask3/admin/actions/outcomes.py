"""What became of the selected tasks, in sentences for whoever selected them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.contrib import messages
from django.utils.translation import ngettext_lazy

from ...exceptions import TaskGone
from ...states import FINAL, Status
from ...transitions.transition import Transition


class Outcome(StrEnum):
    """What an action can come to for one task."""

    DONE = "done"
    FAILED = "failed"  # done, and its body raised
    WAITING = "waiting"  # refused: it waits for a worker
    RUNNING = "running"  # refused: it is going on
    FINISHED = "finished"  # refused: nothing goes on any more
    ENCLOSED = "enclosed"  # refused: a transaction is open that would enclose the body
    NOT_HELD = "not held"  # refused: there is no hold to lift
    FORBIDDEN = "forbidden"  # refused: not to this user
    GONE = "gone"  # refused: somebody was faster


_RUNNING = ngettext_lazy(
    "%(count)d task was left alone: it is running already.",
    "%(count)d tasks were left alone: they are running already.",
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
    "%(count)d task was left alone: it has not failed.",
    "%(count)d tasks were left alone: they have not failed.",
    "count",
)
_FORBIDDEN = ngettext_lazy(
    "%(count)d task was left alone: you have no permission for it.",
    "%(count)d tasks were left alone: you have no permission for them.",
    "count",
)
_GONE = ngettext_lazy(
    "%(count)d task was left alone: somebody moved or deleted it meanwhile.",
    "%(count)d tasks were left alone: somebody moved or deleted them meanwhile.",
    "count",
)

Sentences = Mapping[Outcome, Any]

EXECUTED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task will run at once.", "%(count)d tasks will run at once.", "count"
    ),
    Outcome.FINISHED: _FINISHED,
    Outcome.RUNNING: _RUNNING,
}
EXECUTED_HERE: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task ran here and succeeded.",
        "%(count)d tasks ran here and succeeded.",
        "count",
    ),
    Outcome.FAILED: ngettext_lazy(
        "%(count)d task ran here and did not succeed.",
        "%(count)d tasks ran here and did not succeed.",
        "count",
    ),
    Outcome.FINISHED: _FINISHED,
    Outcome.RUNNING: _RUNNING,
    Outcome.ENCLOSED: ngettext_lazy(
        "%(count)d task was left alone: with ATOMIC_REQUESTS nothing can be executed here. "
        "Execute it in a worker.",
        "%(count)d tasks were left alone: with ATOMIC_REQUESTS nothing can be executed here. "
        "Execute them in a worker.",
        "count",
    ),
}
RESET: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task was reset and waits to run again.",
        "%(count)d tasks were reset and wait to run again.",
        "count",
    )
}
RETRIED: Sentences = {
    **RESET,
    **dict.fromkeys((Outcome.WAITING, Outcome.RUNNING, Outcome.FINISHED), _NOT_FAILED),
}
CANCELED: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task was canceled.", "%(count)d tasks were canceled.", "count"
    ),
    Outcome.FINISHED: _WAS_FINISHED,
}
HELD: Sentences = {
    Outcome.DONE: ngettext_lazy(
        "%(count)d task is on hold now: nothing of it will be deleted.",
        "%(count)d tasks are on hold now: nothing of them will be deleted.",
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

_ALWAYS: Sentences = {Outcome.FORBIDDEN: _FORBIDDEN, Outcome.GONE: _GONE}


def outcome_of(transition: Transition) -> Outcome:
    """What ``move`` came to, judged by the state the task was in when it was asked for."""
    if transition.event is not None:
        return Outcome.DONE
    if isinstance(transition.refusal, TaskGone):
        return Outcome.GONE
    if transition.task.status == Status.PENDING:
        return Outcome.WAITING
    return Outcome.FINISHED if transition.task.status in FINAL else Outcome.RUNNING


def report(modeladmin: Any, request: Any, counts: Counter[Outcome], sentences: Sentences) -> None:
    """One message for each sentence that fits; an outcome without one counts as GONE."""
    all_sentences = {**sentences, **_ALWAYS}
    # Lazy sentences cannot be told apart by comparing them.
    totals = {id(sentence): 0 for sentence in all_sentences.values()}
    for outcome, count in counts.items():
        totals[id(all_sentences.get(outcome, _GONE))] += count
    for outcome, sentence in all_sentences.items():
        if count := totals.pop(id(sentence), 0):
            level = messages.SUCCESS if outcome is Outcome.DONE else messages.WARNING
            modeladmin.message_user(request, sentence % {"count": count}, level)
