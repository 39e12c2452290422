"""Triggers are restored after a migration, and removed by reversing it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.core.management import call_command
from django.db import connection, connections, models, router
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.test import TransactionTestCase

from django_simpletask3 import checks
from django_simpletask3.ledger.tombstone import Tombstone
from django_simpletask3.management.commands.flush import Command as Flush
from django_simpletask3.schema.protection_state import protected_tables
from django_simpletask3.schema.triggers import Table, dialect_for, removal_statements
from django_simpletask3.schema.triggers import execute as execute_all
from tests.migrated_app.models import Atlas, Book, ScrollRecord
from tests.schema.conftest import execute, opened_tombstone, quoted, refused

Event: Any = Book.event_model

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def restore_triggers(transactional_db: None) -> Iterator[None]:
    """Restore the triggers after a test that changed them, or the migrations."""
    before = {alias: protection(alias) for alias in connections}
    yield
    for alias in connections:
        if protection(alias) != before[alias]:
            call_command("migrate", "migrated_app", database=alias, verbosity=0, skip_checks=True)


def protection(using: str) -> tuple[list[Any], list[Any]]:
    """The applied migrations and the installed triggers."""
    applied = MigrationRecorder(connections[using]).applied_migrations()
    return sorted(applied), sorted(dialect_for(connections[using]).read())


def trigger_messages(using: str = "default") -> list[CheckMessage]:
    checked = run_checks(databases=[using])
    return [
        message
        for message in checked
        if message.id in {checks.TRIGGERS_ID, checks.OPEN_TOMBSTONE_ID}
    ]


def migrate_to(name: str) -> None:
    call_command("migrate", "migrated_app", name, verbosity=0)


def drop_triggers(model: type[models.Model]) -> None:
    table = Table.of(model)
    execute_all(connection, table, removal_statements(connection, table))


def test_each_database_has_its_own_protected_tables() -> None:
    names = {using: {table.name for table in protected_tables(using)} for using in connections}

    assert names == {
        "default": {"migrated_app_bookevent", "Records of Scrolls"},
        "other": {"migrated_app_atlasevent"},
    }


def test_the_checks_pass_after_migrate() -> None:
    assert [*trigger_messages("default"), *trigger_messages("other")] == []


def test_databases_that_are_not_named_are_not_checked() -> None:
    drop_triggers(Event)

    assert not [message for message in run_checks() if message.id == checks.TRIGGERS_ID]


@pytest.mark.parametrize("model", [Event, ScrollRecord], ids=lambda model: model.__name__)
def test_missing_triggers_are_reported_and_restored_by_migrate(model: Any) -> None:
    drop_triggers(model)

    (message,) = trigger_messages()

    assert (message.id, message.level) == (checks.TRIGGERS_ID, WARNING)
    assert model._meta.db_table in message.msg
    assert protected_tables("other")
    call_command("migrate", verbosity=0)
    assert trigger_messages() == []


def test_one_missing_trigger_is_enough() -> None:
    dialect, table = dialect_for(connection), Table.of(Event)
    execute(dialect.drop_statement(table, min(dialect.installed_triggers(table))))

    assert [message.id for message in trigger_messages()] == [checks.TRIGGERS_ID]


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
def test_altered_triggers_are_reported_and_restored_by_migrate(book: Book, number: int) -> None:
    table, dialect = Table.of(Event), dialect_for(connection)
    statements = ALTERED[connection.vendor]
    if number >= len(statements):
        pytest.skip("only one alteration exists")
    if connection.vendor != "postgresql":
        execute(dialect.drop_statement(table, table.trigger_name("delete")))
    execute(statements[number].format(name=table.trigger_name("delete"), table=quoted(Event)))

    # All tables share the function, so each of them is reported.
    assert {message.id for message in trigger_messages()} == {checks.TRIGGERS_ID}
    call_command("migrate", verbosity=0)

    assert trigger_messages() == []
    with refused():
        execute(f"DELETE FROM {quoted(Event)}")


def test_a_committed_open_tombstone_is_an_error() -> None:
    with opened_tombstone() as tombstone:
        pass
    Tombstone.objects.filter(pk=tombstone.pk).update(is_open=True)

    (message,) = trigger_messages()

    assert (message.id, message.level) == (checks.OPEN_TOMBSTONE_ID, ERROR)


def test_migrating_backwards_drops_the_triggers(book: Book) -> None:
    migrate_to("0001")

    assert protected_tables("default") == []
    assert dialect_for(connection).installed_triggers(Table.of(Event)) == {}
    assert execute(f"DELETE FROM {quoted(Event)}") == 2
    migrate_to("0003")
    Book.objects.create()
    with refused():
        execute(f"DELETE FROM {quoted(Event)}")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has a function")
def test_the_function_is_dropped_with_the_last_triggers() -> None:
    migrate_to("0001")

    assert execute("SELECT 1 FROM pg_proc WHERE proname LIKE '%append_only%'") == 0


def test_a_migration_can_rebuild_the_tombstone_table(book: Book) -> None:
    """As a later migration of this package may do."""
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
    assert trigger_messages() == []


class EmptiedByDjango(TransactionTestCase):
    """Flush as Django does after each such test, with the command of this package."""

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
            assert trigger_messages("default") == trigger_messages("other") == []
