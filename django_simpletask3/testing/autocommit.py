"""Let a connection that is in a test's transaction behave as one that is in none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from django.db import DatabaseError, connections

from ..dispatch.push import without_messages

#: What Django knows of the transaction of a connection, and what it is outside of one.
_OUTSIDE: dict[str, Callable[[], Any]] = {
    "in_atomic_block": lambda: False,
    "autocommit": lambda: True,
    "commit_on_exit": lambda: True,
    "needs_rollback": lambda: False,
    "rollback_exc": lambda: None,
    "closed_in_transaction": lambda: False,
    "savepoint_ids": list,
    "atomic_blocks": list,
    "run_on_commit": list,
    "run_commit_hooks_on_set_autocommit_on": lambda: False,
}
_numbers = itertools.count(1)
#: Constraints of PostgreSQL that may be deferred, and are not at the begin of a transaction.
_NOT_DEFERRED = """
    SELECT DISTINCT format('%I.%I', nspname, conname)
    FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
    WHERE condeferrable AND NOT condeferred
"""
#: PostgreSQL's SQLSTATE of a statement in a transaction that has failed before.
_IN_FAILED_TRANSACTION = "25P02"


@contextmanager
def outside_of_transaction() -> Iterator[None]:
    """Within the block, transactions seem to commit, and nothing is sent to Redis."""
    with without_messages(), autocommit():
        yield


@contextmanager
def autocommit() -> Iterator[None]:
    """Within the block, connections of this thread that are in a transaction behave as in none.

    An outermost ``atomic()`` is a savepoint of that transaction, which is still rolled back as a
    whole. Its ``on_commit()`` hooks run at its end; those that were registered before the block are
    left alone. After ``set_autocommit(False)``, so is what is between two ``commit()`` or
    ``rollback()``. On PostgreSQL, a statement outside of ``atomic()`` has a savepoint of its own:
    so an error of it spoils nothing, as on other databases; and deferred constraints are checked
    where a commit would check them. ``close()`` closes nothing.
    """
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                stack.enter_context(_Emulation(connection).active())
        yield


def is_in_transaction(connection: Any) -> bool:
    """Whether ``connection`` is in a transaction, also if it behaves as in none."""
    commit = vars(connection).get("_commit")
    is_emulated = isinstance(getattr(commit, "__self__", None), _Emulation)
    return is_emulated or bool(connection.in_atomic_block)


class _Emulation:
    """A connection in a transaction, whose outermost ``atomic()`` blocks are savepoints."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._savepoint = ""
        #: On PostgreSQL, what defers constraints at the begin of a transaction, and what checks
        #: them at its end, and outside of one after each statement.
        self._deferral: list[str] = []
        self._check: list[str] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        connection = self._connection
        connection.validate_no_broken_transaction()
        saved = {name: getattr(connection, name) for name in _OUTSIDE}
        methods = {
            "_set_autocommit": self._set_autocommit,
            "_start_transaction_under_autocommit": self._begin,
            "_commit": self._commit,
            "_rollback": self._rollback,
            "close": self._close,
        }
        hidden = {name: vars(connection)[name] for name in methods if name in vars(connection)}
        if connection.vendor == "postgresql":
            self._deferral = self._constraint_deferral()
            self._check = ["SET CONSTRAINTS ALL IMMEDIATE"]
            self._begin()
            self._commit()  # what the test has written so far
        self._leave_transaction()
        vars(connection).update(methods)
        wrapper = self._in_savepoint  # one object: a bound method is made anew each time
        connection.execute_wrappers.append(wrapper)
        try:
            yield
        finally:
            try:
                self._close()
                self._execute(*self._deferral)
            finally:
                for name in methods:
                    vars(connection).pop(name, None)
                vars(connection).update({**hidden, **saved})
                # The end of another wrapper's block removes the last wrapper, whichever that is.
                if wrapper in connection.execute_wrappers:
                    connection.execute_wrappers.remove(wrapper)

    def _leave_transaction(self) -> None:
        vars(self._connection).update({name: value() for name, value in _OUTSIDE.items()})

    def _set_autocommit(self, is_on: bool) -> None:
        if not is_on:
            self._begin()
        elif self._savepoint:
            self._commit()

    def _begin(self) -> None:
        self._savepoint = self._create()
        self._execute(*self._deferral)

    def _commit(self) -> None:
        name, self._savepoint = self._savepoint, ""
        if not name:
            return
        try:
            self._execute(*self._check)
            self._release(name)
        except DatabaseError as error:
            self._undo(name)
            if not _is_in_failed_transaction(error):
                raise
            # PostgreSQL answers COMMIT of such a transaction with ROLLBACK, and without an error.

    def _rollback(self) -> None:
        name, self._savepoint = self._savepoint, ""
        if name:
            self._undo(name)

    def _close(self) -> None:
        """Roll back a transaction that was left open, as the end of its session would."""
        self._rollback()
        self._leave_transaction()

    def _in_savepoint(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        connection = self._connection
        if not (connection.autocommit or self._savepoint):
            self._begin()  # by the first statement after a commit or a rollback
        if connection.vendor != "postgresql" or not connection.autocommit:
            return execute(sql, params, many, context)
        name = self._create()
        try:
            result = execute(sql, params, many, context)
        except BaseException:
            self._undo(name)
            raise
        self._release(name)
        return result

    def _constraint_deferral(self) -> list[str]:
        """The statements after which constraints are deferred as at the begin of a transaction."""
        connection = self._connection
        with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
            cursor.execute(_NOT_DEFERRED)
            names = ", ".join(name for (name,) in cursor.fetchall())
        at_once = [f"SET CONSTRAINTS {names} IMMEDIATE"] if names else []
        return ["SET CONSTRAINTS ALL DEFERRED", *at_once]

    def _create(self) -> str:
        name = f"simpletask3_{next(_numbers)}"
        self._execute(self._connection.ops.savepoint_create_sql(name))
        return name

    def _release(self, name: str) -> None:
        self._execute(self._connection.ops.savepoint_commit_sql(name))

    def _undo(self, name: str) -> None:
        self._execute(self._connection.ops.savepoint_rollback_sql(name))
        self._release(name)

    def _execute(self, *statements: str) -> None:
        # Past Django's cursor: no statement of the test's, to its wrappers and to assertNumQueries.
        connection = self._connection
        for sql in statements:
            with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
                cursor.execute(sql)


def _is_in_failed_transaction(error: DatabaseError) -> bool:
    driver = error.__cause__
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    return state == _IN_FAILED_TRANSACTION
