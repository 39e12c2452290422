"""The links in the head of a task's page, and the tasks that are related to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import related_links
from ...html.pills import state_label, state_of, status_pill
from ...related_links import RelatedTasks
from ...task_details import data_prefix
from ..facts import TaskFacts

#: So many tasks are named in the head; of more, the number links to the table below.
_MAX_NAMED = 2


@dataclass(frozen=True, slots=True)
class Link:
    """What is linked, with its label."""

    label: str
    html: SafeString | str


@dataclass(frozen=True, slots=True)
class RelatedRow:
    """A related task in the table."""

    link: SafeString | str
    pill: SafeString
    relation: str


class RelatedTables:
    """The tasks that are related to one; each relation is read when it is first asked for."""

    def __init__(self, facts: TaskFacts) -> None:
        self._facts = facts

    @cached_property
    def children(self) -> RelatedTasks:
        return related_links.read_children(self._facts.task)

    @cached_property
    def prerequisites(self) -> RelatedTasks:
        return related_links.read_prerequisites(self._facts.task)

    @cached_property
    def dependents(self) -> RelatedTasks:
        return related_links.read_dependents_of(self._facts.task)

    @property
    def rows(self) -> list[RelatedRow]:
        """The rows of the table: what this task waits for, its children, what waits for it."""
        groups = (
            (self.prerequisites, _("comes before this one")),
            (self.children, _("child")),
            (self.dependents, _("comes after this one")),
        )
        return [
            RelatedRow(link, status_pill(status), relation)
            for group, relation in groups
            for link, status in group.rows
        ]

    @property
    def has_more(self) -> bool:
        return any(group.has_more for group in (self.children, self.prerequisites, self.dependents))

    @property
    def problems(self) -> list[str]:
        return self.children.problems

    def links(self) -> list[Link]:
        """Everything that the head links to."""
        facts = self._facts
        found = [
            Link(_("Queue"), self._queue()),
            Link(_("Parent"), related_links.parent(facts.task)),
            Link(_("After"), self._named(self.prerequisites)),
            Link(_("Waiting for it"), self._named(self.dependents)),
            Link(_("Led to"), self._named(self.children)),
            Link(_("Schedule"), self._schedule()),
            Link(_("Legal hold"), _("on hold") if facts.is_held else ""),
        ]
        return [link for link in found if link.html]

    def _queue(self) -> SafeString | str:
        facts = self._facts
        if facts.saved_model is None:
            return related_links.queue(facts.site, facts.task)
        return related_links.queue_name(facts.site, facts.task, facts.saved_model)

    def _schedule(self) -> SafeString | str:
        event = self._facts.enqueued
        key = data_prefix.parse_prefix(event).get("schedule") if event is not None else None
        if not isinstance(key, str):
            return ""
        return related_links.schedule(self._facts.site, self._facts.task, key)

    def _named(self, group: RelatedTasks) -> SafeString | str:
        """The tasks by name if they are few, else their number."""
        if group.rows and len(group.rows) <= _MAX_NAMED and not group.has_more:
            parts = ((link, _state_icon(status)) for link, status in group.rows)
            return format_html_join(", ", "{} {}", parts)
        if not group.rows:
            return group.text
        count = len(group.rows)
        number = ngettext("%(count)d task", "%(count)d tasks", count) % {"count": count}
        if group.has_more:
            number = _("more than %(count)d tasks") % {"count": count}
        return format_html('<a href="#st3-related">{}</a>', group.text or number)


def _state_icon(status: Any) -> SafeString:
    state = state_of(status)
    return state_label(state) if state is not None else SafeString()
