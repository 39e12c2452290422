"""What a user may see of other models: which of them, and the way to their pages."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_simpletask3.catalog import task_models
from django_simpletask3.models import SimpleTask

from .values import visible


def visible_models(request: Any) -> list[type[SimpleTask]]:
    """The task models whose tasks the user of ``request`` may view."""
    return [model for model in task_models() if may_view(request, model)]


def may_view(request: Any, model: Any) -> bool:
    """Whether the user may view ``model``, by Django's own permissions."""
    meta = model._meta
    return any(
        request.user.has_perm(f"{meta.app_label}.{verb}_{meta.model_name}")
        for verb in ("view", "change")
    )


def link(site: Any, request: Any, label: str, pk: Any, text: str = "") -> SafeString | str:
    """A link to the page of a task; its words alone where there is none that the user may see."""
    words = visible(text or f"{label} {pk}")
    model: Any = apps.get_model(label)
    if not site.is_registered(model) or not may_view(request, model):
        return words
    try:
        meta = model._meta
        name = f"{site.name}:{meta.app_label}_{meta.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(name, args=[quote(pk)]), words)
    except NoReverseMatch:
        return words


def list_link(site: Any, model: Any, text: str) -> SafeString | str:
    """A link to the list of ``model``; its words alone where there is none."""
    if not site.is_registered(model):
        return text
    name = f"{site.name}:{model._meta.app_label}_{model._meta.model_name}_changelist"
    return format_html('<a href="{}">{}</a>', reverse(name), text)
