"""The database refuses to change or delete events, from any client."""

import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.ledger.tombstone import Tombstone
from tests.migrated_app.models import Atlas, Book, Scroll, ScrollRecord
from tests.schema.conftest import execute, opened_tombstone, quoted, refused

Event: Any = Book.event_model

pytestmark = pytest.mark.django_db(transaction=True)

FORBIDDEN: dict[str, Callable[[], Any]] = {
    "update": lambda: execute(f"UPDATE {quoted(Event)} SET reason = 'forged'"),
    "delete": lambda: execute(f"DELETE FROM {quoted(Event)}"),
    "one row": lambda: execute(f"DELETE FROM {quoted(Event)} WHERE sequence = %s", 2),
    "raw delete": lambda: Event.objects.all()._raw_delete("default"),
    "base manager": lambda: Event._base_manager.all()._update(
        [(Event._meta.get_field("reason"), None, "forged")]
    ),
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
def test_events_cannot_be_changed_or_deleted(book: Book, statement: Callable[[], Any]) -> None:
    before = list(book.events.values())

    with refused():
        statement()

    assert list(book.events.values()) == before


@pytest.mark.skipif(connection.vendor != "postgresql", reason="TRUNCATE fires no trigger elsewhere")
def test_the_table_cannot_be_truncated(book: Book) -> None:
    with refused():
        execute(f"TRUNCATE {quoted(Event)}")

    assert book.events.count() == 2


@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL has no REPLACE")
def test_an_event_cannot_be_replaced(book: Book) -> None:
    columns = [connection.ops.quote_name(field.column) for field in Event._meta.fields]
    forged = ["kind" if "reason" in column else column for column in columns]

    with refused():
        execute(
            f"REPLACE INTO {quoted(Event)} ({', '.join(columns)}) "
            f"SELECT {', '.join(forged)} FROM {quoted(Event)}"
        )

    assert [event.reason for event in book.events.all()] == ["", "read"]


def test_transitions_work_on_a_protected_table(book: Book) -> None:
    book.cancel("enough")
    book.reset()
    book.delete()

    stream = list(Event.objects.all())
    assert [event.kind for event in stream] == ["enqueue", "note", "cancel", "reset", "delete"]
    assert broken_links(stream) == []


def test_many_events_can_be_inserted_together() -> None:
    Book.objects.bulk_create([Book(title=str(number)) for number in range(50)])

    assert Event.objects.count() == 50


def test_a_custom_event_model_with_a_custom_table_name_is_protected() -> None:
    task = Scroll.objects.create()

    for sql in ("UPDATE {} SET clerk = 'x'", "DELETE FROM {}"):
        with refused():
            execute(sql.format(quoted(ScrollRecord)))

    assert task.events.count() == 1


def test_a_table_in_another_database_is_protected_there() -> None:
    task = Atlas.objects.create()

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using="other"):
        execute(f"DELETE FROM {quoted(Atlas.event_model)}", using="other")

    assert task.events.count() == 1


def test_with_an_open_tombstone_events_can_be_deleted(book: Book) -> None:
    with opened_tombstone():
        assert execute(f"UPDATE {quoted(Event)} SET reason = 'erased'") == 2
        assert execute(f"DELETE FROM {quoted(Event)}") == 2

    assert book.events.count() == 0


def test_a_temporary_table_in_place_of_the_tombstones_allows_nothing(book: Book) -> None:
    # Also if its columns have all the right names; the database user needs no right but TEMPORARY.
    name = connection.ops.quote_name(Tombstone._meta.db_table)
    execute(f"CREATE TEMPORARY TABLE {name} AS SELECT 1 AS id, 1 = 1 AS is_open")
    try:
        for sql in ("UPDATE {} SET reason = 'x'", "DELETE FROM {}"):
            with pytest.raises(DatabaseError), transaction.atomic():
                execute(sql.format(quoted(Event)))
    finally:
        schema = {"postgresql": "pg_temp.", "sqlite": "temp."}.get(connection.vendor, "")
        kind = "TEMPORARY TABLE" if connection.vendor == "mysql" else "TABLE"
        execute(f"DROP {kind} {schema}{name}")

    assert [event.reason for event in book.events.all()] == ["", "read"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="schemas of PostgreSQL")
def test_a_table_in_another_schema_in_place_of_the_tombstones_allows_nothing(book: Book) -> None:
    name = connection.ops.quote_name(Tombstone._meta.db_table)
    execute("CREATE SCHEMA mine")
    try:
        execute(f"CREATE TABLE mine.{name} AS SELECT true AS is_open")
        execute("SET search_path = mine, public")
        with refused():
            execute(f"DELETE FROM public.{quoted(Event)}")
    finally:
        execute("RESET search_path")
        execute("DROP SCHEMA mine CASCADE")


def test_a_closed_tombstone_allows_nothing(book: Book) -> None:
    with opened_tombstone():
        pass

    with refused():
        execute(f"DELETE FROM {quoted(Event)}")

    assert book.events.count() == 2


def error_on_another_connection(work: Callable[[], Any]) -> BaseException | None:
    """Return the error that ``work`` raises on another connection."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            if connection.vendor == "sqlite":
                execute("PRAGMA busy_timeout = 100")
            work()
        except DatabaseError as error:
            raised.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_an_open_tombstone_applies_to_its_transaction_only(book: Book) -> None:
    with opened_tombstone():
        error = error_on_another_connection(lambda: execute(f"DELETE FROM {quoted(Event)}"))

        # SQLite allows one writer at a time.
        assert ("locked" if connection.vendor == "sqlite" else "append-only") in str(error)

    assert book.events.count() == 2


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer")
def test_two_may_delete_at_once(book: Book) -> None:
    other = Book.objects.create(title="Persuasion")

    def delete_events(task: Book) -> None:
        assert execute(f"DELETE FROM {quoted(Event)} WHERE task_id = %s", task.pk)

    def delete_other_events() -> None:
        with opened_tombstone():
            delete_events(other)

    with opened_tombstone():
        delete_events(book)
        assert error_on_another_connection(delete_other_events) is None

    assert Event.objects.count() == 0


def test_a_rollback_closes_the_tombstone(book: Book) -> None:
    def interrupted_deletion() -> None:
        with opened_tombstone():
            execute(f"DELETE FROM {quoted(Event)}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_deletion()

    assert (book.events.count(), Tombstone.objects.count()) == (2, 0)
    with refused():
        execute(f"DELETE FROM {quoted(Event)}")


def test_events_can_be_loaded_from_a_fixture(book: Book, tmp_path: Path) -> None:
    fixture = tmp_path / "migrated_app.json"
    call_command("dumpdata", "migrated_app", output=str(fixture))
    call_command("flush", interactive=False, verbosity=0)

    call_command("loaddata", str(fixture), verbosity=0)

    assert book.events.count() == 2
    assert broken_links(list(book.events.all())) == []


def test_sqlmigrate_prints_the_triggers() -> None:
    output = StringIO()

    call_command("sqlmigrate", "migrated_app", "0002", stdout=output)

    assert (
        output.getvalue().count("CREATE TRIGGER")
        == {
            "postgresql": 6,  # with those for partitions, if there are any
            "mysql": 4,
            "sqlite": 6,
        }[connection.vendor]
    )
    assert "Events are append-only" in output.getvalue()
