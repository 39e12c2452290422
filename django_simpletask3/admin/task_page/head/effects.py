"""What an action does to one task, in words: question, effect, and the buttons of its dialog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ....states import Status
from ...actions import definitions
from ...actions.definitions import TaskAction
from ...html import times
from ..facts import TaskFacts


@dataclass(frozen=True, slots=True)
class Words:
    """The words of an action: its button, the question, and the button that answers yes."""

    button: Any
    question: Any
    confirm: Any


WORDS: Mapping[str, Words] = {
    definitions.EXECUTE.name: Words(
        gettext_lazy("Run now…"), gettext_lazy("Run {} now?"), gettext_lazy("Run the task now")
    ),
    definitions.EXECUTE_HERE.name: Words(
        gettext_lazy("Run here…"),
        gettext_lazy("Run {} in this web server?"),
        gettext_lazy("Run the task here"),
    ),
    definitions.RESET.name: Words(
        gettext_lazy("Reset…"), gettext_lazy("Reset {}?"), gettext_lazy("Reset the task")
    ),
    definitions.RETRY.name: Words(
        gettext_lazy("Retry…"), gettext_lazy("Retry {}?"), gettext_lazy("Retry the task")
    ),
    definitions.CANCEL.name: Words(
        gettext_lazy("Cancel…"),
        gettext_lazy("Cancel {}?"),
        gettext_lazy("Cancel the task"),
    ),
    definitions.FORCE_CANCEL.name: Words(
        gettext_lazy("Cancel by force…"),
        gettext_lazy("Cancel {} by force?"),
        gettext_lazy("Cancel the task by force"),
    ),
    definitions.UNBLOCK.name: Words(
        gettext_lazy("Unblock…"), gettext_lazy("Unblock {}?"), gettext_lazy("Unblock the task")
    ),
    definitions.HOLD.name: Words(
        gettext_lazy("Put on hold…"),
        gettext_lazy("Put a legal hold on {}?"),
        gettext_lazy("Put the task on hold"),
    ),
    definitions.LIFT.name: Words(
        gettext_lazy("Lift the hold…"),
        gettext_lazy("Lift the legal hold on {}?"),
        gettext_lazy("Lift the hold"),
    ),
    definitions.EXPORT.name: Words(
        gettext_lazy("Download the events"), "", gettext_lazy("Download the events")
    ),
}


def effect(action: TaskAction, facts: TaskFacts) -> str:
    """What ``action`` does to the task of ``facts`` in its current state."""
    describe = _EFFECTS.get(action.name)
    return "" if describe is None else describe(facts)


def _execute(facts: TaskFacts) -> str:
    run_after = facts.task.run_after
    if run_after is not None and run_after > facts.now:
        text = _("It is the next to run, in the workers, without waiting until %(time)s.")
        return text % {"time": times.format_moment(run_after, facts.now)}
    return _("It is the next to run, in the workers.")


def _execute_here(_facts: TaskFacts) -> str:
    return _(
        "It runs in this web server while your browser waits. For short tasks only: leave long "
        "ones to the workers."
    )


def _retry(facts: TaskFacts) -> str:
    text = _(
        "It waits for a worker again, and runs as attempt %(number)d. Its error stays in the "
        "events."
    )
    return text % {"number": facts.task.attempt + 1}


def _reset(facts: TaskFacts) -> str:
    status = facts.task.status
    if status == Status.RUNNING:
        return _(
            "Its current attempt is superseded: what it returns is refused. It waits for a worker "
            "and runs again."
        )
    if status == Status.SUCCESS:
        return _("It waits for a worker and runs again. Its result stays in the events.")
    if status == Status.FAILED:
        return _retry(facts)
    if status == Status.CANCELED:
        return _("It waits for a worker and runs, as if it had not been canceled.")
    return _("It begins anew: it is due at once, and its retries are counted from zero.")


def _cancel(facts: TaskFacts) -> str:
    task = facts.task
    if task.status != Status.RUNNING or task.start_time is None:
        if task.attempt:
            return _("It waits to be run again. It will not run any more.")
        return _("It has not started. It will not run.")
    text = _(
        "It has been running since %(time)s. Its function is asked to stop, and whatever it "
        "returns is refused. What it has done so far stays."
    )
    return text % {"time": times.format_moment(task.start_time, facts.now)}


def _force_cancel(_facts: TaskFacts) -> str:
    return _(
        "Its function is asked to stop, and ended if it does not. If it cannot be interrupted, its "
        "process is replaced: the other tasks of that process are handed back, and start again "
        "from the beginning."
    )


def _unblock(_facts: TaskFacts) -> str:
    return _("It is queued, and runs when a worker is free, whatever it waits for.")


def _hold(_facts: TaskFacts) -> str:
    return _("Nothing of it is deleted or erased until the hold is lifted. It runs as before.")


def _lift(_facts: TaskFacts) -> str:
    return _("It may be deleted and erased again, by its rules of retention.")


_EFFECTS: Mapping[str, Callable[[TaskFacts], str]] = {
    definitions.EXECUTE.name: _execute,
    definitions.EXECUTE_HERE.name: _execute_here,
    definitions.RETRY.name: _retry,
    definitions.RESET.name: _reset,
    definitions.CANCEL.name: _cancel,
    definitions.FORCE_CANCEL.name: _force_cancel,
    definitions.UNBLOCK.name: _unblock,
    definitions.HOLD.name: _hold,
    definitions.LIFT.name: _lift,
}
