"""The admin actions of tasks: check permissions, confirm, run in batches, report.

The pages of confirmation are imported when an action is run: workers load the admin, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest
from django.utils.safestring import SafeString

from ...context import task_context
from ...ledger.task_row import write_database
from ...models.task import SimpleTask
from ..viewer import Viewer, decides_by_row, may_view_row
from . import definitions, outcomes
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
        from . import confirmation, downloads, preview

        if not confirmation.is_confirmed(request):
            is_allowed = partial(has_action_permission, modeladmin, request, task_action)
            selection = Selection.of(queryset)
            found = preview.preview(modeladmin, request, selection, task_action, is_allowed)
            form = confirmation.ReasonForm(request, task_action.options_of(modeladmin.model))
            return confirmation.render_page(
                modeladmin, request, task_action.name, found, form, keys=selection.pks
            )
        result = _run_in_batches(modeladmin, request, queryset, task_action)
        outcomes.report(modeladmin, request, result.counts, task_action.sentences, result.links)
        if not result.exported:
            return None
        return downloads.download_streams(queryset.model, result.exported)

    action.__name__ = task_action.name
    action.__doc__ = str(task_action.description)
    return action


@dataclass(slots=True)
class _Result:
    """What an action has done: outcomes, links to the first tasks, and the tasks to download.

    The tasks to download are given by database and key.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    links: dict[Outcome, list[SafeString | str]] = field(default_factory=dict)
    exported: list[tuple[str, Any]] = field(default_factory=list)

    def add(self, task: Any, outcome: Outcome, link: Callable[[Any], SafeString | str]) -> None:
        """Add a link to ``task``, unless its outcome has as many as a message shows."""
        links = self.links.setdefault(outcome, [])
        is_shown = outcome is not Outcome.GONE and len(links) < outcomes.MAX_LINKS
        if is_shown and (shown := link(task)):
            links.append(shown)


def _run_in_batches(
    modeladmin: Any,
    request: HttpRequest,
    queryset: models.QuerySet[SimpleTask],
    task_action: TaskAction,
) -> _Result:
    """Run the action on the selected tasks, and say what became of them.

    Tasks for which the user lacks permission are left alone, whether the model's admin or a
    permission of the object denies it.
    """
    from . import confirmation

    reason = confirmation.reason_of(request) or task_action.reason
    run = confirmation.operation_of(request, task_action, modeladmin.model)
    is_allowed = partial(has_action_permission, modeladmin, request, task_action)
    link = partial(_link, modeladmin, request, Viewer(modeladmin.admin_site, request))
    result = _Result()
    with task_context(actor=request.user):
        for tasks, missing in Selection.of(queryset).batches():
            allowed = [task for task in tasks if is_allowed(task)]
            batch_outcomes = run(allowed, reason)
            result.counts.update(batch_outcomes)
            result.counts[Outcome.FORBIDDEN] += len(tasks) - len(allowed)
            result.counts[Outcome.GONE] += missing
            # Beyond those of the tasks themselves are outcomes of others.
            for task, outcome in zip(allowed, batch_outcomes, strict=False):
                result.add(task, outcome, link)
            for task in tasks if len(allowed) < len(tasks) else ():
                if task not in allowed:
                    result.add(task, Outcome.FORBIDDEN, link)
            if task_action.is_download:
                result.exported += _done_tasks(allowed, batch_outcomes)
    return result


def _link(
    modeladmin: Any, request: HttpRequest, viewer: Viewer, task: SimpleTask
) -> SafeString | str:
    """A link to ``task``; empty if the user may not view it."""
    from . import preview

    if not may_view_row(modeladmin, request, task):
        return ""
    return preview.task_link(viewer, task)


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
