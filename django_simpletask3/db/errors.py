"""Classify database errors as transient or permanent, by SQLSTATE, errno or name."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError

from ..exceptions import RowBusy

#: Raised when a database cannot be reached, and in other cases.
_CONNECTION_ERRORS = (OperationalError, InterfaceError)

#: Classes and codes of SQL states (PostgreSQL): connection, password, rollback by conflict,
#: resources, lock not available, an operator's intervention, system error; read-only, idle or open
#: for too long, no such database.
_TRANSIENT_SQLSTATES = (
    *("08", "28", "40", "53", "57", "58", "XX"),
    *("25006", "25P03", "25P04", "3D000", "55006", "55P03"),
)

#: Errors of MySQL and MariaDB: files and disk, memory, too many connections, no admission,
#: shutdown, network, commit, lock timeout, deadlock, changed since read, read-only, limits, killed.
_MYSQL_ERRNOS = frozenset(
    {1015, 1016, 1020, 1021, 1023, 1024, 1026, 1030, 1037, 1040, 1041, 1044, 1045, 1047, 1049, 1053}
    | {1114, 1129, 1130, 1135, 1152, 1158, 1159, 1160, 1161, 1180, 1184, 1203, 1205, 1206, 1213}
    | {1226, 1290, 1317, 1412, 1637, 1689, 1792, 1836, 1927, 1969, 3024, 3169, 3572, 4031}
)
#: Those of their client library: server gone, connection lost; not a packet that is too large.
_MYSQL_CLIENT_ERRNOS = frozenset(range(2000, 2062)) - {2020}

#: Names of SQLite's errors, or how they begin.
_SQLITE_ERRORS = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_PERM",
    "SQLITE_PROTOCOL",
    "SQLITE_INTERRUPT",
    "SQLITE_NOMEM",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_SCHEMA",
)

#: No such table, column or schema: SQL states of PostgreSQL, errors of MySQL and MariaDB, and how
#: messages of SQLite begin.
_MISSING_SQLSTATES = ("42P01", "42703", "3F000")
_MISSING_MYSQL_ERRNOS = frozenset({1054, 1146})
_MISSING_SQLITE_MESSAGES = ("no such table", "no such column")

#: How many causes of an error are examined.
_MAX_CAUSES = 5


def is_transient(error: BaseException | None) -> bool | None:
    """Whether ``error`` is certainly transient (True), permanent (False), or unknown (None).

    The driver's code counts, not the class: what one driver calls an operational error (a row too
    large for its index) is a programming error of another.
    """
    if isinstance(error, RowBusy):
        return True
    by_code = _classify_causes(error)
    if by_code is None and isinstance(error, _CONNECTION_ERRORS):
        # Without a code: a broken connection, or an unknown database.
        return True if _is_broken_connection(error) else None
    return bool(by_code)


def may_be_transient(error: BaseException | None) -> bool:
    """Whether trying again may help."""
    return is_transient(error) is not False


class MissingSchema(str):
    """The message of an error that says that a table or a column does not exist."""

    __slots__ = ()


def error_text(error: BaseException) -> str:
    """The message of ``error``, or its class if it has none; a MissingSchema if it is one."""
    text = str(error) or type(error).__name__
    return MissingSchema(text) if _is_missing_schema(error) else text


def _is_missing_schema(error: BaseException) -> bool:
    driver: Any = error.__cause__ or error
    if state := getattr(driver, "sqlstate", None):
        return str(state) in _MISSING_SQLSTATES
    if getattr(driver, "sqlite_errorname", None):
        is_insert = "has no column named" in str(driver)
        return is_insert or str(driver).startswith(_MISSING_SQLITE_MESSAGES)
    number = driver.args[0] if driver.args else None
    return _is_of_mysql(driver) and number in _MISSING_MYSQL_ERRNOS


def _classify_causes(error: BaseException | None) -> bool | None:
    """Whether the first code in the chain of causes is transient; None if there is no code.

    Django puts its own error before the driver's, and another one if a caught error has broken the
    transaction.
    """
    for _ in range(_MAX_CAUSES):
        if error is None:
            break
        if (found := _classify(error)) is not None:
            return found
        error = error.__cause__
    return None


def _classify(driver: Any) -> bool | None:
    """Whether the code of a driver's error is transient; None without a code of a driver."""
    if state := getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None):
        if _is_outdated_plan(driver):
            return True
        return str(state).startswith(_TRANSIENT_SQLSTATES) and not _is_too_large(driver)
    if name := getattr(driver, "sqlite_errorname", None):
        return str(name).startswith(_SQLITE_ERRORS)
    number = driver.args[0] if driver.args else None
    if isinstance(number, int) and _is_of_mysql(driver):
        return number in _MYSQL_ERRNOS or number in _MYSQL_CLIENT_ERRNOS
    return None


def _is_outdated_plan(driver: object) -> bool:
    # A prepared statement fails after a column gets another type, in this session only. Recognised
    # by the function that raised, since the message is translated.
    diagnosis = getattr(driver, "diag", None)
    return getattr(diagnosis, "source_function", None) == "RevalidateCachedQuery"


def _is_too_large(driver: object) -> bool:
    # An internal error by its code (XX000), but the value's own; never translated.
    return "invalid memory alloc request size" in str(driver)


def _is_of_mysql(driver: object) -> bool:
    return type(driver).__module__.startswith(("MySQLdb", "pymysql", "mysql"))


def _is_broken_connection(error: BaseException) -> bool:
    # psycopg has no code if the server could not send one.
    return type(error.__cause__).__module__.startswith("psycopg")
