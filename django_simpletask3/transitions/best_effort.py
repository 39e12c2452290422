"""Batches of moves of which some cannot be recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.db import connections

from ..db.errors import is_passing, may_pass
from .transition import Move
from .writer import record_all, record_unread

_PAUSES = (0.0, 0.1, 0.5)


def record_each(moves: Sequence[Move]) -> None:
    """Like ``record_all``, but moves that fail together are made one by one.

    A move that fails alone while others do not has its error as ``failure``; so has one whose row
    is locked by somebody, which is not waited for. Where nothing can be recorded, an error that may
    pass is raised: the same call can be made again. Otherwise what was recorded stays, although it
    may have been in several transactions.
    """
    for move in moves:
        move.failure = None
    left = record_unread(moves)
    try:
        _record_together(left)
    except Exception as error:
        if len(left) == len(moves):
            raise
        for move in left:
            move.event, move.failure = None, error


def _record_together(moves: Sequence[Move]) -> None:
    try:
        record_all(moves, pass_over=True)
    except Exception as error:
        if not may_pass(error):
            _record_one_by_one(moves, None)
            return
        if len(moves) == 1:
            raise
        _reconnect()
        _record_one_by_one(moves, error)


def _record_one_by_one(moves: Sequence[Move], passing: Exception | None) -> None:
    done, last = 0, None
    for tried, move in enumerate(moves):
        last = _tried(move)
        done += last is None
        # Two of two: it is the database, not the task.
        if last is not None and may_pass(last) and not done and tried:
            raise last
    if last is not None and may_pass(last) and not done:
        raise passing or last
    for move in moves:
        if move.failure is not None and may_pass(move.failure):
            _record_patiently(move)


def _tried(move: Move) -> Exception | None:
    """Make one move; the error, which is its failure, if it could not be made."""
    move.failure = None
    try:
        record_all([move], pass_over=True)
    except Exception as error:
        move.event, move.failure = None, error
    return move.failure


def _record_patiently(move: Move) -> None:
    """Try again what failed although others did not: a connection may have been cut in between.

    The task is blamed only for what stays (test_a_connection_cut_twice_is_no_fault_of_a_task), and
    for nothing that certainly passes: that is left to whoever asked, who has more time.
    """
    for pause in _PAUSES:
        if is_passing(move.failure):
            return
        time.sleep(pause)
        _reconnect()
        if _tried(move) is None:
            return


def _reconnect() -> None:
    """Begin new sessions: also one that can be used may remember what makes a statement fail."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
