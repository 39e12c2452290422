"""The page between choosing an action and doing it: how many, which of them, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.contrib.admin.utils import model_ngettext
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from ...models.queryset import rows_of
from ..html import badges
from .definitions import Deed
from .selection import Selection

#: Tasks of which it is asked, one by one, whether the user may touch them.
MOST_ASKED = 1000

_Counts = Counter[tuple[Any, "Verdict"]]

_GIVEN = "django_simpletask3_confirmed"


class ReasonForm(forms.Form):
    """Why something is done; the events will say so."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=255,
        strip=True,
        help_text=_("It stands in the timeline of each task, beside your name."),
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
    )


def is_given(request: Any) -> bool:
    """Whether ``request`` comes from this page."""
    return _GIVEN in request.POST


def reason_of(request: Any) -> str:
    """The reason that was given; empty if none was, cut to what an event can hold."""
    return request.POST.get("reason", "").strip()[:255]  # type: ignore[no-any-return]


class Verdict(IntEnum):
    """What would happen to a task, in the order of the page."""

    DONE = 0
    LEFT = 1
    FORBIDDEN = 2


_SAID = {
    Verdict.DONE: _("is done"),
    Verdict.LEFT: _("left alone"),
    Verdict.FORBIDDEN: _("left alone: you have no permission"),
}


def page(
    modeladmin: Any, request: Any, selection: Selection, deed: Deed, allows: Callable[[Any], bool]
) -> TemplateResponse:
    """Ask whether ``deed`` is to be done to the tasks of ``selection``: how many it would move.

    ``allows`` says of a task whether the user may do it; of more than MOST_ASKED tasks the others
    are judged by their states only.
    """
    counts = _asked(selection, deed, allows) + _guessed(selection, deed)
    lines = [
        (badges.status(status), counts[status, verdict], _SAID[verdict])
        for status, verdict in sorted(counts)
    ]
    affected = sum(n for (_status, verdict), n in counts.items() if verdict is Verdict.DONE)
    total = counts.total()
    opts = modeladmin.model._meta
    names = {"verbose_name": opts.verbose_name, "verbose_name_plural": opts.verbose_name_plural}
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": deed.description % names,
        "opts": opts,
        "media": modeladmin.media,
        "explanation": deed.explanation,
        "lines": lines,
        "affected": affected,
        "is_at_most": len(selection.pks) > MOST_ASKED,
        "total": total,
        "objects_name": model_ngettext(opts, total),
        "form": ReasonForm(),
        "action": deed.name,
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "confirmed_name": _GIVEN,
    }
    request.current_app = modeladmin.admin_site.name
    template = "admin/django_simpletask3/confirmation.html"
    return TemplateResponse(request, template, context)


def _asked(selection: Selection, deed: Deed, allows: Callable[[Any], bool]) -> _Counts:
    counts: _Counts = Counter()
    for tasks, _gone in selection.batches(MOST_ASKED):
        allowed = [task for task in tasks if allows(task)]
        meant = {task.pk for task in deed.meant(allowed)}
        counts.update((task.status, Verdict.FORBIDDEN) for task in tasks if task not in allowed)
        counts.update(
            (task.status, Verdict.DONE if task.pk in meant else Verdict.LEFT) for task in allowed
        )
    return counts


def _guessed(selection: Selection, deed: Deed) -> _Counts:
    counts: _Counts = Counter()
    rest = selection.pks[MOST_ASKED:]
    for start in range(0, len(rest), MOST_ASKED):
        rows = rows_of(selection.root, selection.using).filter(
            pk__in=rest[start : start + MOST_ASKED]
        )
        for status in rows.values_list("status", flat=True):
            counts[status, Verdict.DONE if status in deed.applies_to else Verdict.LEFT] += 1
    return counts
