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
from .definitions import Deed
from .outcomes import Outcome
from .selection import Selection

_DEEDS = {deed.name: deed for deed in definitions.DEEDS}

Action = Callable[[Any, Any, Any], Any]


def _offered(deed: Deed) -> Action:
    """The admin action that does ``deed``: it asks first, and then does it.

    Raises PermissionDenied, before anything is done, for a user without the permission.
    """

    @admin.action(permissions=[deed.permission], description=deed.description)
    def action(modeladmin: Any, request: Any, queryset: Any) -> Any:
        if not may(modeladmin, request, deed):
            raise PermissionDenied
        if not confirmation.is_given(request):
            allows = partial(may, modeladmin, request, deed)
            return confirmation.page(modeladmin, request, Selection.of(queryset), deed, allows)
        counts, done = _carry_out(modeladmin, request, queryset, deed)
        outcomes.report(modeladmin, request, counts, deed.sentences)
        return downloads.streams(queryset.model, done) if done else None

    action.__name__ = deed.name
    action.__doc__ = str(deed.explanation)
    return action


def _carry_out(
    modeladmin: Any, request: Any, queryset: Any, deed: Deed
) -> tuple[Counter[Outcome], list[tuple[str, Any]]]:
    """Do it to the selected tasks in batches: how many had which outcome, and what is to be had.

    That is database and key of each task whose stream is downloaded. Those that this user may not
    touch are left alone, whoever says so: the model's admin or the permissions of the object.
    """
    reason = confirmation.reason_of(request) or deed.reason
    counts: Counter[Outcome] = Counter()
    done: list[tuple[str, Any]] = []
    with task_context(actor=request.user):
        for tasks, missing in Selection.of(queryset).batches():
            allowed = [task for task in tasks if may(modeladmin, request, deed, task)]
            came_to = deed.step(allowed, reason)
            counts.update(came_to)
            counts[Outcome.FORBIDDEN] += len(tasks) - len(allowed)
            counts[Outcome.GONE] += missing
            if deed.is_download:
                pairs = zip(allowed, came_to, strict=True)
                done += [
                    (write_database(one), one.pk) for one, came in pairs if came is Outcome.DONE
                ]
    return counts, done


def refuse_forbidden(modeladmin: Any, request: Any) -> None:
    """Raise PermissionDenied if ``request`` posts an action that its user may do to no task.

    Django itself only leaves such an action out of what can be chosen, and shows the list again.
    """
    for name in request.POST.getlist("action"):
        deed = _DEEDS.get(name)
        if deed is not None and not may(modeladmin, request, deed):
            raise PermissionDenied


def may(modeladmin: Any, request: Any, deed: Deed, task: Any = None) -> bool:
    """Whether the user of ``request`` may do ``deed`` to ``task``, or to tasks at all.

    Django has made sure that the model's admin can be asked.
    """
    return bool(getattr(modeladmin, f"has_{deed.permission}_permission")(request, task))


django_simpletask3_execute_for_selected = _offered(definitions.EXECUTE)
django_simpletask3_execute_here_for_selected = _offered(definitions.EXECUTE_HERE)
django_simpletask3_reset_for_selected = _offered(definitions.RESET)
django_simpletask3_retry_for_selected = _offered(definitions.RETRY)
django_simpletask3_cancel_for_selected = _offered(definitions.CANCEL)
django_simpletask3_hold_for_selected = _offered(definitions.HOLD)
django_simpletask3_lift_for_selected = _offered(definitions.LIFT)
django_simpletask3_export_for_selected = _offered(definitions.EXPORT)

#: In the order in which the list offers them.
ACTIONS = (
    django_simpletask3_execute_for_selected,
    django_simpletask3_execute_here_for_selected,
    django_simpletask3_reset_for_selected,
    django_simpletask3_retry_for_selected,
    django_simpletask3_cancel_for_selected,
    django_simpletask3_hold_for_selected,
    django_simpletask3_lift_for_selected,
    django_simpletask3_export_for_selected,
)
