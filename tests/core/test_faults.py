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

from django_simpletask3.exceptions import RowBusy
from django_simpletask3.faults import is_passing, may_pass
from tests.zoo.models import Invoice, TextKeyed

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
def test_what_is_wrong_with_the_work_itself_does_not_pass(work: Callable[[], None]) -> None:
    error = caught(work)

    assert (is_passing(error), may_pass(error)) == (False, False)


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


def a_row_that_somebody_holds() -> None:
    task = Invoice.objects.create()
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(f"SELECT id FROM zoo_invoice WHERE id = {task.pk} FOR UPDATE")
        with transaction.atomic():
            Invoice.objects.select_for_update(nowait=True).get(pk=task.pk)
    finally:
        holder.rollback()
        holder.close()


def a_server_that_is_not_there() -> None:
    nobody = connection.copy()
    nobody.settings_dict = {**nobody.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
    nobody.ensure_connection()


@pytest.mark.skipif(VENDOR == "sqlite", reason="the faults of a server")
@pytest.mark.parametrize(
    "work",
    [
        a_connection_that_was_cut,
        a_statement_that_took_too_long,
        a_row_that_somebody_holds,
        a_server_that_is_not_there,
    ],
    ids=lambda work: work.__name__,
)
def test_what_befalls_a_server_passes(work: Callable[[], None]) -> None:
    error = caught(work)

    assert is_passing(error) is True, repr(error)


def a_file_that_somebody_writes() -> None:
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
    [a_file_that_somebody_writes, a_file_that_may_only_be_read],
    ids=lambda work: work.__name__,
)
def test_what_befalls_a_file_passes(work: Callable[[], None]) -> None:
    error = caught(work)

    assert is_passing(error) is True, repr(error)


def test_a_row_that_is_busy_passes() -> None:
    assert is_passing(RowBusy("busy")) is True


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_of_an_error_without_a_code_nothing_is_certain(kind: type[Exception]) -> None:
    error = kind("something")

    assert (is_passing(error), may_pass(error)) == (None, True)


@pytest.mark.parametrize("error", [ValueError("no"), DatabaseError("no"), KeyError(1205), None])
def test_what_is_no_fault_of_a_database_does_not_pass(error: Any) -> None:
    assert (is_passing(error), may_pass(error)) == (False, False)


def test_a_driver_s_error_that_django_did_not_wrap_is_told_by_its_code_too() -> None:
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorname = "SQLITE_BUSY_SNAPSHOT"  # type: ignore[attr-defined]

    assert is_passing(locked) is True
