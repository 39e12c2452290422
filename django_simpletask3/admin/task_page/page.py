"""The page of a task: what its templates show."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin.utils import flatten_fieldsets, label_for_field, quote
from django.forms.utils import pretty_name
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ...models.task import SimpleTask
from ...states import FINAL, Status
from ..html import times, values
from ..html.pills import STATE_WORDS, State, pill
from ..task_details.progress import Progress
from ..task_list import filters
from . import polling
from .events.reading import EventSelection
from .facts import TaskFacts
from .head.buttons import Buttons, read_buttons
from .head.links import Link, RelatedTables
from .head.sentence import sentence
from .head.stats import Stat, stats
from .timeline import Timeline

#: The parts of the page, each with its template; live.js replaces them by name.
PARTS = {
    "head": "admin/django_simpletask3/task/head.html",
    "timeline": "admin/django_simpletask3/task/timeline.html",
    "outcome": "admin/django_simpletask3/task/outcome.html",
    "events": "admin/django_simpletask3/task/events.html",
}
#: Own columns that the summary of the folded form names.
_MAX_FIELDS = 5
#: From this share on it is guessed when a task will be done.
_MIN_SHARE = 0.02


class TaskPage:
    """The page of ``task`` for the user of ``request``; ``parts`` are those that it shows."""

    def __init__(self, modeladmin: Any, request: HttpRequest, task: SimpleTask) -> None:
        self.modeladmin, self.request, self.task = modeladmin, request, task
        self.shown = {"head", *modeladmin.get_task_parts(request, task)}
        self.shows_outcome = "outcome" in self.shown
        selection = EventSelection.of(request.GET)
        self.facts = TaskFacts(modeladmin.admin_site, task, selection)
        self.timeline = Timeline(self.facts, shows_outcome=self.shows_outcome)
        self.related = RelatedTables(self.facts)

    def render_parts(self, without: str = "") -> dict[str, str]:
        """The parts as HTML, by name, except the one that is named."""
        return {
            name: render_to_string(template, {"page": self}, self.request)
            for name, template in PARTS.items()
            if name in self.shown and name != without
        }

    # Head

    @property
    def kind(self) -> str:
        """Model and key; the app alone if the title has them."""
        meta = self.task._meta
        if self._has_default_str:
            return str(apps.get_app_config(meta.app_label).verbose_name)
        return f"{capfirst(meta.verbose_name)} {values.escape_invisible(str(self.task.pk))}"

    @property
    def title(self) -> str:
        name = str(self.task)
        if not name.strip():
            return values.escape_invisible(str(self.task.pk))
        name = values.escape_invisible(name)
        return str(capfirst(name)) if self._has_default_str else name

    @property
    def state(self) -> str:
        """The state as a CSS class."""
        return self.facts.state or "unknown"

    @property
    def state_word(self) -> str:
        """The state in words, as it is announced."""
        state = self.facts.state
        return str(STATE_WORDS[state] if state else self.task.status)

    @property
    def pill(self) -> SafeString:
        return pill(self.facts.state, self.task.status, is_large=True)

    @cached_property
    def sentence(self) -> SafeString:
        return sentence(
            self.task,
            self.facts.now,
            progress=self.progress,
            end=self.facts.end if self.task.status == Status.CANCELED else None,
            shows_outcome=self.shows_outcome,
        )

    @property
    def progress(self) -> Progress | None:
        return self.facts.progress

    @property
    def progress_words(self) -> str:
        """How much is done, and when the task will be done."""
        amount = self.progress.amount if self.progress is not None else ""
        return ", ".join(filter(None, (amount, self.time_left)))

    @property
    def time_left(self) -> str:
        """When the task will be done if it goes on like that; empty if that is not known."""
        share = None if self.progress is None else self.progress.share
        if share is None or not _MIN_SHARE <= share < 1 or self.task.start_time is None:
            return ""
        rest = (self.facts.now - self.task.start_time) * ((1 - share) / share)
        return _("about %(duration)s left") % {"duration": times.rounded_duration(rest)}

    @cached_property
    def stats(self) -> list[Stat]:
        return stats(self.facts)

    @cached_property
    def links(self) -> list[Link]:
        link = Link(_("Same error"), self._same_error())
        return [*self.related.links(), *([link] if link.html else [])]

    def _same_error(self) -> SafeString | str:
        """A link to the failed tasks with an error of the same type, if the user may search it."""
        if self.task.status != Status.FAILED or not self.shows_outcome:
            return ""
        error: Any = self.task.error_data
        name = str(error.get("type", "")) if isinstance(error, dict) else ""
        # What is not printable may be no text of an address, or none that the list searches for.
        if not (name and name.isprintable() and self.modeladmin.may_search_errors(self.request)):
            return ""
        if not (list_url := self._reverse("changelist")):
            return ""
        query = urlencode({filters.STATE: State.FAILED.value, filters.ERROR: name})
        text = values.escape_invisible(name.rpartition(".")[2])
        return format_html('<a href="{}?{}">{}</a>', list_url, query, text)

    @cached_property
    def buttons(self) -> Buttons:
        return read_buttons(self.modeladmin, self.request, self.facts, self.title)

    @property
    def action_url(self) -> str:
        """The address that runs an action on this task."""
        return self._url("action")

    @property
    def object_tools(self) -> SafeString:
        """Django's own links, such as the history, as items of a list."""
        meta = self.modeladmin.opts
        url = self.modeladmin.get_view_on_site_url(self.task)
        context = {
            "opts": meta,
            "original": self.task,
            "has_absolute_url": url is not None,
            "absolute_url": url,
        }
        name = "change_form_object_tools.html"
        folders = (f"{meta.app_label}/{meta.model_name}/", f"{meta.app_label}/", "")
        return render_to_string([f"admin/{folder}{name}" for folder in folders], context)

    # Live

    @property
    def is_live(self) -> bool:
        """Whether the page polls: until the task is final."""
        return self.facts.is_open and bool(self.live_url)

    @property
    def live_url(self) -> str:
        """The address that the page polls; empty if there is none."""
        url = self._url("timeline")
        query = self.facts.selection.query()
        return url and f"{url}{query if len(query) > 1 else ''}"

    @property
    def interval(self) -> int:
        """In how many seconds the page polls."""
        return polling.interval(self.facts.state, self.task.run_after, self.facts.now)

    @property
    def version(self) -> str:
        """What a poll sends, to get nothing that the page has."""
        return polling.version(self.task.sequence, self.facts.state, self.facts.now)

    @property
    def time(self) -> str:
        return times.clock_time(self.facts.now)

    # Outcome

    @property
    def error(self) -> SafeString | str:
        return values.error(self.task.error_data) if self.task.error_data is not None else ""

    @property
    def error_source(self) -> str:
        """Attempt and time of the error."""
        if self.task.done_time is None:
            return ""
        return _("attempt %(number)d, %(time)s") % {
            "number": self.task.attempt,
            "time": times.format_moment(self.task.done_time, self.facts.now),
        }

    @property
    def result(self) -> SafeString | str:
        return values.result(self.task.result_data) if self.task.result_data is not None else ""

    # Form

    @property
    def is_folded(self) -> bool:
        """Whether the form is folded: its columns count no more."""
        return self.task.status in FINAL

    @property
    def form_fields(self) -> str:
        """The first fields of the form, by name."""
        fieldsets = self.modeladmin.get_fieldsets(self.request, self.task)
        names = flatten_fieldsets(fieldsets)
        labels = map(self._label, names[:_MAX_FIELDS])
        return ", ".join([*labels, *(["…"] if len(names) > _MAX_FIELDS else [])])

    @property
    def warns_of_deletion(self) -> bool:
        """Whether the user may delete the task while it runs."""
        if self.task.status != Status.RUNNING:
            return False
        return bool(self.modeladmin.has_delete_permission(self.request, self.task))

    def _label(self, name: str) -> str:
        try:
            return str(label_for_field(name, type(self.task), self.modeladmin))
        except AttributeError:  # a field of the form only
            return pretty_name(name).lower()

    @property
    def _has_default_str(self) -> bool:
        model: Any = type(self.task)
        return model.__str__ is SimpleTask.__str__

    def _url(self, page: str) -> str:
        return self._reverse(page, quote(self.task.pk))

    def _reverse(self, page: str, *arguments: str) -> str:
        meta = self.modeladmin.opts
        name = f"{self.modeladmin.admin_site.name}:{meta.app_label}_{meta.model_name}_{page}"
        try:
            return reverse(name, args=arguments)
        except NoReverseMatch:
            return ""
