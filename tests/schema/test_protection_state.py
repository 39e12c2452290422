"""What migrations promised is kept, put back, and taken away with them."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.core.management import call_command
from django.db import connection, connections, models, router
from django.db.migrations.executor import MigrationExecutor
from django.test import TransactionTestCase

from django_simpletask3 import checks
from django_simpletask3.ledger.tombstone import Tombstone
from django_simpletask3.management.commands.flush import Command as Flush
from django_simpletask3.schema.protection_state import protected_tables
from django_simpletask3.schema.triggers import Table, dialect_for, removal_statements
from django_simpletask3.schema.triggers import execute as execute_all
from tests.migrated_app.models import Atlas, Book, ScrollRecord
from tests.schema.conftest import execute, open_door, quoted, refused

Event: Any = Book.event_model

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    """What a test breaks is mended for the next."""
    yield
    for alias in connections:
        call_command("migrate", "migrated_app", database=alias, verbosity=0, skip_checks=True)


def found(using: str = "default") -> list[CheckMessage]:
    checked = run_checks(databases=[using])
    return [one for one in checked if one.id in {checks.TRIGGERS_ID, checks.OPEN_TOMBSTONE_ID}]


def migrated(name: str) -> None:
    call_command("migrate", "migrated_app", name, verbosity=0)


def bared(model: type[models.Model]) -> None:
    table = Table.of(model)
    execute_all(connection, table, removal_statements(connection, table))


def test_each_database_is_promised_what_it_holds() -> None:
    names = {using: {table.name for table in protected_tables(using)} for using in connections}

    assert names == {
        "default": {"migrated_app_bookevent", "Records of Scrolls"},
        "other": {"migrated_app_atlasevent"},
    }


def test_all_is_well_after_migrate() -> None:
    assert [*found("default"), *found("other")] == []


def test_nothing_is_asked_of_databases_that_nobody_named() -> None:
    bared(Event)

    assert not [one for one in run_checks() if one.id == checks.TRIGGERS_ID]


@pytest.mark.parametrize("model", [Event, ScrollRecord], ids=lambda model: model.__name__)
def test_missing_triggers_are_found_and_put_back_by_migrate(model: Any) -> None:
    bared(model)

    (message,) = found()

    assert (message.id, message.level) == (checks.TRIGGERS_ID, WARNING)
    assert model._meta.db_table in message.msg
    assert protected_tables("other")
    call_command("migrate", verbosity=0)
    assert found() == []


def test_one_missing_trigger_is_enough() -> None:
    dialect, table = dialect_for(connection), Table.of(Event)
    execute(dialect.drop_statement(table, min(dialect.installed_triggers(table))))

    assert [one.id for one in found()] == [checks.TRIGGERS_ID]


ALTERED = {
    "postgresql": [
        "ALTER TABLE migrated_app_bookevent DISABLE TRIGGER ALL",
        """
        CREATE OR REPLACE FUNCTION django_simpletask3_append_only() RETURNS trigger
        LANGUAGE plpgsql
        AS 'BEGIN IF TG_OP = $$UPDATE$$ THEN RETURN NEW; END IF; RETURN OLD; END'
        """,
    ],
    "mysql": ["CREATE TRIGGER {name} BEFORE DELETE ON {table} FOR EACH ROW SET @gone = 1"],
    "sqlite": ["CREATE TRIGGER {name} BEFORE DELETE ON {table} BEGIN SELECT 1; END"],
}


@pytest.mark.parametrize("number", range(2))
def test_altered_triggers_are_found_and_put_right_by_migrate(book: Book, number: int) -> None:
    table, dialect = Table.of(Event), dialect_for(connection)
    statements = ALTERED[connection.vendor]
    if number >= len(statements):
        pytest.skip("there is one way only")
    if connection.vendor != "postgresql":
        execute(dialect.drop_statement(table, table.trigger_name("delete")))
    execute(statements[number].format(name=table.trigger_name("delete"), table=quoted(Event)))

    # The function is common to all tables, and so is the fault.
    assert {one.id for one in found()} == {checks.TRIGGERS_ID}
    call_command("migrate", verbosity=0)

    assert found() == []
    with refused():
        execute(f"DELETE FROM {quoted(Event)}")


def test_a_door_that_stands_open_is_an_error() -> None:
    with open_door() as door:
        pass
    Tombstone.objects.filter(pk=door.pk).update(is_open=True)

    (message,) = found()

    assert (message.id, message.level) == (checks.OPEN_TOMBSTONE_ID, ERROR)


def test_migrating_backwards_takes_the_triggers_away(book: Book) -> None:
    migrated("0001")

    assert protected_tables("default") == []
    assert dialect_for(connection).installed_triggers(Table.of(Event)) == {}
    assert execute(f"DELETE FROM {quoted(Event)}") == 2
    migrated("0003")
    Book.objects.create()
    with refused():
        execute(f"DELETE FROM {quoted(Event)}")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has a function")
def test_nothing_is_left_of_the_last_protection() -> None:
    migrated("0001")

    assert execute("SELECT 1 FROM pg_proc WHERE proname LIKE '%append_only%'") == 0


def test_the_table_of_tombstones_can_be_built_anew(book: Book) -> None:
    """As a migration of this package may have to one day."""
    own = MigrationExecutor(connection).loader.graph.nodes["django_simpletask3", "0001_initial"]
    plan = [(own, False)]
    config = Tombstone._meta.app_config
    models.signals.pre_migrate.send(config, using="default", plan=plan, apps=apps)
    changed = models.CharField(max_length=300)
    changed.set_attributes_from_name("model")

    with connection.schema_editor() as editor:
        editor.alter_field(Tombstone, Tombstone._meta.get_field("model"), changed, strict=True)

    models.signals.post_migrate.send(
        config, app_config=config, using="default", plan=plan, verbosity=0, interactive=False
    )
    assert found() == []


class EmptiedByDjango(TransactionTestCase):
    """What Django does after every such test, with the command that users get."""

    databases = "__all__"

    def test_flush_empties_protected_tables_and_leaves_them_protected(self) -> None:
        for reset_sequences in (False, True):
            Book.objects.create()
            Atlas.objects.create()
            Tombstone.objects.create(is_open=False)
            for using in connections:
                call_command(
                    Flush(),
                    database=using,
                    interactive=False,
                    verbosity=0,
                    reset_sequences=reset_sequences,
                    allow_cascade=False,
                    inhibit_post_migrate=False,
                )

            for model in (Book, Event, Atlas, Atlas.event_model, Tombstone):
                assert not model.objects.using(router.db_for_write(model)).exists()
            assert found("default") == found("other") == []
