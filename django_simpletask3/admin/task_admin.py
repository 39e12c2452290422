"""The admin of a task model.

What the page of a task shows is imported when it is asked for: workers load the admin, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from django_simpletask3.context import task_context
from django_simpletask3.exceptions import DuplicateTask, TaskHeld

from ..models.task import SimpleTask
from ..states import FINAL, Status
from . import changelist, delete_protection
from .action_permissions import ActionPermissionsMixin
from .actions.actions import ADMIN_ACTIONS, reject_forbidden_action
from .actions.selection import posted_keys
from .changelist import TaskChangeList, TaskPaginator
from .html import values
from .task_columns import TaskColumnsAdmin
from .task_form import TaskFormAdmin
from .task_list.action_menu import group_choices
from .task_list.filter_form import SAVED_FILTERS
from .task_list.filters import is_of_outcome
from .task_list.live import list_response
from .viewer import decides_by_row

# Most rows of a table have the same status: sorting by it would sort the whole table.
_UNSORTABLE = frozenset({"attempt", "add_time", "status_badge"})


class SimpleTaskAdmin(ActionPermissionsMixin, TaskFormAdmin, TaskColumnsAdmin):
    """The list of tasks, and a page for each task that ends with its timeline.

    Columns of your own can be edited; those that the state machine writes cannot. Subclass it and
    extend its attributes: ``list_display = (*SimpleTaskAdmin.list_display, "amount")``. Your
    ``fieldsets`` can include ``SimpleTaskAdmin.task_fieldset`` and
    ``SimpleTaskAdmin.schedule_fieldset``.
    """

    #: The parts of a task's page below its head: "timeline", "outcome" (error, result and related
    #: tasks) and "events".
    task_parts: ClassVar[tuple[str, ...]] = ("timeline", "outcome", "events")

    #: Links above the list: pairs of a title and the query of an address.
    saved_filters: ClassVar[Sequence[tuple[Any, str]]] = SAVED_FILTERS

    list_display = (
        "task_label",
        "status_label",
        "activity_label",
        "attempt_label",
        "waited_label",
        "ran_label",
        "worker_label",
        "enqueued_label",
    )
    date_hierarchy = "done_time"
    change_list_template = "admin/django_simpletask3/task_list.html"
    paginator = TaskPaginator
    # The table may be large; do not count all its rows for a total that is rarely needed.
    show_full_result_count = False
    actions = ADMIN_ACTIONS

    class Media:
        css = {"all": ("django_simpletask3/admin.css",)}
        js = (
            "django_simpletask3/live.js",
            "django_simpletask3/live_list.js",
            "django_simpletask3/dialogs.js",
        )

    # Views: each records its user as the actor of the events that it causes.

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        reject_forbidden_action(self, request)
        with task_context(actor=request.user):
            return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        with task_context(actor=request.user):
            try:
                return super().changeform_view(request, object_id, form_url, extra_context)
            except DuplicateTask as error:
                # Another task has taken the key since the form was validated.
                return self._redirect_with_error(request, error)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        with task_context(actor=request.user):
            try:
                return super().delete_view(request, object_id, extra_context)
            except TaskHeld as error:
                # The hold was added after Django had checked which tasks are protected.
                return self._redirect_with_error(request, error)

    def _redirect_with_error(self, request: HttpRequest, error: Exception) -> HttpResponseRedirect:
        self.message_user(request, values.escape_invisible(str(error)), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Like Django's, but tasks on legal hold are protected, each with a message.

        Tasks that the admin refuses to show are not deleted.
        """
        to_delete, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        is_asked = decides_by_row(self, "has_view_permission")
        if is_asked and not all(self.has_view_permission(request, task) for task in objs):
            perms_needed = {*perms_needed, str(self.opts.verbose_name)}
        return to_delete, counts, perms_needed, [*protected, *delete_protection.hold_messages(objs)]

    def get_urls(self) -> list[URLPattern]:
        """Like Django's, with the addresses that list and page poll, and that of buttons."""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        views: dict[str, tuple[str, Any]] = {
            "live": ("live/", self.live_list_view),
            "timeline": ("<path:object_id>/timeline/", self.timeline_view),
            "action": ("<path:object_id>/action/", self.action_view),
        }
        own = [
            path(address, self.admin_site.admin_view(view), name=f"{prefix}_{name}")
            for name, (address, view) in views.items()
        ]
        return [*own, *super().get_urls()]

    def live_list_view(self, request: HttpRequest) -> HttpResponse:
        """Return the current numbers and rows of the list as JSON, to users who may view it."""
        return list_response(self, request)

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the current state of the task as JSON, to users who may view it."""
        from .task_page import live

        return live.task_response(self, request, unquote(object_id))

    def action_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Run an action of the list on one task, from its page."""
        from .actions.single import run_on_task

        reject_forbidden_action(self, request)
        with task_context(actor=request.user):
            return run_on_task(self, request, unquote(object_id))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Like Django's, which does not ask for each row that is changed in the list."""
        if change and decides_by_row(self, "has_change_permission"):
            stored = type(obj)._base_manager.using(obj._state.db).get(pk=obj.pk)
            if not self.has_change_permission(request, stored):
                raise PermissionDenied
        super().save_model(request, obj, form, change)

    def get_task_parts(self, request: HttpRequest, task: SimpleTask) -> Collection[str]:
        """The parts of the page of ``task``, which are ``task_parts``; error and result are in one.

        A part that is left out is not sent to the browser, either.
        """
        return self.task_parts

    def may_search_errors(self, request: HttpRequest) -> bool:
        """Whether the list can be filtered by a text in the errors, which tells what they say.

        Without ``outcome`` in ``task_parts`` it cannot, nor if ``get_task_parts`` decides for each
        task. Override it for users from whom no error is hidden.
        """
        get_parts = getattr(self.get_task_parts, "__func__", None)
        is_decided = get_parts is not SimpleTaskAdmin.get_task_parts
        return not is_decided and "outcome" in self.task_parts

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Like Django's, but errors and results are searched only by users who may see them all."""
        if is_of_outcome(lookup) and not self.may_search_errors(request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_fields(self, request: HttpRequest) -> Any:
        """Like Django's, without errors and results for users who may not search them."""
        names = super().get_search_fields(request)
        if self.may_search_errors(request):
            return names
        return [name for name in names if not is_of_outcome(name)]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Like Django's, with what our template shows of an existing task."""
        from .task_page.page import TaskPage

        task = context.get("original")
        if isinstance(task, SimpleTask):
            context["task_page"] = TaskPage(self, request, task)
            if task.status in (Status.RUNNING, *FINAL):
                # A form of columns that hardly count any more is not where tasks are added.
                context.setdefault("show_save_and_add_another", False)
        response: Any = super().render_change_form(request, context, *args, **kwargs)
        if self.change_form_template is None:
            response.template_name = self._find_templates("change_form.html")
        return response

    def _find_templates(self, name: str) -> list[str]:
        """The templates to try: those of the project first, as in Django; they can extend ours."""
        folders = (f"{self.opts.app_label}/{self.opts.model_name}", self.opts.app_label)
        return [f"admin/{folder}/{name}" for folder in (*folders, "django_simpletask3")]

    def render_delete_form(self, request: HttpRequest, context: dict[str, Any]) -> Any:
        """Like Django's, with a warning if the task is running."""
        context["is_running"] = context["object"].status == Status.RUNNING
        response: Any = super().render_delete_form(request, context)
        if self.delete_confirmation_template is None:
            response.template_name = self._find_templates("delete_confirmation.html")
        return response

    # The list

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[SimpleTask], *args: Any, **kwargs: Any
    ) -> Any:
        """Like Django's, but "select all" selects at most ``changelist.MAX_LISTED`` tasks.

        After a page of confirmation these are the tasks that it has counted, and no others.
        """
        keys = posted_keys(request)
        if keys is not None:
            queryset = queryset.filter(pk__in=keys)
        elif request.POST.get("select_across", "0") != "0":
            pks = list(queryset.values_list("pk", flat=True)[: changelist.MAX_LISTED + 1])
            if len(pks) > changelist.MAX_LISTED:
                queryset = queryset.filter(pk__in=pks[:-1])
        is_deletion = "delete_selected" in request.POST.getlist("action")
        # Django writes its log entries before it deletes. Our actions use their own transactions.
        log_transaction = transaction.atomic(using=router.db_for_write(LogEntry))
        try:
            with log_transaction if is_deletion else nullcontext():
                response = super().response_action(request, queryset, *args, **kwargs)
        except TaskHeld as error:
            return self._redirect_with_error(request, error)
        if is_deletion and isinstance(response, TemplateResponse):
            delete_protection.add_warning(response)
            if self.delete_selected_confirmation_template is None:
                template = "delete_selected_confirmation.html"
                response.template_name = self._find_templates(template)
        return response

    def get_action_choices(
        self, request: HttpRequest, default_choices: Any = None, action_location: Any = None
    ) -> Any:
        """Like Django's, with the actions of this package in groups."""
        # Django before 6.1 knows no location.
        given = {"default_choices": default_choices, "action_location": action_location}
        given = {name: value for name, value in given.items() if value is not None}
        return group_choices(super().get_action_choices(request, **given))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return TaskChangeList

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """The listed columns, without those of this package that have no index."""
        return [name for name in super().get_sortable_by(request) if name not in _UNSORTABLE]

    def get_ordering(self, request: HttpRequest) -> Any:
        """Newest first, unless the admin or the model defines an ordering.

        Empty if keys are not sequential: TaskChangeList, which knows its length, decides.
        """
        ordering = super().get_ordering(request) or self.opts.ordering
        is_sequential = isinstance(self.opts.pk, models.AutoField | models.ForeignKey)
        return ordering or (("-pk",) if is_sequential else ())
