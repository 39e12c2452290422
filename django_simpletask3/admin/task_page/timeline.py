"""The timeline of a task: its attempts to scale, and its events below."""

from __future__ import annotations

from functools import cached_property

from ..html import times
from .events.attempts import read_attempts
from .events.reading import EventPage
from .events.sections import Section, build_sections
from .facts import TaskFacts
from .lanes import Picture, draw


class Timeline:
    """What the templates of lanes and events show of ``facts``.

    Results and errors are left out of the events unless it ``shows_outcome``.
    """

    def __init__(self, facts: TaskFacts, *, shows_outcome: bool = True) -> None:
        self.facts, self.shows_outcome = facts, shows_outcome

    @property
    def events(self) -> EventPage:
        return self.facts.events

    @cached_property
    def picture(self) -> Picture | None:
        """The attempts to scale; those of an unfinished task last until now."""
        return draw(self.facts.attempts, is_open=self.facts.is_open)

    @cached_property
    def sections(self) -> list[Section]:
        """The events that are listed, by attempt."""
        listed, task = self.events.listed, self.facts.task
        attempts = self.facts.attempts
        if self.facts.selection.before is not None:
            attempts = [*read_attempts(listed, task, None), *attempts]
        today = times.local_time(self.facts.now).date()
        return build_sections(
            listed, attempts, self.events.previous, today, shows_outcome=self.shows_outcome
        )
