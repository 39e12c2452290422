"""Run an operation on every task table: each database by itself, in batches of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from django.db import Error

from ..exceptions import QueueUnavailable
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.queryset import TaskQuerySet
from ..models.registry import tables_in, task_databases
from ..models.task import SimpleTask

_logger = get_logger(__name__)

T = TypeVar("T")

_MAX_BATCHES = 100
#: Tasks of one table, or one database, in a pass that must not take long: half a second of work. A
#: backlog may become overdue at one instant and must not keep the interpreter from the worker
#: threads of this process.
MAX_TASKS = 2000

#: Returns how many tasks of one table in one database it recovered or pushed.
TableOperation = Callable[[type[SimpleTask], str], int]


def for_each_table(operation: TableOperation, databases: Iterable[str] | None = None) -> int:
    """Call ``operation`` for each task table of ``databases`` or of all; the sum of its results.

    An operation that raises is logged, and does not stop the others; QueueUnavailable is raised.
    """
    aliases = task_databases() if databases is None else databases
    return sum(in_each_database(partial(_run_in, operation=operation), aliases).values())


def _run_in(using: str, operation: TableOperation) -> int:
    return sum(run_guarded(root, using, operation) or 0 for root in tables_in(using))


def run_guarded(
    root: type[SimpleTask], using: str, operation: Callable[[type[SimpleTask], str], T]
) -> T | None:
    """What ``operation`` returns; None if it raised, which is logged.

    Raises QueueUnavailable.
    """
    try:
        return operation(root, using)
    except QueueUnavailable:
        raise
    except Error as error:
        log_database_error(root, using, error)  # the work is still due at the next pass
    except Exception:
        _logger.exception("recovery_failed model=%s database=%s", root._meta.label, using)
    return None


def log_database_error(root: type[SimpleTask], using: str, error: Error) -> None:
    """Log that recovery could not read or write the table."""
    _logger.warning("recovery_failed model=%s database=%s error=%s", root._meta.label, using, error)


def run_in_batches(
    rows: TaskQuerySet[Any],
    limit: int,
    operation: Callable[[list[Any]], int],
    max_batches: int = _MAX_BATCHES,
) -> int:
    """Call ``operation`` with batches of keys, the longest overdue first, until one is not full."""
    total = 0
    for _ in range(max_batches):
        pks = list(rows.order_by("check_at").values_list("pk", flat=True)[:limit])
        total += operation(pks) if pks else 0
        if len(pks) < limit:
            break
    return total
