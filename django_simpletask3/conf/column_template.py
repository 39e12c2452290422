"""A text that is filled in with columns of a task, such as ``"{customer_id} {month:%Y-%m}"``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any


@dataclass(frozen=True, slots=True)
class ColumnTemplate:
    """A template of columns only, which is filled in as by ``str.format()``.

    Raises ValueError, which says what to write, for anything else.
    """

    text: str

    def __post_init__(self) -> None:
        text: object = self.text
        if not isinstance(text, str):
            raise ValueError(f"The template is {text!r}; expected a text as '{{customer_id}}'.")
        _names_in(text)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, each once."""
        return _names_in(self.text)

    def fill_in(self, values: Mapping[str, Any]) -> str | None:
        """The text for a task with these ``values`` of columns; None if one of them is None."""
        if any(values[name] is None for name in self.names):
            return None
        return self.text.format_map(values)


@lru_cache(maxsize=1000)
def _names_in(text: str) -> tuple[str, ...]:
    """The names in ``text``, each once. Raises ValueError if there is more in its braces."""
    try:
        fields = [field for field in Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise ValueError(
            f"The template {text!r} cannot be read ({error}); expected a text as '{{customer_id}}'."
        ) from None
    for _, name, format_spec, _ in fields:
        if not str(name).isidentifier() or "{" in (format_spec or ""):
            raise ValueError(f"The template {text!r} may name columns only, as in {{customer_id}}.")
    return tuple(dict.fromkeys(str(name) for _, name, _, _ in fields))
