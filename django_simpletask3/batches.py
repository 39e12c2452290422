"""Batches of moves of which some cannot be recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.db import InterfaceError, OperationalError, connections

from .moves import Move
from .transitions import record_all

#: Errors of the database that pass: the same work can be tried again.
PASSING = (OperationalError, InterfaceError)

_PAUSES = (0.0, 0.1, 0.5)


def record_each(moves: Sequence[Move]) -> None:
    """Like ``record_all``, but moves that fail together are made one by one.

    A move that fails alone while others do not has its error as ``failure``. Where nothing can be
    recorded, an error that passes (PASSING) is raised: the same call can be made again.
    """
    try:
        record_all(moves)
    except PASSING as error:
        if len(moves) == 1:
            raise
        _reconnect()
        _record_one_by_one(moves, error)
    except Exception:
        _record_one_by_one(moves, None)


def _record_one_by_one(moves: Sequence[Move], passing: Exception | None) -> None:
    done = 0
    for tried, move in enumerate(moves):
        move.failure = None
        try:
            record_all([move])
            done += 1
        except Exception as error:
            move.event, move.failure = None, error
            # Two of two: it is the database, not the task.
            if isinstance(error, PASSING) and not done and tried:
                raise
    if isinstance(moves[-1].failure, PASSING) and not done:
        raise passing or moves[-1].failure
    for move in moves:
        if isinstance(move.failure, PASSING):
            _record_patiently(move)


def _record_patiently(move: Move) -> None:
    """Try again what failed although others did not: a connection may have been cut in between.

    The task is blamed only for what stays (test_a_connection_cut_twice_is_no_fault_of_a_task).
    """
    for pause in _PAUSES:
        time.sleep(pause)
        _reconnect()
        try:
            record_all([move])
        except Exception as error:
            move.event, move.failure = None, error
        else:
            move.failure = None
            return


def _reconnect() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
