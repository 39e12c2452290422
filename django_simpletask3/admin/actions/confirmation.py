"""The page that confirms an action: how many tasks it changes, and the reason for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import partial
from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.contrib.admin.utils import model_ngettext
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from ...batches import batches
from ...ledger.fields import MAX_TEXT
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ..html import badges
from ..viewer import may_view_row
from .definitions import Option, TaskAction
from .outcomes import Outcome
from .selection import Selection

#: Tasks whose permission is checked one by one.
MAX_CHECKED = 1000

#: Instead of the status of a task that the user may not view.
_NO_STATUS = -1

_Counts = Counter[tuple[Any, "Effect"]]

_CONFIRMED_NAME = "django_simpletask3_confirmed"


class ReasonForm(forms.Form):
    """The reason of an action, which its events record, and tick boxes for its options."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=MAX_TEXT,
        strip=True,
        help_text=_("The timeline of each task shows it beside your name."),
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
    )

    def __init__(self, options: Iterable[Option]) -> None:
        super().__init__()
        for option in options:
            self.fields[option.name] = forms.BooleanField(
                required=False, label=option.label, help_text=option.help_text
            )

    def option_fields(self) -> list[forms.BoundField]:
        """The tick boxes."""
        return [field for field in self if field.name != "reason"]


def is_confirmed(request: HttpRequest) -> bool:
    """Whether ``request`` was posted by the confirmation page."""
    return _CONFIRMED_NAME in request.POST


def reason_of(request: HttpRequest) -> str:
    """The posted reason, cut to the length of the column; may be empty."""
    return request.POST.get("reason", "").strip()[:MAX_TEXT]


def operation_of(
    request: HttpRequest, task_action: TaskAction, model: type[SimpleTask]
) -> Callable[[list[Any], str], list[Outcome]]:
    """What is done to the tasks of ``model``, with the options that the user has ticked."""
    names = (option.name for option in task_action.options_of(model))
    ticked = {name: True for name in names if name in request.POST}
    return partial(task_action.run, **ticked)


class Effect(IntEnum):
    """The effect on a task, in the order of the page."""

    DONE = 0
    SKIPPED = 1
    FORBIDDEN = 2


_EFFECT_LABELS = {
    Effect.DONE: _("is done"),
    Effect.SKIPPED: _("left alone"),
    Effect.FORBIDDEN: _("left alone: you have no permission"),
}


def render_page(
    modeladmin: Any,
    request: HttpRequest,
    selection: Selection,
    task_action: TaskAction,
    is_allowed: Callable[[Any], bool],
) -> TemplateResponse:
    """Render the confirmation page of ``task_action`` for the tasks of ``selection``.

    ``is_allowed`` checks the permission for a task. After the first MAX_CHECKED tasks only the
    statuses are counted.
    """
    may_view = partial(may_view_row, modeladmin, request)
    counts = _count_checked(selection, task_action, is_allowed, may_view) + _count_by_status(
        selection, task_action
    )
    rows = [
        ("" if s == _NO_STATUS else badges.status(s), counts[s, e], _EFFECT_LABELS[e])
        for s, e in sorted(counts)
    ]
    affected = sum(n for (_status, effect), n in counts.items() if effect is Effect.DONE)
    total = counts.total()
    opts = modeladmin.model._meta
    names = {"verbose_name": opts.verbose_name, "verbose_name_plural": opts.verbose_name_plural}
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": task_action.description % names,
        "opts": opts,
        "media": modeladmin.media,
        "explanation": task_action.explanation,
        "rows": rows,
        "affected": affected,
        "is_at_most": len(selection.pks) > MAX_CHECKED,
        "total": total,
        "objects_name": model_ngettext(opts, total),
        "form": ReasonForm(task_action.options_of(modeladmin.model)),
        "action": task_action.name,
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "confirmed_name": _CONFIRMED_NAME,
    }
    request.current_app = modeladmin.admin_site.name
    template = "admin/django_simpletask3/confirmation.html"
    return TemplateResponse(request, template, context)


def _count_checked(
    selection: Selection,
    task_action: TaskAction,
    is_allowed: Callable[[Any], bool],
    may_view: Callable[[Any], bool],
) -> _Counts:
    """The counts of the first tasks, without the status of those that the user may not view."""
    counts: _Counts = Counter()
    for tasks, _gone in selection.batches(MAX_CHECKED):
        allowed = [task for task in tasks if is_allowed(task)]
        applicable_pks = {task.pk for task in task_action.applicable(allowed)}
        counts.update(
            (task.status if may_view(task) else _NO_STATUS, Effect.FORBIDDEN)
            for task in tasks
            if task not in allowed
        )
        counts.update(
            (task.status, Effect.DONE if task.pk in applicable_pks else Effect.SKIPPED)
            for task in allowed
        )
    return counts


def _count_by_status(selection: Selection, task_action: TaskAction) -> _Counts:
    counts: _Counts = Counter()
    for pks in batches(selection.pks[MAX_CHECKED:], MAX_CHECKED):
        rows = rows_of(selection.root, selection.using).filter(pk__in=pks)
        for status in rows.values_list("status", flat=True):
            counts[status, Effect.DONE if status in task_action.applies_to else Effect.SKIPPED] += 1
    return counts
