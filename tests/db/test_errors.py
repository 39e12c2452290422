"""Which errors pass: asked of real databases, made to fail in earnest."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from django_simpletask3.db.errors import (
    MissingSchema,
    error_text,
    is_transient,
    may_be_transient,
)
from django_simpletask3.exceptions import RowBusy
from tests.testapp.models import Invoice, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)
VENDOR = connection.vendor


def execute(sql: str, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchall()


def caught(work: Callable[[], object]) -> BaseException:
    with pytest.raises(DatabaseError) as caught:
        work()
    connections.close_all()
    return caught.value


def a_key_taken_twice() -> None:
    TextKeyed.objects.bulk_create([TextKeyed(id="one"), TextKeyed(id="one")])


def a_table_that_is_not_there() -> None:
    execute("SELECT 1 FROM nowhere")


def a_sentence_that_is_none() -> None:
    execute("SELEKT 1")


@pytest.mark.parametrize(
    "work",
    [a_key_taken_twice, a_table_that_is_not_there, a_sentence_that_is_none],
    ids=lambda work: work.__name__,
)
def test_errors_of_the_work_itself_are_not_transient(work: Callable[[], None]) -> None:
    error = caught(work)

    assert (is_transient(error), may_be_transient(error)) == (False, False)


def a_connection_that_was_cut() -> None:
    with connection.cursor() as cursor:
        if VENDOR == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        else:
            cursor.execute("KILL CONNECTION_ID()")
    execute("SELECT 1")


def a_statement_that_took_too_long() -> None:
    if VENDOR == "postgresql":
        execute("SELECT set_config('statement_timeout', '20', false)")
        execute("SELECT pg_sleep(5)")
    else:
        execute("SET STATEMENT max_statement_time=0.05 FOR SELECT SLEEP(5)")


def a_locked_row() -> None:
    task = Invoice.objects.create()
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(f"SELECT id FROM testapp_invoice WHERE id = {task.pk} FOR UPDATE")
        with transaction.atomic():
            Invoice.objects.select_for_update(nowait=True).get(pk=task.pk)
    finally:
        holder.rollback()
        holder.close()


def a_plan_that_is_outdated() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE changing (word varchar(5))")
        cursor.execute("PREPARE reading AS SELECT word FROM changing")
        cursor.execute("ALTER TABLE changing ALTER word TYPE varchar(9)")
        cursor.execute("EXECUTE reading")


def a_server_that_is_not_there() -> None:
    no_one = connection.copy()
    no_one.settings_dict = {**no_one.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
    no_one.ensure_connection()


@pytest.mark.skipif(VENDOR == "sqlite", reason="the faults of a server")
@pytest.mark.parametrize(
    "work",
    [
        a_connection_that_was_cut,
        a_statement_that_took_too_long,
        a_locked_row,
        a_server_that_is_not_there,
        pytest.param(
            a_plan_that_is_outdated,
            marks=pytest.mark.skipif(VENDOR != "postgresql", reason="MySQL plans them anew"),
        ),
    ],
    ids=lambda work: work.__name__,
)
def test_errors_of_a_server_are_transient(work: Callable[[], None]) -> None:
    error = caught(work)

    assert is_transient(error) is True, repr(error)


def a_locked_file() -> None:
    holder = connection.copy()
    other = connection.copy()
    other.settings_dict = {**other.settings_dict, "OPTIONS": {"timeout": 0}}
    try:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
    finally:
        holder.close()
        other.close()


def a_file_that_may_only_be_read() -> None:
    execute("PRAGMA query_only = 1")
    Invoice.objects.create()


@pytest.mark.skipif(VENDOR != "sqlite", reason="the faults of a file")
@pytest.mark.parametrize(
    "work",
    [a_locked_file, a_file_that_may_only_be_read],
    ids=lambda work: work.__name__,
)
def test_errors_of_a_file_are_transient(work: Callable[[], None]) -> None:
    error = caught(work)

    assert is_transient(error) is True, repr(error)


def test_a_row_that_is_busy_passes() -> None:
    assert is_transient(RowBusy("busy")) is True


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_an_error_without_a_code_may_be_transient(kind: type[Exception]) -> None:
    error = kind("something")

    assert (is_transient(error), may_be_transient(error)) == (None, True)


@pytest.mark.parametrize("error", [ValueError("no"), DatabaseError("no"), KeyError(1205), None])
def test_other_errors_are_not_transient(error: Any) -> None:
    assert (is_transient(error), may_be_transient(error)) == (False, False)


def test_a_driver_s_error_that_django_did_not_wrap_is_classified_by_its_code_too() -> None:
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorname = "SQLITE_BUSY_SNAPSHOT"  # type: ignore[attr-defined]

    assert is_transient(locked) is True


class Refused(Exception):
    """What a driver raises that tells an SQL state."""

    def __init__(self, sqlstate: str, message: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        pytest.param(Refused("40001"), True, id="serialization failure"),
        pytest.param(Refused("40P01"), True, id="deadlock"),
        pytest.param(Refused("53100"), True, id="disk full"),
        pytest.param(Refused("53300"), True, id="too many connections"),
        pytest.param(Refused("55P03"), True, id="lock not to be had"),
        pytest.param(Refused("57014"), True, id="canceled"),
        pytest.param(Refused("57P03"), True, id="starting up"),
        pytest.param(Refused("25006"), True, id="read-only"),
        pytest.param(Refused("XX000", "tuple concurrently updated"), True, id="internal"),
        pytest.param(
            Refused("XX000", "invalid memory alloc request size 1"), False, id="too large"
        ),
        pytest.param(Refused("54000"), False, id="too large for an index"),
        pytest.param(Refused("22001"), False, id="too long"),
        pytest.param(Refused("23505"), False, id="taken"),
        pytest.param(Refused("42703"), False, id="no such column"),
    ],
)
def test_the_code_decides_whatever_django_calls_it(error: Exception, passes: bool) -> None:
    for kind in (OperationalError, DatabaseError, InterfaceError):
        wrapped = kind("as Django says")
        wrapped.__cause__ = error

        assert is_transient(wrapped) is passes


def test_the_cause_of_a_cause_is_asked_too() -> None:
    lost = OperationalError("lost")
    lost.__cause__ = Refused("08006")
    spoiled = transaction.TransactionManagementError("An error occurred before.")
    spoiled.__cause__ = lost

    assert is_transient(spoiled) is True


@pytest.mark.skipif(VENDOR != "mysql", reason="numbers of MySQL")
@pytest.mark.parametrize(
    ("number", "passes"),
    [
        *((number, True) for number in (1021, 1040, 1053, 1205, 1213, 1290, 2006, 2013)),
        *((number, False) for number in (1153, 1366, 1406, 2020)),
    ],
)
def test_the_number_decides_whatever_mysql_calls_it(number: int, passes: bool) -> None:
    import MySQLdb

    assert is_transient(MySQLdb.OperationalError(number, "")) is passes


@pytest.mark.parametrize(
    ("sql", "is_missing"),
    [
        ("SELECT * FROM no_such_table", True),
        ("SELECT no_such_column FROM testapp_invoice", True),
        ("INSERT INTO testapp_invoice (no_such_column) VALUES (1)", True),
        ("SELECT FROM WHERE", False),
    ],
)
def test_a_missing_table_or_column_is_recognized(sql: str, is_missing: bool) -> None:
    error = caught(lambda: execute(sql))

    assert isinstance(error_text(error), MissingSchema) == is_missing
    assert error_text(error) == str(error)
