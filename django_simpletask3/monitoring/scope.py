"""Which task tables, rows and databases a report covers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import Error, connections
from django.db.models import QuerySet

from ..db.errors import MissingSchema, error_text
from ..ledger.event import events_of
from ..logs import get_logger
from ..models.queryset import TaskQuerySet, rows_of
from ..models.registry import models_by_database, unreachable_databases
from ..models.task import SimpleTask

R = TypeVar("R")
Q = TypeVar("Q", bound=QuerySet[Any])

_logger = get_logger(__name__)

#: Of the rows with these keys (as text) in a database, the keys of those that count.
RowCheck = Callable[[str, Collection[str]], set[str]]

#: Parameters of queries that look the same only if they are the same.
_PLAIN = (str, int, float, bytes, date, timedelta, UUID, type(None))


@dataclass(frozen=True, slots=True)
class QueryScope:
    """The tables of ``models`` (None: of all task models), and which of their rows count."""

    models: Iterable[type[SimpleTask]] | None = None
    #: For tables of which not all rows count: a queryset of those that do.
    visible_rows: Mapping[type[SimpleTask], Any] = field(default_factory=dict)
    #: For tables of which a function decides row by row: that function.
    row_checks: Mapping[type[SimpleTask], RowCheck] = field(default_factory=dict)
    #: The errors of the databases that did not answer; if None, such an error is raised.
    unreachable: dict[str, str] | None = None

    def query_databases(self, query: Callable[[str, list[type[SimpleTask]]], R]) -> Iterator[R]:
        """Yield ``query(alias, tables)`` for each database.

        A database that does not answer is added to ``unreachable`` and not queried again.
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
        """Add the database ``using`` to ``unreachable``. Raises ``error`` if that is None."""
        if self.unreachable is None:
            raise error
        text = error_text(error)
        if isinstance(text, MissingSchema):
            _logger.warning("migrations_unapplied database=%s error=%s", using, error)
        else:
            _logger.warning("database_unreachable database=%s error=%s", using, error)
        self.unreachable[using] = text
        if not connections[using].in_atomic_block:
            connections[using].close()

    def mark_unanswered(self) -> None:
        """Add to ``unreachable`` the databases that could not list their tables."""
        if self.unreachable is not None:
            for using, error in unreachable_databases(self.models).items():
                self.unreachable.setdefault(using, error)

    def rows(self, root: type[SimpleTask], using: str) -> TaskQuerySet[Any]:
        """The tasks of ``root`` in ``using`` that count."""
        return self._restrict(rows_of(root, using), root, using, "pk")

    def events(self, root: type[SimpleTask], using: str) -> QuerySet[Any]:
        """The events of the tasks of ``root`` in ``using`` that count, in no order."""
        return self._restrict(events_of(root, using).order_by(), root, using, "task")

    def digest(self, root: type[SimpleTask], using: str) -> str | None:
        """A text that is the same for scopes in which the same rows of ``root`` count.

        Empty if all rows count; None if that is not known.
        """
        if root not in self.visible_rows:
            return ""
        query = self.visible_rows[root].using(using).order_by().values("pk").query
        try:
            sql, values = query.get_compiler(using).as_sql()
        except EmptyResultSet:
            return "none"
        if not all(isinstance(value, _PLAIN) for value in values):
            return None
        return sha256(repr((sql, [*values])).encode()).hexdigest()[:32]

    def _restrict(self, rows: Q, root: type[SimpleTask], using: str, key: str) -> Q:
        if root not in self.visible_rows:
            return rows
        tasks = self.visible_rows[root].using(using).order_by().values("pk")
        return rows.filter(**{f"{key}__in": tasks})

    def visible_keys(
        self, root: type[SimpleTask], using: str, keys: Collection[str]
    ) -> Collection[str]:
        """Which of ``keys`` are of rows that count, by the check of their table, if it has one."""
        check = self.row_checks.get(root)
        return keys if check is None or not keys else check(using, keys)
