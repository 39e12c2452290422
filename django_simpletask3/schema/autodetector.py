"""Keep the events of a task model that is renamed when ``makemigrations`` runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db.migrations.autodetector import MigrationAutodetector, OperationDependency
from django.db.migrations.operations import RemoveField, RenameModel
from django.db.migrations.operations.base import Operation
from django.db.migrations.questioner import InteractiveMigrationQuestioner, MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.utils import resolve_relation

from .rename import RenameTaskModel

Key = tuple[str, str]

#: Columns that every event table has in every version.
_EVENT_COLUMNS = frozenset({"task", "sequence", "kind", "event_time", "digest"})

_EVENTS_LOST = (
    "This would drop the history of {task}: the table of {events} with all its events.\n{advice}"
)
_TASK_MODEL_REMAINS = (
    "- {task} itself remains. To drop its events all the same, write the migration by hand, "
    "with DropHistory (django_simpletask3.operations) before DeleteModel."
)
_DELETION_ADVICE = (
    "{rename}"
    "- To delete {task} with its history: remove it from the models first, without changing "
    "others, and run makemigrations for that alone. migrate then says which operation to add."
)
_EVENTS_ORPHANED = (
    "This would drop the table of {task} and keep its events in {events}, where they would count "
    "as events of {other}.\n"
    "{rename}"
    "- If it was not renamed: give {other} its own event model."
)
_RENAME_ADVICE = "- If it was renamed: run manage.py django-simpletask3-rename {task} {name}\n"


def is_event_model(state: ModelState) -> bool:
    """Whether ``state``, a model state of a migration, is an event model."""
    fields = state.fields
    return (
        fields.keys() >= _EVENT_COLUMNS and getattr(fields["task"], "db_constraint", True) is False
    )


def task_model_key(event_model: ModelState) -> Key:
    """The key of the task model that an event model belongs to."""
    column: Any = event_model.fields["task"]
    to = column.remote_field.model
    app_label, name = resolve_relation(to, event_model.app_label, event_model.name_lower)
    return app_label, name


class HistoryAutodetector(MigrationAutodetector):
    """An autodetector that treats a task model and its event model as one.

    It asks once whether a task model was renamed, even if its columns changed too, and applies the
    answer to its event model. Raises CommandError instead of dropping the events of a model that
    remains or may have been renamed.
    """

    # Set by Django while it detects changes.
    old_model_keys: set[Key]
    new_model_keys: set[Key]
    generated_operations: dict[str, list[Any]]

    def __init__(
        self,
        from_state: ProjectState,
        to_state: ProjectState,
        questioner: MigrationQuestioner | None = None,
        renamed: tuple[Key, Key] | None = None,
    ) -> None:
        super().__init__(from_state, to_state, questioner)
        # migrate only detects whether anything changed; it passes no questioner.
        self.is_writing = questioner is not None
        self.questioner: Any = _CachingQuestioner(self.questioner, renamed)
        self.renamed = renamed
        #: Renamed task and event models: old key by new key.
        self.old_key_by_new: dict[Key, Key] = {}

    def changes(self, *args: Any, **kwargs: Any) -> Any:
        """Detect changes as Django does; raise CommandError if they would lose events."""
        changes = super().changes(*args, **kwargs)
        for event_model in event_models(self.from_state):
            if self.is_writing and event_model.app_label in changes:
                self._reject_event_loss(event_model)
        return changes

    def generate_renamed_models(self) -> None:
        """Find renamed task models first, then renamed models as Django does."""
        if self.renamed:
            _validate(self.from_state, self.to_state, *self.renamed)
        for new in self._added_task_models():
            for old in sorted(self._removed_task_models() - set(self.old_key_by_new.values())):
                if old[0] == new[0] and self.questioner.ask_rename_model(
                    self.from_state.models[old], self.to_state.models[new]
                ):
                    self._record_rename(old, new)
                    break
        super().generate_renamed_models()

    def add_operation(self, app_label: str, operation: Any, *args: Any, **kwargs: Any) -> None:
        """Add ``operation`` as Django does; a task model is renamed by RenameTaskModel."""
        if type(operation) is RenameModel:
            names = (operation.old_name, operation.new_name)
            if (app_label, operation.new_name_lower) in _task_model_keys(self.to_state):
                operation = RenameTaskModel(*names)
        super().add_operation(app_label, operation, *args, **kwargs)

    def generate_deleted_models(self) -> None:
        """Delete models as Django does, in an order that databases accept."""
        super().generate_deleted_models()
        for app_label, operations in self.generated_operations.items():
            for operation in operations:
                if _is_task_column_removal(operation):
                    # Django 5.2 removes the column before the unique constraint that uses it, which
                    # databases reject (test_a_history_goes_on_purpose_and_leaves_a_tombstone).
                    pair = OperationDependency(
                        app_label,
                        operation.model_name,
                        operation.name,
                        OperationDependency.Type.ALTER_FOO_TOGETHER,
                    )
                    operation._auto_deps.append(pair)

    def only_relation_agnostic_fields(self, fields: Any) -> Any:
        """Return the fields by which Django compares models; renamed models compare equal."""
        for new, old in self.old_key_by_new.items():
            if fields is self.to_state.models[new].fields:
                return [new]
            if fields is self.from_state.models[old].fields:
                return [new]
        return super().only_relation_agnostic_fields(fields)

    def _removed_task_models(self) -> set[Key]:
        """The task models of the old state that the new state lacks."""
        tasks = _task_model_keys(self.from_state)
        return {key for key in tasks & self.old_model_keys if key not in self.to_state.models}

    def _added_task_models(self) -> list[Key]:
        """The task models of the new state that the old state lacks."""
        tasks = _task_model_keys(self.to_state)
        return sorted(k for k in tasks & self.new_model_keys if k not in self.from_state.models)

    def _record_rename(self, old: Key, new: Key) -> None:
        self.old_key_by_new[new] = old
        before = [s for s in event_models(self.from_state) if task_model_key(s) == old]
        after = [s for s in event_models(self.to_state) if task_model_key(s) == new]
        for old_model, new_model in zip(before, after, strict=False):
            # An event model that the user declared may have kept its name.
            if (
                _key(old_model) not in self.to_state.models
                and _key(new_model) not in self.from_state.models
            ):
                self.old_key_by_new[_key(new_model)] = _key(old_model)

    def _reject_event_loss(self, event_model: ModelState) -> None:
        task = task_model_key(event_model)
        renamed_keys = {(app, old) for (app, _), old in self.renamed_models.items()}
        labels = {"task": _label(self.from_state, task), "events": _model_label(event_model)}
        if _key(event_model) in renamed_keys or _key(event_model) in self.to_state.models:
            if task not in renamed_keys and task not in self.to_state.models:
                self._reject_orphaned_events(event_model, labels)
        elif task in renamed_keys or task in self.to_state.models:
            raise CommandError(
                _EVENTS_LOST.format(**labels, advice=_TASK_MODEL_REMAINS.format(**labels))
            )
        elif names := [self.to_state.models[key].name for key in self._successors(task)]:
            advice = _DELETION_ADVICE.format(**labels, rename=_rename_advice(labels["task"], names))
            raise CommandError(_EVENTS_LOST.format(**labels, advice=advice))

    def _reject_orphaned_events(self, event_model: ModelState, labels: dict[str, str]) -> None:
        new = next(
            (n for n, old in self.old_key_by_new.items() if old == _key(event_model)),
            _key(event_model),
        )
        other = _label(self.to_state, task_model_key(self.to_state.models[new]))
        rename = _rename_advice(labels["task"], [other.rpartition(".")[2]])
        raise CommandError(_EVENTS_ORPHANED.format(**labels, other=other, rename=rename))

    def _successors(self, task: Key) -> list[Key]:
        """The new task models that may be ``task`` renamed, unless the user denied it."""
        new = [key for key in self._added_task_models() if key not in self.old_key_by_new]
        return [key for key in new if (task, key) not in self.questioner.denied]


class _CachingQuestioner:
    """A questioner that asks each question once."""

    def __init__(self, questioner: MigrationQuestioner, renamed: tuple[Key, Key] | None) -> None:
        self.questioner = questioner
        self.answers: dict[tuple[Key, Key], bool] = {renamed: True} if renamed else {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.questioner, name)

    @property
    def denied(self) -> set[tuple[Key, Key]]:
        """The renames that the user denied when asked."""
        if not isinstance(self.questioner, InteractiveMigrationQuestioner):
            return set()
        return {pair for pair, answer in self.answers.items() if not answer}

    def ask_rename_model(self, old: ModelState, new: ModelState) -> bool:
        pair = (_key(old), _key(new))
        are_event_models = is_event_model(old) and is_event_model(new)
        if are_event_models and task_model_key(old) != task_model_key(new):
            # An event model is renamed if and only if its task model is.
            return self.answers.get((task_model_key(old), task_model_key(new)), False)
        if pair not in self.answers:
            self.answers[pair] = bool(self.questioner.ask_rename_model(old, new))
        return self.answers[pair]


def history_autodetector_for(base: type[MigrationAutodetector]) -> type[MigrationAutodetector]:
    """Return ``base``, which may be a project's own class, extended by HistoryAutodetector."""
    if issubclass(base, HistoryAutodetector):
        return base
    return type("HistoryAutodetector", (HistoryAutodetector, base), {})


