"""How the pages speak of each action: its name, the question, its effect, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from .outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of an action on tasks or schedules."""

    name: Any
    #: The button, and the question: "Retry 12 tasks", "Retry 12 invoices?".
    phrase: Any
    #: Above the first of those that it changes.
    heading: Any
    #: What becomes of them; ``selection`` says of how many of those selected.
    effect: Any
    #: What follows from that; it ends the sentence.
    follows: Any
    #: Why there is nothing to do, by the number selected.
    nothing: Any
    #: What would do it.
    instead: Any = ""
    #: Why one is left alone, by the outcome that the action would have.
    why: Mapping[Outcome, Any] = field(default_factory=dict)
    #: The state whose colour the effect has.
    tone: str = "running"
    is_destructive: bool = False


FORBIDDEN = _("you may not do this to it")

_UNBLOCK_IT = _("is blocked; Unblock lets it run")
_RUNS_ALREADY = _("runs already")
_RESET_IT = _("has ended; Reset runs it again")
_HAS_ENDED = _("has ended")
_STATES = (Outcome.WAITING, Outcome.BLOCKED, Outcome.RUNNING, Outcome.FINISHED)
_NOT_WAITING = {
    Outcome.BLOCKED: _UNBLOCK_IT,
    Outcome.RUNNING: _RUNS_ALREADY,
    Outcome.FINISHED: _RESET_IT,
}
_RESET_OR_UNBLOCK = _("Reset runs a task again whatever it does; Unblock lets a blocked one run.")
_RESET_RUNS = _("Reset runs a task again whatever it does.")

