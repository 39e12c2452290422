"""Migration operations that protect and drop event tables; their names are stable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.db import models, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor as SchemaEditor
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.operations.models import ModelOperation
from django.db.migrations.state import ProjectState as State

from ..ledger.tombstone import Tombstone
from . import triggers
from .triggers import Table

PACKAGE = "django_simpletask3"
StatementBuilder = Callable[..., list[str]]

_NO_TOMBSTONE_TABLE = (
    "{operation} needs the tombstone table: add "
    '("django_simpletask3", "0001_initial") to the dependencies of the migration, and let the '
    "database routers allow the app django_simpletask3 in the database {alias!r}."
)


class _EventTableOperation(ModelOperation):
    """An operation on the table of one event model; the model state does not change."""

    category = OperationCategory.ALTERATION

    def state_forwards(self, app_label: str, state: State) -> None:
        """Keep the model state."""

    def _table(self, app_label: str, schema_editor: SchemaEditor, state: State) -> Table | None:
        """Return the table, or None if the routers do not allow it in this database."""
        model = state.apps.get_model(app_label, self.name)
        alias = schema_editor.connection.alias
        if not self.allow_migrate_model(alias, model):
            return None
        if (PACKAGE, "tombstone") not in state.models or not router.allow_migrate_model(
            alias, Tombstone
        ):
            message = _NO_TOMBSTONE_TABLE.format(operation=self.describe(), alias=alias)
            raise ValueError(message)
        return Table.of(model)

    def _protect(self, app_label: str, schema_editor: SchemaEditor, state: State) -> None:
        self._run(app_label, schema_editor, state, triggers.creation_statements)

    def _unprotect(self, app_label: str, schema_editor: SchemaEditor, state: State) -> None:
        self._run(app_label, schema_editor, state, triggers.removal_statements)

    def _run(
        self, app_label: str, schema_editor: SchemaEditor, state: State, build: StatementBuilder
    ) -> None:
        table = self._table(app_label, schema_editor, state)
        if table is None:
            return
        connection = schema_editor.connection
        dialect = triggers.dialect_for(connection)
        if schema_editor.collect_sql:
            for statement in build(connection, table):
                schema_editor.execute(dialect.format_for_client(statement), params=None)
            return
        triggers.execute(
            connection, table, build(connection, table, dialect.installed_triggers(table))
        )


class ProtectEvents(_EventTableOperation):
    """Make an event table append-only in the database: ``ProtectEvents("invoiceevent")``.

    Triggers refuse UPDATE and DELETE, on PostgreSQL also TRUNCATE, unless a tombstone is open. The
    migration must depend on ``("django_simpletask3", "0001_initial")``.
    """

    def database_forwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        self._protect(app_label, schema_editor, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        self._unprotect(app_label, schema_editor, to_state)

    def describe(self) -> str:
        return f"Make {self.name} append-only in the database"

    @property
    def migration_name_fragment(self) -> str:
        return f"protect_{self.name_lower}"


class UnprotectEvents(_EventTableOperation):
    """Remove the triggers of ``ProtectEvents``, for good or while operations rewrite events."""

    def database_forwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        self._unprotect(app_label, schema_editor, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        self._protect(app_label, schema_editor, to_state)

    def describe(self) -> str:
        return f"Allow changes of {self.name} in the database"

    @property
    def migration_name_fragment(self) -> str:
        return f"unprotect_{self.name_lower}"


class DropHistory(_EventTableOperation):
    """Allow the operations that follow to drop this event model although it has events.

    Without it, ``migrate`` refuses to drop a table that has events. It leaves a tombstone with
    ``reason``, the number of events and their first and last time.
    """

    category = OperationCategory.REMOVAL
    reduces_to_sql = False
    atomic = True

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(name)

    def database_forwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        if self._table(app_label, schema_editor, from_state) is None:
            return
        alias = schema_editor.connection.alias
        tombstones = from_state.apps.get_model(PACKAGE, "tombstone")._base_manager.using(alias)
        events = from_state.apps.get_model(app_label, self.name)
        tombstones.create(
            **_summary(events, alias), scope="stream", reason=self.reason, is_open=False
        )

    def database_backwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        """Do nothing: the events are lost, and the other operations create the table again."""

    def describe(self) -> str:
        return f"Allow dropping {self.name} with its events: {self.reason}"

    @property
    def migration_name_fragment(self) -> str:
        return f"drop_history_{self.name_lower}"


def _summary(events: Any, using: str) -> dict[str, Any]:
    """Return the fields of a tombstone for all rows of an event model."""
    rows = events._base_manager.using(using).order_by("task_id", "sequence")
    totals = rows.aggregate(
        tasks=models.Count("task_id", distinct=True),
        events=models.Count("pk"),
        first_time=models.Min("event_time"),
        last_time=models.Max("event_time"),
    )
    digest = hashlib.sha256()
    for link in rows.values_list("digest", flat=True).iterator():
        digest.update(link.encode())
    label = events._meta.get_field("task").related_model._meta.label
    return {**totals, "model": label, "digest": digest.hexdigest()}
