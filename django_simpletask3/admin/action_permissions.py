"""The permissions that the actions of a task's admin require."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from ..models import permissions
from ..models.task import SimpleTask


def _permission_check(action: str) -> Callable[..., bool]:
    def has_permission(self: Any, request: HttpRequest, obj: SimpleTask | None = None) -> bool:
        return permissions.may(request.user, action, self.model, obj)

    has_permission.__name__ = f"has_{action}_permission"
    has_permission.__doc__ = (
        "Return whether the user of ``request`` may do this to ``obj``, or to tasks of the model."
    )
    return has_permission


class ActionPermissionsMixin:
    """One ``has_..._permission(request, obj=None)`` method for each permission of an action.

    The admin calls it without ``obj`` to decide whether to offer the action, then once for each
    selected task. A subclass may override it to refuse the action for some tasks.
    """

    has_django_simpletask3_execute_permission = _permission_check(permissions.EXECUTE)
    has_django_simpletask3_execute_here_permission = _permission_check(permissions.EXECUTE_HERE)
    has_django_simpletask3_reset_permission = _permission_check(permissions.RESET)
    has_django_simpletask3_retry_permission = _permission_check(permissions.RETRY)
    has_django_simpletask3_cancel_permission = _permission_check(permissions.CANCEL)
    has_django_simpletask3_force_cancel_permission = _permission_check(permissions.FORCE_CANCEL)
    has_django_simpletask3_unblock_permission = _permission_check(permissions.UNBLOCK)
    has_django_simpletask3_hold_permission = _permission_check(permissions.HOLD)
    has_django_simpletask3_export_permission = _permission_check(permissions.EXPORT)
