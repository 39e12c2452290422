"""The page between choosing an action and doing it: how many, which of them, and why."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.contrib.admin.utils import model_ngettext
from django.db.models import Count
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from django_simpletask3.fields import STATUS

from . import badges
from .deeds import Deed

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


def page(modeladmin: Any, request: Any, queryset: Any, deed: Deed) -> TemplateResponse:
    """Ask whether ``deed`` is to be done to the tasks of ``queryset``: how many it would move."""
    found = queryset.order_by().values_list("status").annotate(Count("pk"))
    by_status = dict(found.values_list("status", "pk__count"))
    lines = [
        (badges.status(status), by_status[status], status in deed.applies_to)
        for status, _name in STATUS
        if status in by_status
    ]
    affected = sum(count for _label, count, applies in lines if applies)
    total = sum(by_status.values())
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
