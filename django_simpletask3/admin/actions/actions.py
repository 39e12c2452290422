"""The actions of the list: asked for, confirmed, carried out in batches, reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied

from ...context import task_context
from ...ledger.task_row import write_database
from . import confirmation, definitions, downloads, outcomes
from .definitions import TaskAction
from .outcomes import Outcome
from .selection import Selection

_ACTION_BY_NAME = {task_action.name: task_action for task_action in definitions.ACTIONS}

AdminAction = Callable[[Any, Any, Any], Any]


def _build_action(task_action: TaskAction) -> AdminAction:
    """The admin action that does ``deed``: it asks first, and then does it.

    Raises PermissionDenied, before anything is done, for a user without the permission.
    """

    @admin.action(permissions=[task_action.permission], description=task_action.description)
    def action(modeladmin: Any, request: Any, queryset: Any) -> Any:
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
    modeladmin: Any, request: Any, queryset: Any, task_action: TaskAction
) -> tuple[Counter[Outcome], list[tuple[str, Any]]]:
    """Do it to the selected tasks in batches: how many had which outcome, and what is to be had.

    That is database and key of each task whose stream is downloaded. Those that this user may not
    touch are left alone, whoever says so: the model's admin or the permissions of the object.
    """
    reason = confirmation.reason_of(request) or task_action.reason
    counts: Counter[Outcome] = Counter()
    exported: list[tuple[str, Any]] = []
    with task_context(actor=request.user):
        for tasks, missing in Selection.of(queryset).batches():
            allowed = [
                task
                for task in tasks
                if has_action_permission(modeladmin, request, task_action, task)
            ]
            batch_outcomes = task_action.run(allowed, reason)
            counts.update(batch_outcomes)
            counts[Outcome.FORBIDDEN] += len(tasks) - len(allowed)
            counts[Outcome.GONE] += missing
            if task_action.is_download:
                pairs = zip(allowed, batch_outcomes, strict=True)
                exported += [
                    (write_database(task), task.pk)
                    for task, outcome in pairs
                    if outcome is Outcome.DONE
                ]
    return counts, exported


def reject_forbidden_action(modeladmin: Any, request: Any) -> None:
    """Raise PermissionDenied if ``request`` posts an action that its user may do to no task.

    Django itself only leaves such an action out of what can be chosen, and shows the list again.
    """
    for name in request.POST.getlist("action"):
        task_action = _ACTION_BY_NAME.get(name)
        if task_action is not None and not has_action_permission(modeladmin, request, task_action):
            raise PermissionDenied


def has_action_permission(
    modeladmin: Any, request: Any, task_action: TaskAction, task: Any = None
) -> bool:
    """Whether the user of ``request`` may do ``deed`` to ``task``, or to tasks at all.

    Django has made sure that the model's admin can be asked.
    """
    return bool(getattr(modeladmin, f"has_{task_action.permission}_permission")(request, task))


django_simpletask3_execute_for_selected = _build_action(definitions.EXECUTE)
django_simpletask3_execute_here_for_selected = _build_action(definitions.EXECUTE_HERE)
django_simpletask3_reset_for_selected = _build_action(definitions.RESET)
django_simpletask3_retry_for_selected = _build_action(definitions.RETRY)
django_simpletask3_cancel_for_selected = _build_action(definitions.CANCEL)
django_simpletask3_hold_for_selected = _build_action(definitions.HOLD)
django_simpletask3_lift_for_selected = _build_action(definitions.LIFT)
django_simpletask3_export_for_selected = _build_action(definitions.EXPORT)

#: In the order in which the list offers them.
ADMIN_ACTIONS = (
    django_simpletask3_execute_for_selected,
    django_simpletask3_execute_here_for_selected,
    django_simpletask3_reset_for_selected,
    django_simpletask3_retry_for_selected,
    django_simpletask3_cancel_for_selected,
    django_simpletask3_hold_for_selected,
    django_simpletask3_lift_for_selected,
    django_simpletask3_export_for_selected,
)