def _is_task_column_removal(operation: Operation) -> bool:
    return type(operation) is RemoveField and operation.name == "task"


def event_models(state: ProjectState) -> Iterator[ModelState]:
    """The event models, sorted by app and name."""
    return (state.models[key] for key in sorted(state.models) if is_event_model(state.models[key]))


def _task_model_keys(state: ProjectState) -> set[Key]:
    return {task_model_key(event_model) for event_model in event_models(state)}


def _key(state: ModelState) -> Key:
    return state.app_label, state.name_lower


def _model_label(state: ModelState) -> str:
    return f"{state.app_label}.{state.name}"


def _label(state: ProjectState, key: Key) -> str:
    return _model_label(state.models[key]) if key in state.models else ".".join(key)


def _rename_advice(task: str, names: list[str]) -> str:
    return "".join(_RENAME_ADVICE.format(task=task, name=name) for name in names)


def _validate(before: ProjectState, after: ProjectState, old: Key, new: Key) -> None:
    """Raise CommandError unless ``old`` is only in migrations and ``new`` only in the models."""
    if old not in before.models:
        raise CommandError(f"No migration creates {'.'.join(old)}.")
    if old in after.models or new not in after.models:
        raise CommandError(
            f"Rename the class first: the models of {old[0]} must have {new[1]} and no longer "
            f"{old[1]}. Then run this command again."
        )
    if new in before.models:
        raise CommandError(f"Migrations already contain {'.'.join(new)}.")
    if old not in _task_model_keys(before):
        raise CommandError(f"{'.'.join(old)} is not a task model; rename it with makemigrations.")