EXECUTE = Wording(
    name=_("Run now"),
    phrase=_("Run %(count)s %(objects)s now"),
    heading=_("Run next"),
    effect=ngettext_lazy(
        "%(selection)s goes to the head of the queue",
        "%(selection)s go to the head of the queue",
        "count",
    ),
    follows=ngettext_lazy(
        ": the next free worker starts it, also if it was to run later.",
        ": the next free workers start them, also those that were to run later.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task does not wait for a worker, so there is nothing to run now",
        "None of the %(total)s selected tasks waits for a worker, so there is nothing to run now",
        "number",
    ),
    instead=_RESET_OR_UNBLOCK,
    why=_NOT_WAITING,
)
EXECUTE_HERE = Wording(
    name=_("Run here"),
    phrase=_("Run %(count)s %(objects)s here"),
    heading=_("Run here"),
    effect=ngettext_lazy(
        "%(selection)s runs in the web process",
        "%(selection)s run in the web process",
        "count",
    ),
    follows=ngettext_lazy(
        ", at once, while your browser waits. That is for a short task only: leave a long one to "
        "the workers.",
        ", one after the other, while your browser waits. That is for short tasks only: leave long "
        "ones to the workers.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task cannot run here, so there is nothing to do",
        "None of the %(total)s selected tasks can run here, so there is nothing to do",
        "number",
    ),
    instead=_RESET_OR_UNBLOCK,
    why={
        **_NOT_WAITING,
        Outcome.WAITING: _(
            "ATOMIC_REQUESTS would enclose it in a transaction; Run now leaves it to a worker"
        ),
    },
)
RESET = Wording(
    name=_("Reset"),
    phrase=_("Reset %(count)s %(objects)s"),
    heading=_("Run again"),
    effect=ngettext_lazy("%(selection)s runs again", "%(selection)s run again", "count"),
    follows=ngettext_lazy(
        ", whatever it does now, as soon as a worker is free. The result of a current run is "
        "discarded; earlier ones are kept in its events.",
        ", whatever they do now, as soon as a worker is free. The results of current runs are "
        "discarded; earlier ones are kept in their events.",
        "count",
    ),
    nothing=ngettext_lazy(
        "You may not reset the selected task",
        "You may not reset any of the %(total)s selected tasks",
        "number",
    ),
)
RETRY = Wording(
    name=_("Retry"),
    phrase=_("Retry %(count)s %(objects)s"),
    heading=_("Run again"),
    effect=RESET.effect,
    follows=ngettext_lazy(
        ", as soon as a worker is free, with its retries counted anew. What it failed with is "
        "kept in its events.",
        ", as soon as a worker is free, each with its retries counted anew. What they failed "
        "with is kept in their events.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task has not failed, so there is nothing to retry",
        "None of the %(total)s selected tasks has failed, so there is nothing to retry",
        "number",
    ),
    instead=_RESET_RUNS,
    why=dict.fromkeys(_STATES, _("has not failed; Reset runs it again all the same")),
)
CANCEL = Wording(
    name=_("Cancel"),
    phrase=_("Cancel %(count)s %(objects)s"),
    heading=_("Canceled"),
    effect=ngettext_lazy("%(selection)s is canceled", "%(selection)s are canceled", "count"),
    follows=ngettext_lazy(
        ": it does not run unless it is reset. If its function runs now, it is asked to stop.",
        ": they do not run unless they are reset. Functions that run now are asked to stop.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task has ended, so there is nothing to cancel",
        "All %(total)s selected tasks have ended, so there is nothing to cancel",
        "number",
    ),
    why={Outcome.FINISHED: _HAS_ENDED},
    tone="canceled",
    is_destructive=True,
)
FORCE_CANCEL = Wording(
    name=_("Cancel by force"),
    phrase=_("Cancel %(count)s %(objects)s by force"),
    heading=_("Canceled by force"),
    effect=ngettext_lazy(
        "%(selection)s is canceled by force", "%(selection)s are canceled by force", "count"
    ),
    follows=_(
        ": a function that does not stop is ended. If it cannot be interrupted, its process is "
        "replaced, and the other tasks of that process are handed back and start again from the "
        "beginning."
    ),
    nothing=CANCEL.nothing,
    why={Outcome.FINISHED: _HAS_ENDED},
    tone="canceled",
    is_destructive=True,
)
UNBLOCK = Wording(
    name=_("Unblock"),
    phrase=_("Unblock %(count)s %(objects)s"),
    heading=_("Unblocked"),
    effect=ngettext_lazy("%(selection)s is unblocked", "%(selection)s are unblocked", "count"),
    follows=ngettext_lazy(
        ", whatever it waits for, and runs as soon as a worker is free.",
        ", whatever they wait for, and run as soon as a worker is free.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task is not blocked, so there is nothing to unblock",
        "None of the %(total)s selected tasks is blocked, so there is nothing to unblock",
        "number",
    ),
    instead=_RESET_RUNS,
    why=dict.fromkeys(_STATES, _("is not blocked")),
)
HOLD = Wording(
    name=_("Put on hold"),
    phrase=_("Put %(count)s %(objects)s on hold"),
    heading=_("Put on hold"),
    effect=ngettext_lazy(
        "%(selection)s is put on legal hold", "%(selection)s are put on legal hold", "count"
    ),
    follows=ngettext_lazy(
        ": nothing of it is deleted or erased until the hold is lifted. It runs as before.",
        ": nothing of them is deleted or erased until the hold is lifted. They run as before.",
        "count",
    ),
    nothing=ngettext_lazy(
        "You may not put the selected task on hold",
        "You may not put any of the %(total)s selected tasks on hold",
        "number",
    ),
    tone="waiting",
)
LIFT = Wording(
    name=_("Lift the hold"),
    phrase=_("Lift the hold on %(count)s %(objects)s"),
    heading=_("Hold lifted"),
    effect=ngettext_lazy(
        "%(selection)s is no longer on legal hold",
        "%(selection)s are no longer on legal hold",
        "count",
    ),
    follows=ngettext_lazy(
        ": it may be deleted and erased again, by its rules of retention.",
        ": they may be deleted and erased again, by their rules of retention.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected task is not on hold, so there is no hold to lift",
        "None of the %(total)s selected tasks is on hold, so there is no hold to lift",
        "number",
    ),
    why=dict.fromkeys(_STATES, _("is not on hold")),
    tone="waiting",
)
EXPORT = Wording(
    name=_("Download the events"),
    phrase=_("Download the events of %(count)s %(objects)s"),
    heading=_("Downloaded"),
    effect=ngettext_lazy(
        "%(selection)s is downloaded with all its events",
        "%(selection)s are downloaded with all their events",
        "count",
    ),
    follows=ngettext_lazy(
        ", as a file of JSON Lines that can be verified. A note about it is added to the events.",
        ", as a file of JSON Lines that can be verified. A note about it is added to the events of "
        "each.",
        "count",
    ),
    nothing=ngettext_lazy(
        "You may not download the events of the selected task",
        "You may not download the events of any of the %(total)s selected tasks",
        "number",
    ),
    tone="waiting",
)
