"""Which tables are looked at, which of their rows, and which databases did not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import Error, connections

from ..models.registry import tables, unanswered
from ..models.task import SimpleTask

R = TypeVar("R")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What somebody looks at: the tables of ``models``, all of them if that is None."""

    models: Iterable[type[SimpleTask]] | None = None
    #: The rows that count, as a queryset, of those tables of which not all rows do.
    within: Mapping[type[SimpleTask], Any] = field(default_factory=dict)
    #: The databases that did not answer, with their errors; if None, such an error is raised.
    silent: dict[str, str] | None = None

    @classmethod
    def of(cls, chosen: Scope | Iterable[type[SimpleTask]] | None) -> Scope:
        """``chosen``, if it is a scope; all of the tables of the models ``chosen`` otherwise."""
        return chosen if isinstance(chosen, Scope) else cls(chosen)

    def asked(self, question: Callable[[str, list[type[SimpleTask]]], R]) -> Iterator[R]:
        """The answers to ``question``, which is given each database with its tables.

        One that does not answer is left out and noted in ``silent``; it is not asked again.
        """
        for using, together in tables(self.models).items():
            if self.silent is not None and using in self.silent:
                continue
            try:
                answer = question(using, together)
            except Error as error:
                self.note(using, error)
            else:
                yield answer
        self.note_unanswered()

    def note(self, using: str, error: Error) -> None:
        """The database ``using`` did not answer. Raises ``error`` if that is not to be noted."""
        if self.silent is None:
            raise error
        _logger.warning("database_silent database=%s error=%s", using, error)
        self.silent[using] = str(error) or type(error).__name__
        if not connections[using].in_atomic_block:
            connections[using].close()

    def note_unanswered(self) -> None:
        """Note those as well that did not even say which tables they have."""
        if self.silent is not None:
            for using, said in unanswered(self.models).items():
                self.silent.setdefault(using, said)

    def kept(self, rows: Any, root: type[SimpleTask], using: str, key: str = "pk") -> Any:
        """Those of ``rows``, which name tasks of ``root`` by ``key``, that count."""
        if root not in self.within:
            return rows
        tasks = self.within[root].using(using).order_by().values("pk")
        return rows.filter(**{f"{key}__in": tasks})
