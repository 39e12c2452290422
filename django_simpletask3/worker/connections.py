"""The database sessions of a thread, between two pieces of its work."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

_logger = logging.getLogger(__name__)


def close_stale() -> None:
    """Close what is of no use any more: stale sessions, and those in a transaction left open."""
    close_broken()
    close_old_connections()


def close_broken() -> None:
    """Close the sessions that cannot be used any more, or are in a transaction left open.

    A driver's error that Django does not know leaves a transaction open for ever: it refuses every
    query until the block has ended that was left long ago
    (test_sessions_that_are_killed_again_and_again_cost_no_task_anything).
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or (
            connection.connection is not None and not connection.get_autocommit()
        ):
            _logger.warning("transaction_left_open database=%s", connection.alias)
            _close(connection)
        elif connection.errors_occurred or _is_stale(connection):
            # Else every body that follows fails with the session of the first
            # (test_a_session_that_is_lost_costs_one_body_only).
            try:
                connection.close_if_unusable_or_obsolete()
            except Exception:  # a driver that cannot even be asked
                _close(connection)


def _is_stale(connection: BaseDatabaseWrapper) -> bool:
    """Whether it has lived for as long as CONN_MAX_AGE allows, if that allows anything."""
    most, end = connection.settings_dict["CONN_MAX_AGE"], connection.close_at
    return bool(most) and end is not None and time.monotonic() >= end


def close_all() -> None:
    """Close every session, whatever state it is in: the next query begins a new one."""
    for connection in connections.all(initialized_only=True):
        _close(connection)


def _close(connection: BaseDatabaseWrapper) -> None:
    with suppress(Exception):
        connection.close()
    # With it go its memories of savepoints and of what was to follow a commit.
    del connections[connection.alias]
