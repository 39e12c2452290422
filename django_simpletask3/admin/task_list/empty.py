"""What a list without tasks says: why it is empty, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..html.pills import State
from ..html.values import escape_invisible

_NONE_IN_STATE = {
    State.WAITING: gettext_lazy("No task waits"),
    State.SCHEDULED: gettext_lazy("No task is scheduled"),
    State.BLOCKED: gettext_lazy("No task is blocked"),
    State.RUNNING: gettext_lazy("No task is running"),
    State.SUCCEEDED: gettext_lazy("No task has succeeded"),
    State.FAILED: gettext_lazy("No task has failed"),
    State.CANCELED: gettext_lazy("No task was canceled"),
}


@dataclass(frozen=True, slots=True)
class EmptyList:
    """The words of a list without tasks, and links as pairs of text and address."""

    title: str
    note: str = ""
    code: str = ""
    links: tuple[tuple[str, str], ...] = ()


def explain_empty(changelist: Any) -> EmptyList:
    """Why ``changelist`` has no tasks."""
    if changelist.is_filtered:
        return _nothing_fits(changelist)
    state = changelist.chosen.state
    if state is None:
        return _no_tasks(changelist)
    everything = changelist.counts[None]
    if not everything.number:
        return EmptyList(str(_NONE_IN_STATE[state]))
    link = (_("Show all %(count)s") % {"count": everything}, changelist.state_link(None))
    return EmptyList(str(_NONE_IN_STATE[state]), links=(link,))


def _no_tasks(changelist: Any) -> EmptyList:
    name, model = changelist.opts.verbose_name, changelist.model.__name__
    return EmptyList(
        _("No %(name)s has been enqueued yet") % {"name": name},
        _("A task is a row: save one, and a worker runs it."),
        f"{model}.objects.create(...)",
    )


def _nothing_fits(changelist: Any) -> EmptyList:
    state, error = changelist.chosen.state, escape_invisible(changelist.chosen.error)
    without_filters = changelist.filter_form.without_filters
    links: tuple[tuple[str, str], ...] = ((_("Clear all filters"), "?"),)
    if state is not None:
        count = changelist.counts[state]
        if count.number:
            show = (_("Show the %(count)s") % {"count": count}, without_filters)
            links = (show, *links)
    if not error or state not in (None, State.FAILED):
        return EmptyList(_("Nothing fits the filter"), links=links)
    title = _("No failed task has “%(error)s” in its error") % {"error": error}
    failed = changelist.counts[State.FAILED]
    if not failed.number:
        return EmptyList(title, links=links)
    text = ngettext(
        "%(count)s failed for another reason.",
        "%(count)s failed for other reasons.",
        failed.number,
    )
    return EmptyList(title, text % {"count": failed}, links=links)
