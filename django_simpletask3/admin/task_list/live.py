"""The JSON that a list of tasks polls: numbers, and the cells of the tasks that it shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils import timezone
from django.utils.translation import ngettext

from ...ledger.task_row import table_model
from ...states import UNFINISHED
from ..html.pills import State
from ..html.values import escape_invisible
from ..viewer import may_view_row
from .rows import changing_cells, state_word

#: Tasks of which one request returns the cells.
MAX_KEYS = 500
#: States in which a list changes without a person.
_BUSY = (State.WAITING, State.RUNNING)


def list_response(modeladmin: Any, request: HttpRequest) -> JsonResponse:
    """Return the current numbers, and the tasks whose keys are posted as ``key``.

    Raises PermissionDenied unless the user may view tasks, Http404 for filters that do not exist.
    """
    if not modeladmin.has_view_or_change_permission(request):
        raise PermissionDenied
    try:
        changelist = modeladmin.get_changelist_instance(request)
    except IncorrectLookupParameters:
        raise Http404 from None
    keys = request.POST.getlist("key")[:MAX_KEYS]
    page = {str(task.pk): task for task in changelist.result_list}
    tasks = {**_other_tasks(changelist, request, [k for k in keys if k not in page]), **page}
    state = {
        "time": format_time(changelist),
        "is_busy": is_busy(changelist),
        "counts": {state or "all": str(c) for state, c in changelist.shown_counts().items()},
        "rows": {key: _row(changelist, tasks[key]) for key in keys if key in tasks},
        "new": _new(len(page.keys() - set(keys)) if changelist.page_num == 1 else 0),
    }
    return JsonResponse(state, headers={"Cache-Control": "no-store"})


def format_time(changelist: Any) -> str:
    """The time of the numbers and rows of ``changelist``, to the second."""
    now = changelist.now
    return f"{timezone.localtime(now) if timezone.is_aware(now) else now:%H:%M:%S}"


def is_busy(changelist: Any) -> bool:
    """Whether something waits or runs, so that the list changes by itself."""
    is_unfinished = any(task.status in UNFINISHED for task in changelist.page_rows)
    return is_unfinished or any(changelist.counts[state].number for state in _BUSY)


def _new(number: int) -> dict[str, Any]:
    words = ngettext("%(count)s new task", "%(count)s new tasks", number) % {"count": number}
    return {"number": number, "words": words}


def _row(changelist: Any, task: Any) -> dict[str, Any]:
    state = state_word(task, changelist.now)
    name = escape_invisible(str(task).strip() or str(task.pk))
    return {"name": name, "state": state, "cells": changing_cells(changelist, task)}


def _other_tasks(changelist: Any, request: HttpRequest, keys: Iterable[str]) -> dict[str, Any]:
    """The tasks with these keys that the page shows no more; one statement, and their events."""
    pk = table_model(changelist.model)._meta.pk
    found = [value for key in keys if (value := _parse_key(pk, key)) is not None]
    if not found:
        return {}
    rows = changelist.root_queryset.filter(pk__in=found).defer("result_data", "error_data")
    modeladmin = changelist.model_admin
    tasks = [task for task in rows if may_view_row(modeladmin, request, task)]
    changelist.prepare(tasks, request)
    return {str(task.pk): task for task in tasks}


def _parse_key(pk: Any, key: str) -> Any:
    """``key`` as a value of the column ``pk``; None if it cannot be one."""
    try:
        value = pk.to_python(key)
        pk.run_validators(value)
    except ValidationError:
        return None
    return None if "\x00" in key else value
