"""A query with blanks: made once, asked with many values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Value


class Blank(Value):
    """A value that is said later, by its name; what is compared with it is a column like ``field``.

    It stands in a queryset where the value would: ``rows.filter(kind=Blank("kind", KindField()))``.
    """

    def __init__(self, name: str, field: Any) -> None:
        super().__init__(name, output_field=field)

    def as_sql(self, _compiler: Any, _connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        # Not a value that looks unlike any other, but the blank itself: what a database makes of a
        # value, and what else is in the query, cannot hide it, nor be taken for it.
        return "%s", [self]


@dataclass(frozen=True, slots=True)
class Filled:
    """The queryset ``query`` with these ``values`` in its blanks; with none, it has no blanks.

    All that have the very same ``query`` share its SQL.
    """

    query: Any
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Any) -> Filled:
        """``query``, if it is filled; as a queryset without blanks otherwise."""
        return query if isinstance(query, Filled) else cls(query)

    def params(self, given: Iterable[Any], connection: Any) -> list[Any]:
        """The parameters ``given`` by Django, with the values as the database takes them.

        Raises ValueError unless every blank has a value, and every value one blank or several.
        """
        given = list(given)
        blanks = {param.value for param in given if isinstance(param, Blank)}
        if blanks != self.values.keys():
            raise ValueError(f"the blanks are {sorted(blanks)}, but filled are {[*self.values]}")
        return [self._param(param, connection) for param in given]

    def _param(self, param: Any, connection: Any) -> Any:
        if not isinstance(param, Blank):
            return param
        value = self.values[param.value]
        return param.output_field.get_db_prep_value(value, connection=connection)
