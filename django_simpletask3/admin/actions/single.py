"""An action on one task, from the task's own page."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from ...models.task import SimpleTask
from ..html.values import escape_invisible


def run_on_task(modeladmin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Run the action that is posted on one task, as its list would; return to the task's page.

    Before it is confirmed, this is the page of confirmation. Raises PermissionDenied unless the
    user may view the task, Http404 if there is none.
    """
    task: SimpleTask | None = modeladmin.get_object(request, object_id)
    if not modeladmin.has_view_or_change_permission(request, task):
        raise PermissionDenied
    if task is None:
        raise Http404
    if request.method == "POST":
        # Of the keys that are posted, only this one is in it.
        queryset = modeladmin.get_queryset(request).filter(pk=task.pk)
        response: HttpResponse | None = modeladmin.response_action(request, queryset)
        if isinstance(response, TemplateResponse):
            response.context_data = {
                **(response.context_data or {}),
                "back_url": _page_url(modeladmin, task),
                "back_label": _("Back to the task"),
                "task_name": escape_invisible(str(task)),
            }
        if response is not None and not isinstance(response, HttpResponseRedirect):
            return response
    return HttpResponseRedirect(_page_url(modeladmin, task))


def _page_url(modeladmin: Any, task: SimpleTask) -> str:
    meta = modeladmin.opts
    name = f"{modeladmin.admin_site.name}:{meta.app_label}_{meta.model_name}_change"
    return reverse(name, args=[quote(task.pk)])
