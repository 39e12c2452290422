"""The admin actions of tasks: check permissions, confirm, run in batches, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest

from ...context import task_context
from ...ledger.task_row import write_database
from ...models.task import SimpleTask
from ..viewer import decides_by_row, may_view_row
from . import confirmation, definitions, downloads, outcomes
from .definitions import TaskAction
from .outcomes import Outcome
from .selection import Selection

_ACTION_BY_NAME = {task_action.name: task_action for task_action in definitions.ACTIONS}

AdminAction = Callable[[Any, Any, Any], Any]


def _build_action(task_action: TaskAction) -> AdminAction:
    """Build the admin action of ``task_action``; it asks for confirmation before it runs.

    It raises PermissionDenied, before it changes anything, for a user without the permission.
    """

    @admin.action(permissions=[task_action.permission], description=task_action.description)
    def action(modeladmin: Any, request: HttpRequest, queryset: models.QuerySet[SimpleTask]) -> Any:
        if not has_action_permission(modeladmin, request, task_action):
            raise PermissionDenied
        if not confirmation.is_confirmed(request):
            is_allowed = partial(has_action_permission, modeladmin, request, task_action)
            return confirmation.render_page(
                modeladmin, request, Selection.of(queryset), task_action, is_allowed
            )
        counts, exported = _run_in_batches(modeladmin, request, queryset, task_action)
        outcomes.report(modeladmin, request, counts, task_action.sentences)
        return downloads.download_streams(queryset.model, exported) if exported else None

    action.__name__ = task_action.name
    action.__doc__ = str(task_action.explanation)
    return action


def _run_in_batches(
    modeladmin: Any,
    request: HttpRequest,
    queryset: models.QuerySet[SimpleTask],
    task_action: TaskAction,
) -> tuple[Counter[Outcome], list[tuple[str, Any]]]:
    """Run the action on the selected tasks; count the outcomes, and list the tasks to download.

    The list has database and key of each. Tasks for which the user lacks permission are left
    alone, whether the model's admin or a permission of the object denies it.
    """
    reason = confirmation.reason_of(request) or task_action.reason
    run = confirmation.operation_of(request, task_action, modeladmin.model)
    is_allowed = partial(has_action_permission, modeladmin, request, task_action)
    counts: Counter[Outcome] = Counter()
    exported: list[tuple[str, Any]] = []
    with task_context(actor=request.user):
        for tasks, missing in Selection.of(queryset).batches():
            allowed = [task for task in tasks if is_allowed(task)]
            batch_outcomes = run(allowed, reason)
            counts.update(batch_outcomes)
            counts[Outcome.FORBIDDEN] += len(tasks) - len(allowed)
            counts[Outcome.GONE] += missing
            if task_action.is_download:
                exported += _done_tasks(allowed, batch_outcomes)
    return counts, exported


def _done_tasks(tasks: list[SimpleTask], batch_outcomes: list[Outcome]) -> list[tuple[str, object]]:
    pairs = zip(tasks, batch_outcomes, strict=True)
    return [(write_database(task), task.pk) for task, outcome in pairs if outcome is Outcome.DONE]


def reject_forbidden_action(modeladmin: object, request: HttpRequest) -> None:
    """Raise PermissionDenied if ``request`` posts an action that its user may not run.

    Django itself only removes such an action from the choices, and shows the list again.
    """
    for name in request.POST.getlist("action"):
        task_action = _ACTION_BY_NAME.get(name)
        if task_action is not None and not has_action_permission(modeladmin, request, task_action):
            raise PermissionDenied


def has_action_permission(
    modeladmin: Any, request: HttpRequest, task_action: TaskAction, task: SimpleTask | None = None
) -> bool:
    """Whether the user of ``request`` may run the action on ``task``, or on tasks of the model.

    Django's checks guarantee that the model's admin has the method.
    """
    if task is not None and not _may_touch(modeladmin, request, task, task_action):
        return False
    return bool(getattr(modeladmin, f"has_{task_action.permission}_permission")(request, task))


def _may_touch(
    modeladmin: Any, request: HttpRequest, task: SimpleTask, task_action: TaskAction
) -> bool:
    """Whether the admin, if it decides for each row, lets the user see and change ``task``.

    An admin in which nothing can be changed does not keep users from the actions, which have
    permissions of their own: only a row that is refused while others are not is left alone.
    """
    if not may_view_row(modeladmin, request, task):
        return False
    may_change = modeladmin.has_change_permission
    is_asked = not task_action.is_download and decides_by_row(modeladmin, "has_change_permission")
    return not is_asked or may_change(request, task) or not may_change(request)


#: In the order of the list's menu.
ADMIN_ACTIONS = tuple(map(_build_action, definitions.ACTIONS))
(
    django_simpletask3_execute_for_selected,
    django_simpletask3_execute_here_for_selected,
    django_simpletask3_reset_for_selected,
    django_simpletask3_retry_for_selected,
    django_simpletask3_cancel_for_selected,
    django_simpletask3_force_cancel_for_selected,
    django_simpletask3_unblock_for_selected,
    django_simpletask3_hold_for_selected,
    django_simpletask3_lift_for_selected,
    django_simpletask3_export_for_selected,
) = ADMIN_ACTIONS
