"""Which tasks are the same: the key of a task, how long it has it, and what a second one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .conf.column_template import ColumnTemplate

#: Until when a task has its key: its first start, its end, or the deletion of its row.
Until = Literal["started", "finished", "deleted"]
#: What happens to a new task if another one has its key.
OnConflict = Literal["refuse", "join", "replace"]


@dataclass(frozen=True, slots=True)
class Unique:
    """Only one task at a time has the key that ``template`` makes of its columns.

    ``"{customer_id} {month:%Y-%m}"`` is filled in as by ``str.format()``, with columns of the task
    only; a task of which one of them is None has no key. ``until`` is "started": a task has its
    key from when it is enqueued until its first start, "finished": until it is final, or "deleted":
    until its row is deleted. If another task has the key, a new one is refused with DuplicateTask;
    for ``enqueue()`` and ``bulk_enqueue()``, ``on_conflict`` may also be "join": they return the
    other task, or "replace": they cancel it, if it has not started; not with "deleted", because a
    canceled task keeps its key then. Raises ValueError for anything else.
    """

    template: str
    until: Until = "started"
    on_conflict: OnConflict = "refuse"

    def __post_init__(self) -> None:
        if not ColumnTemplate(self.template).text:
            raise ValueError("The template is ''; expected a text as '{customer_id}'.")
        for name, values in (("until", Until), ("on_conflict", OnConflict)):
            if getattr(self, name) not in get_args(values):
                expected = ", ".join(map(repr, get_args(values)))
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {expected}.")
        if self.until == "deleted" and self.on_conflict == "replace":
            raise ValueError(
                "until is 'deleted', so a replaced task would keep its key; expected 'started' or "
                "'finished' with on_conflict='replace'."
            )

    @property
    def columns(self) -> ColumnTemplate:
        """The template, parsed."""
        return ColumnTemplate(self.template)
