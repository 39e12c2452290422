"""What became of the selected tasks, in sentences for whoever selected them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.contrib import messages
from django.utils.translation import ngettext_lazy

from django_simpletask3.exceptions import TaskGone
from django_simpletask3.moves import Move
from django_simpletask3.states import FINAL, Status


class Outcome(StrEnum):
    """What an action can come to for one task."""

    DONE = "done"
    FINISHED = "finished"  # refused: nothing goes on any more
    RUNNING = "running"  # refused: it is going on
    GONE = "gone"  # refused: somebody was faster


_EXECUTED = ngettext_lazy(
    "%(count)d task will run at once.", "%(count)d tasks will run at once.", "count"
)
_RESET = ngettext_lazy(
    "%(count)d task was reset and waits to run again.",
    "%(count)d tasks were reset and wait to run again.",
    "count",
)
_CANCELED = ngettext_lazy("%(count)d task was canceled.", "%(count)d tasks were canceled.", "count")
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
_GONE = ngettext_lazy(
    "%(count)d task was left alone: somebody moved or deleted it meanwhile.",
    "%(count)d tasks were left alone: somebody moved or deleted them meanwhile.",
    "count",
)

EXECUTED = {
    Outcome.DONE: _EXECUTED,
    Outcome.FINISHED: _FINISHED,
    Outcome.RUNNING: _RUNNING,
    Outcome.GONE: _GONE,
}
RESET = {Outcome.DONE: _RESET, Outcome.GONE: _GONE}
CANCELED = {Outcome.DONE: _CANCELED, Outcome.FINISHED: _WAS_FINISHED, Outcome.GONE: _GONE}


def outcome_of(move: Move) -> Outcome:
    """What ``move`` came to, judged by the state the task was in when it was asked for."""
    if move.event is not None:
        return Outcome.DONE
    if isinstance(move.refused, TaskGone) or move.task.status == Status.PENDING:
        return Outcome.GONE
    return Outcome.FINISHED if move.task.status in FINAL else Outcome.RUNNING


def report(
    modeladmin: Any, request: Any, counts: Counter[Outcome], sentences: Mapping[Outcome, Any]
) -> None:
    """One message for each outcome that occurred; one without a sentence counts as GONE."""
    told: Counter[Outcome] = Counter()
    for outcome, count in counts.items():
        told[outcome if outcome in sentences else Outcome.GONE] += count
    for outcome in filter(told.get, sentences):
        level = messages.SUCCESS if outcome is Outcome.DONE else messages.WARNING
        sentence = sentences[outcome] % {"count": told[outcome]}
        modeladmin.message_user(request, sentence, level)
