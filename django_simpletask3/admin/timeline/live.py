"""The JSON that a task's page polls until the task is finished."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.utils.html import conditional_escape

from ...models.task import SimpleTask
from ...states import FINAL
from .inline import TaskEventInline


def task_response(modeladmin: Any, request: HttpRequest, object_id: str) -> JsonResponse:
    """Return the current fields and timeline of a task, as escaped HTML in JSON.

    Raises PermissionDenied unless the user may view the task, Http404 if there is none.
    """
    task = modeladmin.get_object(request, object_id)
    if not modeladmin.has_view_or_change_permission(request, task):
        raise PermissionDenied
    if task is None:
        raise Http404
    state = {
        "sequence": task.sequence,
        "final": task.status in FINAL,
        "status": str(task.get_status_display()),
        "fields": _field_values(modeladmin, request, task),
        "timeline": _render_timeline(modeladmin, request, task),
    }
    return JsonResponse(state, headers={"Cache-Control": "no-store"})


def _field_values(modeladmin: Any, request: HttpRequest, task: SimpleTask) -> dict[str, str]:
    """The displayed fields of the task; fields that the page does not show are left out."""
    visible_names = {*flatten_fieldsets(modeladmin.get_fieldsets(request, task))}
    visible_names &= {*modeladmin.get_readonly_fields(request, task)}
    names = [n for n in flatten_fieldsets([modeladmin.task_fieldset]) if n in visible_names]
    return {name: str(conditional_escape(_display_value(modeladmin, task, name))) for name in names}


def _display_value(modeladmin: Any, task: SimpleTask, name: str) -> Any:
    display = getattr(modeladmin, name, None)
    if callable(display):
        return display(task)
    value = getattr(task, name)
    return modeladmin.get_empty_value_display() if value in (None, "") else value


def _render_timeline(modeladmin: Any, request: HttpRequest, task: SimpleTask) -> str:
    formsets, instances = modeladmin._create_formsets(request, task, change=True)
    inline_formsets = modeladmin.get_inline_formsets(request, formsets, instances, task)
    return "".join(
        render_to_string(
            inline_formset.opts.template, {"inline_admin_formset": inline_formset}, request
        )
        for inline_formset in inline_formsets
        if isinstance(inline_formset.opts, TaskEventInline)
    )
