"""Which tables are looked at, which of their rows, and which databases did not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import Error, connections

from ..models.registry import models_by_database, unreachable_databases
from ..models.task import SimpleTask

R = TypeVar("R")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryScope:
    """What somebody looks at: the tables of ``models``, all of them if that is None."""

    models: Iterable[type[SimpleTask]] | None = None
    #: The rows that count, as a queryset, of those tables of which not all rows do.
    visible_rows: Mapping[type[SimpleTask], Any] = field(default_factory=dict)
    #: The databases that did not answer, with their errors; if None, such an error is raised.
    unreachable: dict[str, str] | None = None

    @classmethod
    def of(cls, selection: QueryScope | Iterable[type[SimpleTask]] | None) -> QueryScope:
        """``chosen``, if it is a scope; all of the tables of the models ``chosen`` otherwise."""
        return selection if isinstance(selection, QueryScope) else cls(selection)

    def query_databases(self, query: Callable[[str, list[type[SimpleTask]]], R]) -> Iterator[R]:
        """The answers to ``question``, which is given each database with its tables.

        One that does not answer is left out and noted in ``silent``; it is not asked again.
        """
        for using, roots in models_by_database(self.models).items():
            if self.unreachable is not None and using in self.unreachable:
                continue
            try:
                result = query(using, roots)
            except Error as error:
                self.mark_unreachable(using, error)
            else:
                yield result
        self.mark_unanswered()

    def mark_unreachable(self, using: str, error: Error) -> None:
        """The database ``using`` did not answer. Raises ``error`` if that is not to be noted."""
        if self.unreachable is None:
            raise error
        _logger.warning("database_silent database=%s error=%s", using, error)
        self.unreachable[using] = str(error) or type(error).__name__
        if not connections[using].in_atomic_block:
            connections[using].close()

    def mark_unanswered(self) -> None:
        """Note those as well that did not even say which tables they have."""
        if self.unreachable is not None:
            for using, error in unreachable_databases(self.models).items():
                self.unreachable.setdefault(using, error)

    def restrict(self, rows: Any, root: type[SimpleTask], using: str, key: str = "pk") -> Any:
        """Those of ``rows``, which name tasks of ``root`` by ``key``, that count."""
        if root not in self.visible_rows:
            return rows
        tasks = self.visible_rows[root].using(using).order_by().values("pk")
        return rows.filter(**{f"{key}__in": tasks})
