"""The store for each kind of database."""

from __future__ import annotations

from django.db import connections

from ..ledger.task_row import TaskRow
from .postgresql.store import PostgresPen
from .store import Pen

_PENS: dict[str, type[Pen]] = {"postgresql": PostgresPen}


def pen_of(root: type[TaskRow], using: str) -> Pen:
    """The pen for the table of ``root``, and for that of its events, in ``using``."""
    return _PENS.get(connections[using].vendor, Pen)(root, using)
