"""The page that confirms an action: what it changes, what it leaves alone, and the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.contrib.admin.utils import model_ngettext
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, npgettext_lazy

from ...conf.options import options
from ...ledger.fields import MAX_TEXT
from ...models.task import SimpleTask
from ..html.values import format_count
from .definitions import Option, TaskAction
from .outcomes import Outcome
from .selection import KEYS_NAME, pack_keys
from .wording import Wording

#: Tasks, or schedules, of each group that the page names.
MAX_NAMED = 5

#: Posted by the confirmation page.
CONFIRMED_NAME = "django_simpletask3_confirmed"

TASKS = npgettext_lazy("selected", "task", "tasks")
SCHEDULES = npgettext_lazy("selected", "schedule", "schedules")


class ReasonForm(forms.Form):
    """The reason of an action, which its events record, and tick boxes for its options."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_TEXT,
        strip=True,
        help_text=gettext_lazy("Stands in the events of each task, beside your name."),
        widget=forms.TextInput(attrs={"autofocus": True}),
    )

    def __init__(self, request: HttpRequest, boxes: Iterable[Option] = ()) -> None:
        data = request.POST if CONFIRMED_NAME in request.POST else None
        super().__init__(data, label_suffix="")
        self.fields["reason"].required = is_reason_required()
        for option in boxes:
            self.fields[option.name] = forms.BooleanField(
                required=False, label=option.label, help_text=option.help_text
            )

    def option_fields(self) -> list[forms.BoundField]:
        """The tick boxes."""
        return [bound for bound in self if bound.name != "reason"]


def is_reason_required() -> bool:
    """Whether an action is refused to a user who gives no reason."""
    return options.admin_reason_required


def is_confirmed(request: HttpRequest) -> bool:
    """Whether ``request`` was posted by the confirmation page, with a reason if one is required."""
    has_reason = bool(reason_of(request)) or not is_reason_required()
    return CONFIRMED_NAME in request.POST and has_reason


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


@dataclass(frozen=True, slots=True)
class Row:
    """One of those selected: what it is, and what becomes of it or why it is left alone."""

    label: SafeString | str
    state: SafeString | str
    #: What is going on; or why it is left alone.
    detail: Any = ""
    becomes: SafeString | str = ""


@dataclass(slots=True)
class Group:
    """The first rows of those that have the same effect, and how many there are."""

    count: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def further(self) -> str:
        """How many are not named; empty if all are."""
        return format_count(self.count - len(self.rows)) if self.count > len(self.rows) else ""

    @property
    def has_becomes(self) -> bool:
        return any(row.becomes for row in self.rows)

    @property
    def has_details(self) -> bool:
        return any(row.detail for row in self.rows)


@dataclass(slots=True)
class Confirmation:
    """What an action would do to those that are selected."""

    wording: Wording
    affected: Group = field(default_factory=Group)
    left_alone: Group = field(default_factory=Group)
    #: The words for one or several of them.
    objects: Any = TASKS
    #: Whether permissions, or holds, of the last ones were not checked.
    is_at_most: bool = False
    #: How many there are of what, if there is nothing to do: "3 succeeded".
    states: list[str] = field(default_factory=list)
    #: Whether all are left alone because the user lacks the permission.
    is_forbidden: bool = False

    @property
    def total(self) -> int:
        return self.affected.count + self.left_alone.count

    def question(self, opts: Any) -> str:
        """``Retry 12 invoices?``, or what may be done, if there is nothing to do."""
        if not self.affected.count:
            return str(self.wording.name)
        phrase = self._phrase(model_ngettext(opts, self.affected.count))
        return _("%(phrase)s?") % {"phrase": phrase}

    @property
    def button(self) -> str:
        """``Retry 12 tasks``."""
        return self._phrase(self.objects % self.affected.count)

    @property
    def effect(self) -> str:
        """``12 of 14 selected tasks run again``."""
        words = {"selection": self._selection(), "count": self.affected.count}
        return str(self.wording.effect % words)

    @property
    def follows(self) -> str:
        """What follows from the effect, to the end of the sentence."""
        return str(self.wording.follows % {"count": self.affected.count})

    @property
    def rest(self) -> str:
        """``2 are left alone.``"""
        count = self.left_alone.count
        text = ngettext("%(count)s is left alone.", "%(count)s are left alone.", count)
        return text % {"count": format_count(count)}

    @property
    def nothing(self) -> str:
        """Why there is nothing to do."""
        return str(self.wording.nothing % {"number": self.total, "total": format_count(self.total)})

    def _phrase(self, objects: str) -> str:
        return str(self.wording.phrase % {"count": self._count(), "objects": objects})

    def _count(self) -> str:
        count = format_count(self.affected.count)
        return _("up to %(count)s") % {"count": count} if self.is_at_most else count

    def _selection(self) -> str:
        words = {
            "count": format_count(self.affected.count),
            "total": format_count(self.total),
            "objects": self.objects % self.total,
        }
        if self.is_at_most:
            return _("At most %(count)s of %(total)s selected %(objects)s") % words
        if self.left_alone.count:
            return _("%(count)s of %(total)s selected %(objects)s") % words
        if self.total > 1:
            return _("All %(total)s selected %(objects)s") % words
        return _("The selected %(objects)s") % words


def render_page(
    modeladmin: Any,
    request: HttpRequest,
    action: str,
    confirmation: Confirmation,
    form: ReasonForm,
    *,
    keys: Iterable[Any],
) -> TemplateResponse:
    """Render the page that asks for confirmation of the admin action called ``action``.

    ``keys`` are those of all that the page has counted: of "select all" it posts them, so that
    nothing that the list shows only later is changed.
    """
    select_across = request.POST.get("select_across", "0")
    opts = modeladmin.model._meta
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": confirmation.question(opts),
        "crumb": confirmation.wording.name,
        "back_url": request.get_full_path(),
        "back_label": _("Back to the list"),
        "opts": opts,
        "media": modeladmin.media,
        "confirmation": confirmation,
        "affected": confirmation.affected.count,
        "total": confirmation.total,
        "form": form,
        "action": action,
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
        "select_across": select_across,
        "keys_name": KEYS_NAME,
        "keys": pack_keys(keys) if select_across != "0" else "",
        "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "confirmed_name": CONFIRMED_NAME,
    }
    request.current_app = modeladmin.admin_site.name
    template = "admin/django_simpletask3/confirmation.html"
    return TemplateResponse(request, template, context)
