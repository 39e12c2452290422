"""Find out which migrations an app lacks that makemigrations cannot write, and render them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RenameModel
from django.db.migrations.state import ProjectState
from django.template import Context, Engine

from .autodetector import event_models, is_event_model, task_model_key
from .backfill import BackfillEvents
from .partition import PartitionEvents
from .protection_state import flatten, models_with_operation, protected_event_models

_PACKAGE = Path(__file__).parents[1]
#: Where the templates are: inside the installed package, or beside it in the repository.
_FOLDERS = (_PACKAGE / "migrations_templates", _PACKAGE.parent / "migrations_templates")

#: Columns that every task table has in every version.
_TASK_COLUMNS = frozenset({"sequence", "digest", "check_at"})
#: Columns of a table of 0.1.x.
_COLUMNS_OF_01 = frozenset({"status", "success", "result_data", "error_data", "result_time"})

ColumnsByModel = dict[str, set[str]]


class Template(StrEnum):
    """A migration template; its value names the file and the migration."""

    UPGRADE = "upgrade_from_0_1"
    BACKFILL = "backfill_events"
    PROTECT = "protect_events"
    PARTITION = "partition_events"
    EXTEND = "extend_partitions"


@dataclass
class MigrationHistory:
    """The migrations of one app in order, and the state that they lead to."""

    app_label: str
    migrations: list[Migration] = field(default_factory=list)
    #: Models whose tables may have rows without events, and the template that writes the events.
    backfills: dict[str, Template] = field(default_factory=dict)
    state: ProjectState = field(default_factory=ProjectState)

    def event_model_names(self) -> list[str]:
        """The names of the app's event models after its last migration."""
        return sorted(m.name for m in event_models(self.state) if m.app_label == self.app_label)

    def models_missing(self, template: Template) -> list[str]:
        """The names of the models for which the app has no migration like ``template``."""
        match template:
            case Template.PROTECT:
                return self._event_models_outside(protected_event_models(self.migrations))
            case Template.PARTITION:
                return self._unpartitioned_models()
            case Template.EXTEND:
                unpartitioned = self._unpartitioned_models()
                return [name for name in self.event_model_names() if name not in unpartitioned]
            case _:
                names = [name for name, needed in self.backfills.items() if needed is template]
                return sorted(self.state.models[self.app_label, name].name for name in names)

    def _unpartitioned_models(self) -> list[str]:
        return self._event_models_outside(models_with_operation(self.migrations, PartitionEvents))

    def _event_models_outside(self, keys: set[tuple[str, str]]) -> list[str]:
        return [n for n in self.event_model_names() if (self.app_label, n.lower()) not in keys]


def migration_history(app_label: str, loader: MigrationLoader) -> MigrationHistory:
    """Replay the migrations of the app and those that they depend on."""
    history = MigrationHistory(app_label)
    keys: dict[tuple[str, str], None] = {}
    for leaf in loader.graph.leaf_nodes(app_label):
        keys |= dict.fromkeys(loader.graph.forwards_plan(leaf))
    for key in keys:
        migration = loader.graph.nodes[key]
        before = _columns(history.state, app_label)
        history.state = migration.mutate_state(history.state, preserve=False)
        if migration.app_label == app_label:
            history.migrations.append(migration)
            _track_backfills(history, migration, before)
    return history


def event_model_apps(loader: MigrationLoader, app_label: str) -> list[str]:
    """The other apps that have event models of this app's task models."""
    models = event_models(loader.project_state())
    labels = {model.app_label for model in models if task_model_key(model)[0] == app_label}
    return sorted(labels - {app_label})


def _track_backfills(
    history: MigrationHistory, migration: Migration, before: ColumnsByModel
) -> None:
    """Update ``history.backfills`` by ``migration``; ``before`` are the columns before it."""
    after = _columns(history.state, history.app_label)
    for operation in flatten(migration.operations):
        if isinstance(operation, RenameModel):
            _rename_key(before, operation)
            _rename_key(history.backfills, operation)
    for name in before.keys() & after.keys():
        if after[name] >= _TASK_COLUMNS and not before[name] >= _TASK_COLUMNS:
            is_01 = before[name] >= _COLUMNS_OF_01
            history.backfills[name] = Template.UPGRADE if is_01 else Template.BACKFILL
    backfills = (op for op in flatten(migration.operations) if isinstance(op, BackfillEvents))
    completed_names = {operation.name_lower for operation in backfills}
    for name in completed_names | (history.backfills.keys() - after.keys()):
        history.backfills.pop(name, None)


def _rename_key(models: dict[str, Any], operation: RenameModel) -> None:
    if operation.old_name_lower in models:
        models[operation.new_name_lower] = models.pop(operation.old_name_lower)


def _columns(state: ProjectState, app_label: str) -> ColumnsByModel:
    models = {name: model for (label, name), model in state.models.items() if label == app_label}
    return {name: set(m.fields) for name, m in models.items() if not is_event_model(m)}


def render(
    template: Template, models: list[str], dependencies: list[tuple[str, str]], until: str
) -> str:
    """Render the migration for ``models``; ``until`` is the last month of partitions."""
    engine = Engine(dirs=[str(folder) for folder in _FOLDERS], autoescape=False)
    context = {"models": [n.lower() for n in models], "dependencies": dependencies, "until": until}
    return engine.get_template(f"{template}.py-tpl").render(Context(context, autoescape=False))
