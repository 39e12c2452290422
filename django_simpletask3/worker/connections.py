"""Close the database sessions of a thread between two pieces of its work."""

from __future__ import annotations

import time
from contextlib import suppress

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..logs import get_logger

_logger = get_logger(__name__)


def close_stale() -> None:
    """Close sessions that are too old, broken, or in a transaction that was left open."""
    close_broken()
    for connection in connections.all(initialized_only=True):
        _close_unless_usable(connection)


def close_broken() -> None:
    """Close sessions that are broken, or in a transaction that was left open; forget statements.

    A driver error that Django does not know leaves ``atomic()`` open for ever; every later query
    of the thread would be refused
    (test_sessions_that_are_killed_again_and_again_cost_no_task_anything).
    """
    for connection in connections.all(initialized_only=True):
        # With DEBUG Django keeps every statement of a session until a request ends; none does here.
        connection.queries_log.clear()
        if connection.in_atomic_block or (
            connection.connection is not None and not connection.autocommit
        ):
            _logger.warning("transaction_left_open database=%s", connection.alias)
            _close(connection)
        elif connection.errors_occurred or _is_stale(connection):
            # Else every task that follows in this thread fails with the lost session
            # (test_a_session_that_is_lost_costs_one_task_only).
            _close_unless_usable(connection)


def _is_stale(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session has reached CONN_MAX_AGE."""
    max_age, end = connection.settings_dict["CONN_MAX_AGE"], connection.close_at
    return bool(max_age) and end is not None and time.monotonic() >= end


def _close_unless_usable(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.close_if_unusable_or_obsolete()
    except Exception:  # the driver fails to report its state: that must not end the thread
        _close(connection)


def close_all() -> None:
    """Close every session, whatever its state; the next query opens a new one."""
    for connection in connections.all(initialized_only=True):
        _close(connection)


def _close(connection: BaseDatabaseWrapper) -> None:
    with suppress(Exception):
        connection.close()
    # Also drops its savepoint state and on_commit hooks.
    del connections[connection.alias]
