"""What the first events of the plain tasks of a model are: planned once, for many tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.dispatch import Signal

from ... import context
from ...conf.options import generation
from ...context import TaskContext
from ...db import inserts
from ...db.fast_instances import may_skip_init
from ...ledger.columns import is_as_made
from ...ledger.digests import FirstDigests
from ...ledger.event import content_of, event_model_of
from ...ledger.subscribers import registered_subscribers
from ...ledger.task_row import has_expiry
from .. import participants
from .first_event import EMPTY_PROJECTION, plan_first_events

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow

#: An instance with one of these is more than a new row: ``general.enqueue`` knows what to do.
_SPECIAL = frozenset({"_awaited", "_is_enqueued_blocked", "_known_key", "_replaced"})


class Plan(NamedTuple):
    """What the first event makes of a new row, what it holds, and the statements for both."""

    columns: Mapping[str, Any]
    event: Mapping[str, Any]
    rows: inserts.PlainRows


class _Template(NamedTuple):
    """The plan of tasks that one actor enqueues for one reason, but for what the time decides."""

    generation: int
    known_context: TaskContext
    plan: Plan
    digests: FirstDigests
    #: From the time of the event to that of the first check.
    check_after: timedelta

    def is_for(self, current: TaskContext) -> bool:
        """Whether it is the one for tasks that are enqueued in the context ``current``."""
        return (
            self.known_context.actor is current.actor
            and self.known_context.reason is current.reason
            and self.generation == generation()
        )

    def plan_at(self, now: datetime) -> Plan:
        """The plan of a task that is enqueued ``now``."""
        digest = self.digests.at(now)
        times = {"mod_time": now, "check_at": now + self.check_after}
        columns = {**self.plan.columns, "digest": digest, **times}
        event = {**self.plan.event, "digest": digest, "event_time": now}
        return Plan(columns, event, self.plan.rows)


class PlainModel:
    """A model whose new tasks may be plain, in one database."""

    def __init__(self, model: type[TaskRow], using: str) -> None:
        fields = [field for field in model._meta.concrete_fields if not field.primary_key]
        self.attributes = frozenset(field.attname for field in fields)
        self.has_relations = any(field.is_relation for field in fields)
        self._model, self._using = model, using
        self._has_expiry = has_expiry(model)
        self._events = event_model_of(model)
        self._template: _Template | None = None

    def is_observed(self, signals: Iterable[Signal]) -> bool:
        """Whether other code is given first events of its tasks, or one of ``signals``."""
        for signal in signals:
            if signal.receivers and signal.has_listeners(self._model):
                return True
        return (
            bool(registered_subscribers())
            or participants.follow_enqueuing(self._model)
            or not may_skip_init(self._events)
        )

    def is_new(self, task: TaskRow) -> bool:
        """Whether ``task`` is a new row, without a key, and nothing more."""
        attributes = vars(task)
        return (
            task._state.adding
            and attributes.keys() >= self.attributes
            and task.pk is None
            and _SPECIAL.isdisjoint(attributes)
            and is_as_made(task)
        )

    def is_alike(self, task: TaskRow) -> bool:
        """Whether the first event of the new ``task`` is that of others that are alike."""
        return not self._has_expiry and task.run_after is None and self.is_new(task)

    def plan(self, task: TaskRow, now: datetime) -> Plan:
        """What the first event of ``task`` is, at ``now``; raises what checks of it raise."""
        current = context.current()
        is_template = not (
            current.data
            or current.parent
            or task.run_after is not None
            or self._has_expiry
            or type(current.actor) is not str  # the text of a lazy one depends on the language
            or type(current.reason) is not str
        )
        template = self._template  # other threads put their own there
        if is_template and template is not None and template.is_for(current):
            participants.check_new(task)
            return template.plan_at(now)
        started = generation()
        change = plan_first_events(task, EMPTY_PROJECTION, now, self._using)
        event = vars(change.event)
        rows = inserts.plain_rows(self._model, self._using, change.columns, event)
        plan = Plan(change.columns, event, rows)
        if is_template:
            digests = FirstDigests(content_of(change.event))
            check_after = change.columns["check_at"] - now
            self._template = _Template(started, current, plan, digests, check_after)
        return plan
