"""Find the tables that applied migrations protect, and restore missing triggers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.db import connections, router
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.models import DeleteModel, ModelOperation, RenameModel
from django.db.migrations.operations.special import SeparateDatabaseAndState

from ..db.tables import has_table
from ..ledger.tombstone import Tombstone
from . import triggers
from .protect import PACKAGE, ProtectEvents, UnprotectEvents
from .triggers import Table


def protected_tables(using: str, apps: Apps | None = None) -> list[Table]:
    """The tables in the database ``using`` that its applied migrations protect.

    ``apps``, if given, is the app registry in the state after these migrations.
    """
    executor = MigrationExecutor(connections[using])
    applied = _applied_migrations(executor)
    names = protected_event_models(applied)
    if not names:
        return []
    if apps is None:
        apps = executor.loader.project_state([(m.app_label, m.name) for m in applied]).apps
    event_models: list[Any] = [apps.get_model(*name) for name in sorted(names)]
    return [Table.of(model) for model in event_models if router.allow_migrate_model(using, model)]


def has_open_tombstone(using: str) -> bool:
    """Whether a committed open tombstone lets every user change events in the database."""
    return (
        has_table(Tombstone, using) and Tombstone.objects.using(using).filter(is_open=True).exists()
    )


def restore_triggers(
    using: str, plan: object = None, apps: Apps = installed_apps, **_: object
) -> None:
    """Restore missing or altered triggers after a migration (receiver of ``post_migrate``).

    SQLite loses the triggers of a table whenever a migration rebuilds the table.
    """
    if plan is None:
        return  # flush, which removes no trigger
    connection = connections[using]
    for table in protected_tables(using, apps):
        if not triggers.has_expected_triggers(connection, table):
            installed = triggers.dialect_for(connection).installed_triggers(table)
            triggers.execute(
                connection, table, triggers.creation_statements(connection, table, installed)
            )


def drop_sqlite_triggers(using: str, plan: Iterable[tuple[Migration, bool]], **_: object) -> None:
    """Drop the triggers before a migration of this package (receiver of ``pre_migrate``).

    SQLite cannot rebuild a table that triggers read.
    """
    connection = connections[using]
    if connection.vendor != "sqlite" or PACKAGE not in {step.app_label for step, _ in plan}:
        return
    with connection.cursor() as cursor:
        for row in triggers.dialect_for(connection).read():
            name = row[2]
            cursor.execute(f"DROP TRIGGER {connection.ops.quote_name(name)}")


def _applied_migrations(executor: MigrationExecutor) -> list[Migration]:
    loader = executor.loader
    plan = executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    return [m for m, _ in plan if (m.app_label, m.name) in loader.applied_migrations]


def protected_event_models(migrations: Iterable[Migration]) -> set[tuple[str, str]]:
    """The event models, by app and current name, that ``migrations`` leave protected."""
    return models_with_operation(migrations, ProtectEvents, UnprotectEvents)


def models_with_operation(
    migrations: Iterable[Migration],
    added_by: type[ModelOperation],
    removed_by: type[ModelOperation] = DeleteModel,
) -> set[tuple[str, str]]:
    """The models, by app and current name, with an ``added_by`` and no later ``removed_by``."""
    keys: set[tuple[str, str]] = set()
    for migration in migrations:
        label = migration.app_label
        for operation in flatten(migration.operations):
            if isinstance(operation, added_by):
                keys.add((label, operation.name_lower))
            elif isinstance(operation, (DeleteModel, removed_by)):
                keys.discard((label, operation.name_lower))
            elif isinstance(operation, RenameModel) and (label, operation.old_name_lower) in keys:
                keys.remove((label, operation.old_name_lower))
                keys.add((label, operation.new_name_lower))
    return keys


def flatten(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield the operations, and those inside SeparateDatabaseAndState in place of it."""
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from flatten(operation.database_operations)
            yield from flatten(operation.state_operations)
        else:
            yield operation
