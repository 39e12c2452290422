"""Which errors of a database pass: nobody is to blame, and the same work can be tried again."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError

from .exceptions import RowBusy

#: What a database raises that cannot be reached, among other things.
_DOUBTFUL = (OperationalError, InterfaceError)

#: Classes and codes of SQL states (PostgreSQL): connection, rollback by conflict, resources, lock
#: not to be had, an operator's intervention, system error; read-only, idle for too long.
_STATES = ("08", "40", "53", "55", "57", "58", "25006", "25P03")

#: Errors of MySQL and MariaDB: too many connections, out of memory or disk, shutdown, network, lock
#: timeout, deadlock, changed since read, read-only, limits, killed, server gone.
_NUMBERS = frozenset(
    {1020, 1021, 1040, 1041, 1053, 1114, 1158, 1159, 1160, 1161, 1180, 1205, 1206, 1213, 1226}
    | {1290, 1317, 1792, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024, 4031}
)

#: Names of SQLite's errors, or how they begin.
_NAMES = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_PROTOCOL",
    "SQLITE_INTERRUPT",
    "SQLITE_NOMEM",
)


def is_passing(error: BaseException | None) -> bool | None:
    """Whether ``error`` certainly passes (True), certainly does not, or may (None).

    Told by the driver's own code, not by the class: what one driver calls an operational error (a
    row too large for its index) is another one's programming error.
    """
    if isinstance(error, RowBusy):
        return True
    known = _known(error)
    if known is None and isinstance(error, _DOUBTFUL):
        # Without a code: a connection that broke, or a database nobody has thought of here.
        return True if _is_broken_connection(error) else None
    return bool(known)


def may_pass(error: BaseException | None) -> bool:
    """Whether trying again may help."""
    return is_passing(error) is not False


def _known(error: BaseException | None) -> bool | None:
    """What the driver's code says; None if there is none."""
    driver: Any = getattr(error, "__cause__", None) or error
    if state := getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None):
        return str(state).startswith(_STATES)
    if name := getattr(driver, "sqlite_errorname", None):
        return str(name).startswith(_NAMES)
    number = driver.args[0] if isinstance(driver, Exception) and driver.args else None
    return number in _NUMBERS if isinstance(number, int) and _is_of_mysql(driver) else None


def _is_of_mysql(driver: Any) -> bool:
    return type(driver).__module__.startswith(("MySQLdb", "pymysql", "mysql"))


def _is_broken_connection(error: BaseException) -> bool:
    # psycopg has no code where the server could not say one.
    return type(error.__cause__).__module__.startswith("psycopg")
