"""Which migrations an app lacks that makemigrations cannot write, as its migrations tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RenameModel
from django.db.migrations.state import ProjectState

from .autodetector import is_stream, streams, task_of
from .backfill import BeginStreams
from .partition import PartitionEvents
from .protection_state import flat, protected, standing

#: Columns that every task table has had and will have.
_MARKS = frozenset({"sequence", "digest", "check_at"})
#: Columns of a table of 0.1.x.
_MARKS_OF_01 = frozenset({"status", "success", "result_data", "error_data", "result_time"})

Models = dict[str, set[str]]


class Template(StrEnum):
    """What can be written for an app; the name of its file, and of the migration."""

    UPGRADE = "upgrade_from_0_1"
    BEGIN = "begin_streams"
    PROTECT = "protect_events"
    PARTITION = "partition_events"
    EXTEND = "extend_partitions"


@dataclass
class History:
    """What the migrations of one app have made, in their order."""

    app_label: str
    migrations: list[Migration] = field(default_factory=list)
    #: The models whose tables had rows, perhaps, before they had events; what brings them along.
    older: dict[str, Template] = field(default_factory=dict)
    state: ProjectState = field(default_factory=ProjectState)

    def streams(self) -> list[str]:
        """The event models of the app, as its last migration leaves them."""
        return sorted(m.name for m in streams(self.state) if m.app_label == self.app_label)

    def lacks(self, template: Template) -> list[str]:
        """The models for which the app has no such migration."""
        match template:
            case Template.PROTECT:
                return self._streams_without(protected(self.migrations))
            case Template.PARTITION:
                return self._streams_without(standing(self.migrations, PartitionEvents))
            case Template.EXTEND:
                whole = set(self._streams_without(standing(self.migrations, PartitionEvents)))
                return [name for name in self.streams() if name not in whole]
            case _:
                names = [name for name, needed in self.older.items() if needed is template]
                return sorted(self.state.models[self.app_label, name].name for name in names)

    def _streams_without(self, keys: set[tuple[str, str]]) -> list[str]:
        return [name for name in self.streams() if (self.app_label, name.lower()) not in keys]


def history(app_label: str, loader: MigrationLoader) -> History:
    """What the migrations of the app, and those that they depend on, have made."""
    found = History(app_label)
    keys: dict[tuple[str, str], None] = {}
    for leaf in loader.graph.leaf_nodes(app_label):
        keys |= dict.fromkeys(loader.graph.forwards_plan(leaf))
    for key in keys:
        migration = loader.graph.nodes[key]
        before = _columns(found.state, app_label)
        found.state = migration.mutate_state(found.state, preserve=False)
        if migration.app_label == app_label:
            found.migrations.append(migration)
            _follow(found, migration, before)
    return found


def apps_of_events(loader: MigrationLoader, app_label: str) -> list[str]:
    """The other apps that have the event models of tasks of this one."""
    found = {
        one.app_label for one in streams(loader.project_state()) if task_of(one)[0] == app_label
    }
    return sorted(found - {app_label})


def _follow(found: History, migration: Migration, before: Models) -> None:
    """What ``migration`` has changed since its app's models had the columns ``before``."""
    after = _columns(found.state, found.app_label)
    for operation in flat(migration.operations):
        if isinstance(operation, RenameModel):
            _rename(before, operation)
            _rename(found.older, operation)
    for name in before.keys() & after.keys():
        if after[name] >= _MARKS and not before[name] >= _MARKS:
            is_01 = before[name] >= _MARKS_OF_01
            found.older[name] = Template.UPGRADE if is_01 else Template.BEGIN
    begun = (op for op in flat(migration.operations) if isinstance(op, BeginStreams))
    for gone in [*(found.older.keys() - after.keys()), *(op.name_lower for op in begun)]:
        found.older.pop(gone, None)


def _rename(models: dict[str, Any], operation: RenameModel) -> None:
    if operation.old_name_lower in models:
        models[operation.new_name_lower] = models.pop(operation.old_name_lower)


def _columns(state: ProjectState, app_label: str) -> Models:
    """The columns of each model of the app, but for event models."""
    return {
        name: set(model.fields)
        for (label, name), model in state.models.items()
        if label == app_label and not is_stream(model)
    }
