"""The columns of the list of tasks, and the read-only fields of a task's form."""

from __future__ import annotations

from datetime import datetime

from django.contrib import admin
from django.db import models
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..db import clock
from ..ledger.task_row import write_database
from ..models.explanation.causes import explain_row
from ..models.task import SimpleTask
from ..states import Status
from . import related_links
from .html import pills, times, values, words


class TaskColumnsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What SimpleTaskAdmin shows of a task, each by a method that ``list_display`` can name."""

    @admin.display(description=_("task"), ordering="pk")
    def task_label(self, task: SimpleTask) -> SafeString:
        """``str(task)`` if the model defines ``__str__``, else the key, as for an empty text."""
        model: type[models.Model] = type(task)
        has_default_str = model.__str__ is SimpleTask.__str__
        name = "" if has_default_str else str(task)
        text = values.escape_invisible(name if name.strip() else str(task.pk))
        return format_html('<span title="{}">{}</span>', text, text)

    @admin.display(description=_("status"), empty_value="")
    def status_label(self, task: SimpleTask) -> SafeString:
        """The state in the list: a task that waits for a time to come is scheduled."""
        return pills.pill(pills.state_of_task(task), task.status)

    @admin.display(description=_("what is going on"), empty_value="")
    def activity_label(self, task: SimpleTask) -> SafeString | str:
        """Progress, until when or for what it waits, the error, or the result, in one line."""
        activity: SafeString | str = vars(task).get("_admin_activity", "")
        return activity

    @admin.display(description=_("attempt"), empty_value="")
    def attempt_label(self, task: SimpleTask) -> str:
        return str(task.attempt or "")

    @admin.display(description=_("waited"), empty_value="")
    def waited_label(self, task: SimpleTask) -> str:
        """How long the task has waited for its first run since it was due."""
        is_due = pills.state_of_task(task) is not pills.State.SCHEDULED
        return times.waiting_duration(task) or "" if is_due else ""

    @admin.display(description=_("ran"), empty_value="")
    def ran_label(self, task: SimpleTask) -> str:
        """The duration of the current or last run."""
        return times.run_duration(task) or ""

    @admin.display(description=_("worker"), empty_value="")
    def worker_label(self, task: SimpleTask) -> SafeString | str:
        """The node of the worker of the current or last run."""
        node = words.worker_node(task.worker)
        return format_html('<span title="{}">{}</span>', values.escape_invisible(task.worker), node)

    @admin.display(description=_("enqueued"), empty_value="")
    def enqueued_label(self, task: SimpleTask) -> SafeString:
        return times.time_or_day(task.add_time, clock.now(write_database(task)))

    @admin.display(description=_("status"), ordering="status")
    def status_badge(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task._state.adding else pills.status_pill(task.status)

    @admin.display(description=_("explanation"))
    def explanation_view(self, task: SimpleTask) -> str:
        """Why the task does not run now, as ``task.explain()`` says it."""
        return self._empty_value if task._state.adding else explain_row(task).translate()

    @admin.display(description=_("duration"))
    def run_duration(self, task: SimpleTask) -> str:
        """The duration of the current or last run."""
        return times.run_duration(task) or self._empty_value

    @admin.display(description=_("waiting time"))
    def waiting_time(self, task: SimpleTask) -> str:
        """How long the task has waited for its first run since it was due."""
        return times.waiting_duration(task) or self._empty_value

    @admin.display(description=_("add time"))
    def added_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.add_time)

    @admin.display(description=_("start time"))
    def started_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.start_time)

    @admin.display(description=_("done time"))
    def done_at(self, task: SimpleTask) -> SafeString | str:
        return self._format_instant(task, task.done_time)

    @admin.display(description=_("held until"))
    def held_until(self, task: SimpleTask) -> SafeString | str:
        """When the lease of a running task ends; empty, and hidden, in any other status."""
        return self._check_time(task, Status.RUNNING)

    @admin.display(description=_("checked again at"))
    def checked_again_at(self, task: SimpleTask) -> SafeString | str:
        """When recovery next examines a waiting or blocked task; else empty, and hidden.

        Recovery examines a blocked task only if it can expire.
        """
        return self._check_time(task, Status.PENDING, Status.BLOCKED)

    @admin.display(description=_("worker"))
    def worker_link(self, task: SimpleTask) -> SafeString | str:
        return related_links.worker(self.admin_site, task) or self._empty_value

    @admin.display(description=_("queue"))
    def queue_link(self, task: SimpleTask) -> SafeString | str:
        return related_links.queue(self.admin_site, task)

    @admin.display(description=_("parent"))
    def parent_link(self, task: SimpleTask) -> SafeString | str:
        """The task whose task function enqueued this one."""
        return related_links.parent(task) or self._empty_value

    @admin.display(description=_("children"))
    def children_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that this task's function enqueued."""
        return related_links.read_children(task).as_list() or self._empty_value

    @admin.display(description=_("waits for"))
    def waits_for_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that this one waits, or has waited, for."""
        return related_links.read_prerequisites(task).as_list() or self._empty_value

    @admin.display(description=_("dependent tasks"))
    def dependents_links(self, task: SimpleTask) -> SafeString | str:
        """The tasks that wait, or have waited, for this one."""
        return related_links.read_dependents_of(task).as_list() or self._empty_value

    @admin.display(description=_("result"))
    def result_view(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task.result_data is None else values.result(task.result_data)

    @admin.display(description=_("error"))
    def error_view(self, task: SimpleTask) -> SafeString | str:
        return self._empty_value if task.error_data is None else values.error(task.error_data)

    @property
    def _empty_value(self) -> str:
        return str(self.get_empty_value_display())

    def _check_time(self, task: SimpleTask, *statuses: Status) -> SafeString | str:
        if task.status not in statuses or task.check_at is None or task._state.adding:
            return ""
        return times.format_instant(task.check_at)

    def _format_instant(self, task: SimpleTask, instant: datetime | None) -> SafeString | str:
        if instant is None or task._state.adding:
            return self._empty_value
        return times.format_instant(instant)
