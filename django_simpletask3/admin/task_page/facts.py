"""What a task's page reads of the task: its events, and what they say."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from django.contrib.admin import AdminSite

from ...db import clock
from ...db.loading import models_by_label
from ...ledger.event import TaskEvent
from ...ledger.task_row import table_model, write_database
from ...models.task import SimpleTask
from ...states import UNFINISHED, EventKind, Status
from ...transitions.legal_holds import pks_on_hold
from ..html.pills import State, state_of
from ..task_details import data_prefix
from ..task_details.progress import Progress, latest_progress
from .events.attempts import Attempt, read_attempts
from .events.life import Life, last_of, read_life
from .events.reading import EventPage, EventSelection, first_event, is_enqueuing


class TaskFacts:
    """A task at one moment. Each fact is read when it is first asked for, and once."""

    def __init__(self, site: AdminSite, task: SimpleTask, selection: EventSelection) -> None:
        self.site, self.task, self.selection = site, task, selection

    @cached_property
    def now(self) -> datetime:
        """Now, by the clock of the task's database."""
        return clock.now(write_database(self.task))

    @property
    def state(self) -> State | None:
        return state_of(self.task.status, self.task.run_after, self.now)

    @property
    def is_open(self) -> bool:
        """Whether the task will go on without a reset."""
        return self.task.status in UNFINISHED

    @cached_property
    def events(self) -> EventPage:
        return EventPage(self.task, self.selection)

    @cached_property
    def attempts(self) -> list[Attempt]:
        attempts = read_attempts(self.events.events, self.task, self.now)
        if attempts and self.state is State.SCHEDULED:
            attempts[-1].open_state = State.SCHEDULED
        return attempts

    @cached_property
    def life(self) -> Life:
        return read_life(self.events.events, self.attempts)

    @cached_property
    def progress(self) -> Progress | None:
        """The progress of the running attempt, if its task function noted any."""
        if self.task.status != Status.RUNNING:
            return None
        return latest_progress(self.events.events, self.task.attempt)

    @cached_property
    def enqueued(self) -> TaskEvent | None:
        """The event with which the task was enqueued, if it is easy to find."""
        if self.events.is_complete:
            events = reversed(self.events.events)
            return next((event for event in events if is_enqueuing(event, self.task)), None)
        return first_event(self.task)

    @property
    def end(self) -> TaskEvent | None:
        """The event that canceled the task, if it was read."""
        return last_of(self.events.events, EventKind.CANCEL, EventKind.EXPIRE)

    @cached_property
    def is_held(self) -> bool:
        """Whether there is a legal hold on the task."""
        if self.events.is_complete:
            last = last_of(self.events.events, EventKind.HOLD, EventKind.LIFT)
            return last is not None and last.kind == EventKind.HOLD
        root, using = table_model(type(self.task)), write_database(self.task)
        return bool(pks_on_hold(root, using, [self.task.pk]))

    @cached_property
    def saved_model(self) -> type[SimpleTask] | None:
        """The model that the task was saved as, if its first event is known."""
        root = table_model(type(self.task))
        models: dict[str, type[SimpleTask]] = models_by_label(root)
        if root._model_columns:
            return type(self.task)
        if len(models) == 1:
            return models[root._meta.label]
        if self.enqueued is None:
            return None
        label = data_prefix.parse_prefix(self.enqueued).get("model")
        return models.get(str(label), models[root._meta.label])
