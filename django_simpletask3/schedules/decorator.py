"""``@schedule``, which settings may import, too: this module needs no app to be ready."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from .definition import CatchUp, Definition, Fields, Overlap

T = TypeVar("T")

#: Of a task model: the schedules that were declared on that class.
ATTRIBUTE = "django_simpletask3_schedules"

#: What is no task model, and has schedules.
others: list[tuple[Any, Definition]] = []


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleDecorator:
    """What ``schedule()`` returns: declares its definition on what it decorates."""

    definition: Definition

    def __call__(self, declared_on: T) -> T:
        from ..ledger.task_row import TaskRow

        if isinstance(declared_on, type) and issubclass(declared_on, TaskRow):
            # Decorators are called from the bottom to the top: the first in the code comes first.
            own = vars(declared_on).get(ATTRIBUTE, ())
            declared_on.django_simpletask3_schedules = (self.definition, *own)
        else:
            others.append((declared_on, self.definition))
        return declared_on


def schedule(
    when: str | timedelta,
    *,
    timezone: str | None = None,
    fields: Fields | None = None,
    name: str = "",
    catch_up: str = CatchUp.LAST,
    overlap: str = Overlap.ALLOW,
    jitter: timedelta | float = 0.0,
    deadline: timedelta | float | None = None,
    version: int = 0,
) -> ScheduleDecorator:
    """Have a task of the decorated model enqueued at each tick.

    ``when`` is a cron expression of five fields, in ``timezone`` (by default ``TIME_ZONE``), or a
    ``timedelta``, counted from 1970-01-01 00:00 UTC. ``fields`` are the columns of the new task, of
    a function its keyword arguments, or a function of the tick that returns them. A second schedule
    of a model or function needs a ``name``.

    ``catch_up``: what happens to ticks at which no node ran. ``overlap="skip"``: no task is
    enqueued while that of an earlier tick has not ended. ``jitter``: the tasks start later, by the
    same part of this time at each tick. ``deadline``: how late a tick may be fired. ``version``: a
    node whose code has a lower one does not overwrite the schedule. ``manage.py check`` reports
    wrong values; nothing is raised here.
    """
    definition = Definition(
        when, timezone, fields or {}, name, catch_up, overlap, jitter, deadline, version
    )
    return ScheduleDecorator(definition)
