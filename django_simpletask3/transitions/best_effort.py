"""Apply batches of transitions of which some cannot be recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.db import connections

from ..db.errors import is_transient, may_be_transient
from ..ledger.task_row import write_database
from .transition import Transition
from .writer import apply_all, compare_and_set

_PAUSES = (0.0, 0.1, 0.5)


def apply_each(transitions: Sequence[Transition]) -> None:
    """Like ``apply_all``, but transitions that fail together are applied one by one.

    A transition that fails while others do not gets its ``error``; so does one whose row is locked,
    which is not waited for. If nothing can be recorded, an error that may be transient is raised:
    the same call can be made again. Otherwise what was recorded stays, although it may have been in
    several transactions. An error that breaks a transaction of the caller's is always raised.
    """
    for transition in transitions:
        transition.error = None
    not_applied = compare_and_set(transitions)
    try:
        _apply_together(not_applied)
    except Exception as error:
        if len(not_applied) == len(transitions) or _must_roll_back(transitions):
            raise
        for transition in not_applied:
            transition.event, transition.error = None, error


def _apply_together(transitions: Sequence[Transition]) -> None:
    try:
        apply_all(transitions, skip_locked=True)
    except Exception as error:
        if _must_roll_back(transitions):
            raise
        if not may_be_transient(error):
            _apply_one_by_one(transitions, None)
            return
        if len(transitions) == 1:
            raise
        _reconnect()
        _apply_one_by_one(transitions, error)


def _apply_one_by_one(transitions: Sequence[Transition], transient_error: Exception | None) -> None:
    applied_count, last_error = 0, None
    for index, transition in enumerate(transitions):
        last_error = _try_apply(transition)
        applied_count += last_error is None
        # Two of two: it is the database, not the task.
        if last_error is not None and may_be_transient(last_error) and not applied_count and index:
            raise last_error
    if last_error is not None and may_be_transient(last_error) and not applied_count:
        raise transient_error or last_error
    for transition in transitions:
        if transition.error is not None and may_be_transient(transition.error):
            _apply_with_retries(transition)


def _try_apply(transition: Transition) -> Exception | None:
    """Apply one transition; returns its error."""
    transition.error = None
    try:
        apply_all([transition], skip_locked=True)
    except Exception as error:
        transition.event, transition.error = None, error
        if _must_roll_back([transition]):
            raise
    return transition.error


def _apply_with_retries(transition: Transition) -> None:
    """Try again what failed although others did not: the connection may have been cut in between.

    Only an error that stays is the task's (test_a_connection_cut_twice_is_no_fault_of_a_task). An
    error that is certainly transient is left to the caller, who has more time.
    """
    for pause in _PAUSES:
        if is_transient(transition.error):
            return
        time.sleep(pause)
        _reconnect()
        if _try_apply(transition) is None:
            return


def _must_roll_back(transitions: Sequence[Transition]) -> bool:
    """Whether a transaction around these is lost: nothing can be recorded in it any more."""
    databases = {write_database(transition.task) for transition in transitions}
    return any(connections[using].needs_rollback for using in databases)


def _reconnect() -> None:
    """Close all connections: even one that works may keep state that makes a statement fail."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
