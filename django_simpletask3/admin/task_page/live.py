"""The JSON that a task's page polls until the task is finished."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.html import conditional_escape
from django.utils.translation import gettext as _

from ...db import clock
from ...ledger.task_row import table_model
from ...models.task import SimpleTask
from ...states import FINAL
from ..html.pills import State, state_of
from ..html.times import clock_time
from ..viewer import decides_by_row
from . import polling
from .page import TaskPage

#: The number of the last event that the page has.
SEQUENCE_HEADER = "X-St3-Sequence"
#: The version of the page.
VERSION_HEADER = "X-St3-Version"
#: The states in which a task changes by an event only.
_AT_REST = (State.WAITING, State.SCHEDULED, State.BLOCKED)
_PERMISSIONS = tuple(f"has_{name}_permission" for name in ("view", "change", "view_or_change"))


def task_response(modeladmin: Any, request: HttpRequest, object_id: str) -> JsonResponse:
    """Return the parts of a task's page as they are now, as escaped HTML in JSON.

    The events are left out if the page has the last one, and all parts if it is up to date: then
    the answer has the time only, and is read in one statement.

    Raises PermissionDenied unless the user may view the task, Http404 if there is none.
    """
    answer = _unchanged(modeladmin, request, object_id)
    if answer is None:
        answer = _changed(modeladmin, request, object_id)
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def _unchanged(modeladmin: Any, request: HttpRequest, object_id: str) -> dict[str, Any] | None:
    """What a page gets that is up to date; None if it is not, or if the whole row is needed."""
    page_version = request.headers.get(VERSION_HEADER)
    if not page_version or any(decides_by_row(modeladmin, name) for name in _PERMISSIONS):
        return None
    if not modeladmin.has_view_or_change_permission(request):
        return None
    try:
        rows = modeladmin.get_queryset(request).filter(pk=object_id)
        row = rows.values_list("sequence", "status", "run_after").first()
    except (ValueError, ValidationError):
        return None
    if row is None:
        return None
    sequence, status, run_after = row
    now = clock.now(router.db_for_write(table_model(modeladmin.model)))
    state = state_of(status, run_after, now)
    if state not in _AT_REST or polling.version(sequence, state, now) != page_version:
        return None
    return {
        "final": False,
        "interval": polling.interval(state, run_after, now),
        "live": _("live, %(time)s") % {"time": clock_time(now)},
        "stopped": _("stopped at %(time)s") % {"time": clock_time(now)},
    }


def _changed(modeladmin: Any, request: HttpRequest, object_id: str) -> dict[str, Any]:
    """The parts of the page as they are now."""
    task = modeladmin.get_object(request, object_id)
    if not modeladmin.has_view_or_change_permission(request, task):
        raise PermissionDenied
    if task is None:
        raise Http404
    page = TaskPage(modeladmin, request, task)
    # Lines of events do not change with the time.
    has_all_events = request.headers.get(SEQUENCE_HEADER) == str(task.sequence)
    return {
        "sequence": task.sequence,
        "version": page.version,
        "interval": page.interval,
        "final": task.status in FINAL,
        "state": page.state_word,
        "parts": page.render_parts(without="events" if has_all_events else ""),
        "fields": _field_values(modeladmin, request, task),
    }


def _field_values(modeladmin: Any, request: HttpRequest, task: SimpleTask) -> dict[str, str]:
    """The fields of the fieldset "Task", if the admin's own fieldsets show them."""
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
