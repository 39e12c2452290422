"""The migration operation that renames a task model; its name is stable."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor as SchemaEditor
from django.db.migrations.operations import RenameModel
from django.db.migrations.state import ProjectState as State

from ..db.tables import has_table

PACKAGE = "django_simpletask3"
_UPDATE = "UPDATE {table} SET {column} = %s WHERE {column} = %s"


class RenameTaskModel(RenameModel):
    """Rename a task model: ``RenameTaskModel("Invoice", "Bill")``.

    It does what ``RenameModel`` does. In the tables of this package, where rows name tasks by the
    label of their model, it then replaces the label: places and waiters of limits, links between
    tasks, deliveries. Tombstones keep the old one: they tell what was done under that name.
    """

    def database_forwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        old = from_state.apps.get_model(app_label, self.old_name)
        new = to_state.apps.get_model(app_label, self.new_name)
        if self.allow_migrate_model(schema_editor.connection.alias, new):
            for model, column in _label_columns():
                _replace(schema_editor, model, column, old._meta.label, new._meta.label)

    def describe(self) -> str:
        return f"Rename task model {self.old_name} to {self.new_name}"


def _label_columns() -> Iterator[tuple[type[models.Model], str]]:
    """The columns of this package that name the model of a task that may still run."""
    for model in apps.get_app_config(PACKAGE).get_models():
        if {"model", "task_key"} <= {field.name for field in model._meta.fields}:
            yield model, "model"
    # A limit without a name has that of its model.
    yield apps.get_model(PACKAGE, "LimitGate"), "name"


def _replace(
    schema_editor: SchemaEditor, model: type[models.Model], column: str, old: str, new: str
) -> None:
    # The migrations of this package may not have run yet: then there is nothing to replace.
    if has_table(model, schema_editor.connection.alias):
        quote = schema_editor.quote_name
        sql = _UPDATE.format(table=quote(model._meta.db_table), column=quote(column))
        schema_editor.execute(sql, [new, old])
