"""Which tasks are the same: the key of a task, how long it has it, and what a second one does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any, Literal, get_args

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
    other task, or "replace": they cancel it, if it has not started. Raises ValueError for anything
    else.
    """

    template: str
    until: Until = "started"
    on_conflict: OnConflict = "refuse"

    def __post_init__(self) -> None:
        template: object = self.template
        if not isinstance(template, str) or not template:
            raise ValueError(f"The template is {template!r}; expected a text as '{{customer_id}}'.")
        _names_in(self.template)
        for name, values in (("until", Until), ("on_conflict", OnConflict)):
            if getattr(self, name) not in get_args(values):
                expected = ", ".join(map(repr, get_args(values)))
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {expected}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns in the template."""
        return _names_in(self.template)

    def key_of(self, values: Mapping[str, Any]) -> str | None:
        """The key of a task with these ``values`` of columns; None if one of them is None."""
        if any(values[name] is None for name in self.names):
            return None
        return self.template.format_map(values)


@lru_cache(maxsize=1000)
def _names_in(template: str) -> tuple[str, ...]:
    """The names in ``template``, each once. Raises ValueError if there is more in its braces."""
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise ValueError(
            f"The template {template!r} cannot be read ({error}); expected a text as "
            "'{customer_id}'."
        ) from None
    for _, name, format_spec, _ in fields:
        if not str(name).isidentifier() or "{" in (format_spec or ""):
            raise ValueError(
                f"The template {template!r} may name columns only, as in {{customer_id}}."
            )
    return tuple(dict.fromkeys(str(name) for _, name, _, _ in fields))
