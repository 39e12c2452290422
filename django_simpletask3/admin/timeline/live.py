"""What a page of a task asks while the task goes on, and is answered in JSON."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.template.loader import render_to_string
from django.utils.html import conditional_escape

from ...states import FINAL
from .inline import TaskEventInline


def answer(modeladmin: Any, request: Any, object_id: str) -> JsonResponse:
    """The task as it stands: its fields and its timeline, as HTML in which everything is escaped.

    Raises PermissionDenied unless the user may view the task, Http404 if there is none.
    """
    task = modeladmin.get_object(request, object_id)
    if not modeladmin.has_view_or_change_permission(request, task):
        raise PermissionDenied
    if task is None:
        raise Http404
    said = {
        "sequence": task.sequence,
        "final": task.status in FINAL,
        "status": str(task.get_status_display()),
        "fields": _fields(modeladmin, request, task),
        "timeline": _timeline(modeladmin, request, task),
    }
    return JsonResponse(said, headers={"Cache-Control": "no-store"})


def _fields(modeladmin: Any, request: Any, task: Any) -> dict[str, str]:
    """What the page shows of how the task stands: a field that it does not show is not told."""
    shown = {*flatten_fieldsets(modeladmin.get_fieldsets(request, task))}
    shown &= {*modeladmin.get_readonly_fields(request, task)}
    names = [name for name in flatten_fieldsets([modeladmin.task_fieldset]) if name in shown]
    return {name: str(conditional_escape(_value(modeladmin, task, name))) for name in names}


def _value(modeladmin: Any, task: Any, name: str) -> Any:
    shown = getattr(modeladmin, name, None)
    if callable(shown):
        return shown(task)
    value = getattr(task, name)
    return modeladmin.get_empty_value_display() if value in (None, "") else value


def _timeline(modeladmin: Any, request: Any, task: Any) -> str:
    formsets, instances = modeladmin._create_formsets(request, task, change=True)
    shown = modeladmin.get_inline_formsets(request, formsets, instances, task)
    return "".join(
        render_to_string(one.opts.template, {"inline_admin_formset": one}, request)
        for one in shown
        if isinstance(one.opts, TaskEventInline)
    )
