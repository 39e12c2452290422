"""What an action would do to the selected schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from ...schedules.tables import Schedule
from ..actions.confirmation import MAX_NAMED, SCHEDULES, Confirmation, Group, ReasonForm, Row
from ..actions.confirmation import render_page as render
from ..actions.wording import Wording
from ..html.values import escape_invisible

ENABLE = Wording(
    name=_("Enable"),
    phrase=_("Enable %(count)s %(objects)s"),
    heading=_("Enabled"),
    effect=ngettext_lazy("%(selection)s is enabled", "%(selection)s are enabled", "count"),
    follows=ngettext_lazy(
        ": it is fired from its next tick on. Missed ticks are not made up for.",
        ": they are fired from their next ticks on. Missed ticks are not made up for.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected schedule is enabled already",
        "All %(total)s selected schedules are enabled already",
        "number",
    ),
)
DISABLE = Wording(
    name=_("Disable"),
    phrase=_("Disable %(count)s %(objects)s"),
    heading=_("Disabled"),
    effect=ngettext_lazy("%(selection)s is disabled", "%(selection)s are disabled", "count"),
    follows=ngettext_lazy(
        ": none of its ticks is fired until it is enabled again. Tasks that it has enqueued run as "
        "before.",
        ": none of their ticks is fired until they are enabled again. Tasks that they have "
        "enqueued run as before.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected schedule is disabled already",
        "All %(total)s selected schedules are disabled already",
        "number",
    ),
    tone="canceled",
)
RUN_NOW = Wording(
    name=_("Run now"),
    phrase=_("Run %(count)s %(objects)s now"),
    heading=_("Run now"),
    effect=ngettext_lazy("%(selection)s is run now", "%(selection)s are run now", "count"),
    follows=ngettext_lazy(
        ": a task of it is enqueued, beside those of its ticks.",
        ": a task of each is enqueued, beside those of its ticks.",
        "count",
    ),
    nothing=ngettext_lazy(
        "The selected schedule cannot be run now",
        "None of the %(total)s selected schedules can be run now",
        "number",
    ),
)

#: A schedule, and why the action leaves it alone; empty if it does not.
Effect = tuple[Schedule, Any]


def render_page(
    modeladmin: Any,
    request: HttpRequest,
    action: str,
    wording: Wording,
    effects: Iterable[Effect],
    *,
    becomes: Any = "",
) -> TemplateResponse:
    """Render the page that confirms ``action``, with its effect on each of the schedules.

    ``becomes`` is the state of those that are affected afterwards.
    """
    confirmation, keys = Confirmation(wording, objects=SCHEDULES), []
    for row, why_not in effects:
        group = confirmation.left_alone if why_not else confirmation.affected
        shown = escape_invisible(row.key), escape_invisible(modeladmin.state(row))
        keys.append(row.pk)
        _add(group, Row(*shown, why_not, "" if why_not else becomes))
    if len(confirmation.left_alone.rows) == 1:
        confirmation.states = [str(confirmation.left_alone.rows[0].detail)]
    form = ReasonForm(request)
    form.fields["reason"].help_text = _("The history of each schedule shows it beside your name.")
    return render(modeladmin, request, action, confirmation, form, keys=keys)


def _add(group: Group, row: Row) -> None:
    group.count += 1
    if len(group.rows) < MAX_NAMED:
        group.rows.append(row)
