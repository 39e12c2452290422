"""Checks of which tasks of a model are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models

from ..conf.column_template import ColumnTemplate
from ..ledger.columns import BOOKKEEPING, has_column, is_saved_unchanged, managed_columns
from ..ledger.task_row import TaskRow, has_unique_key, table_model
from ..models.mixins.unique_task import UniqueTask
from ..models.registry import possible_databases, task_models
from ..models.task import SimpleTask
from ..unique import Unique

UNIQUE_ID = "django_simpletask3.E122"
ISOLATION_ID = "django_simpletask3.W006"
UNSET_ID = "django_simpletask3.W008"

_NAME = "django_simpletask3_unique"
_OWN_COLUMNS = "Use columns of your own, which are set before the task is saved."


@register(Tags.models)
def check_unique(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Check the unique keys of each task model, or of those of ``app_configs``."""
    messages: list[CheckMessage] = []
    for model in task_models():
        if app_configs is None or model._meta.app_config in app_configs:
            messages += [*_declaration(model), *_column(model), *_unset(model), *_isolation(model)]
    return messages


def _declaration(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    unique: Any = model.django_simpletask3_unique
    root = table_model(model)
    if unique != getattr(root, _NAME, None):
        yield Error(
            f"{_NAME} differs from that of {root._meta.label}, whose table holds the tasks.",
            hint=f"Set it on {root._meta.label}; it applies to every model of the table.",
            obj=model,
            id=UNIQUE_ID,
        )
    elif root is not model or unique is None:
        return
    elif isinstance(unique, Unique):
        for message, hint in template_faults(model, "unique key", unique.columns, is_of_table=True):
            yield Error(message, hint=hint, obj=model, id=UNIQUE_ID)
    else:
        yield Error(
            f"{_NAME} is {unique!r}; expected a Unique.",
            hint='Write Unique("{customer_id}"), from django_simpletask3.unique.',
            obj=model,
            id=UNIQUE_ID,
        )


def template_faults(
    model: type[SimpleTask], what: str, template: ColumnTemplate, *, is_of_table: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with the columns of ``template``, and how to mend it, as for every key.

    With ``is_of_table``, they must be columns of the table of ``model`` itself.
    """
    # A template without braces is one key for all tasks: seldom what the name of a column means.
    text = template.text
    if not template.names and _fault(model, text, is_of_table) is None:
        message = f"The {what} {text!r} names no column: all tasks would have that key."
        yield message, f'Write the column in braces: "{{{text}}}".'
    for name in template.names:
        if (found := _fault(model, name, is_of_table)) is not None:
            fault, hint = found
            yield f"The {what} {text!r} names {name}, {fault}.", hint


def _fault(model: type[SimpleTask], name: str, is_of_table: bool) -> tuple[str, str] | None:
    """Why the column ``name`` cannot be part of a key, and the way out; None if it can."""
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return "which is no column", _OWN_COLUMNS
    if not field.concrete or (is_of_table and not has_column(model, field.name)):
        return f"which is no column of the table of {model._meta.label}", _OWN_COLUMNS
    if field.name in BOOKKEEPING | managed_columns(model):
        return "which is a column of this package", _OWN_COLUMNS
    is_made_later = field.generated or isinstance(field, models.AutoField)
    if is_made_later or not is_saved_unchanged(field):
        return "which has its value only when the task is saved", _way_out(field)
    return None


def _way_out(field: Any) -> str:
    """What to name in a key in the place of ``field``, or how it can have a value in time."""
    if field.generated:
        return f"The database computes {field.name}: name the columns that it is computed from."
    if isinstance(field, models.AutoField):
        return "The database numbers the rows: name other columns."
    if isinstance(field, models.FileField):
        return (
            f"The storage gives {field.name} its name: name a column of your own, such as one with "
            "a digest of the file."
        )
    for option in ("auto_now", "auto_now_add"):
        if getattr(field, option, False):
            return f"Give {field.name} a default in the place of {option}, or set it yourself."
    return _OWN_COLUMNS


def _column(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    is_meant_to = model.django_simpletask3_unique is not None or issubclass(model, UniqueTask)
    if is_meant_to and not has_unique_key(model):
        root = table_model(model)
        yield Error(
            f"Tasks in the table of {root._meta.label} have no unique keys.",
            hint=f"Derive {root.__name__} from UniqueTask in the place of SimpleTask, and run "
            "makemigrations.",
            obj=model,
            id=UNIQUE_ID,
        )


def _unset(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    """Warn of a model whose column for keys stays empty; not if None was written somewhere."""
    is_derived = issubclass(model, UniqueTask) and table_model(model) is model
    classes = [parent for parent in model.__mro__ if parent is not TaskRow]
    if is_derived and not any(_NAME in vars(parent) for parent in classes):
        yield CheckMessage(
            WARNING,
            f"{model._meta.label} derives from UniqueTask, and does not set {_NAME}: none of its "
            "tasks has a key.",
            hint=f'Set {_NAME} = Unique("{{customer_id}}"), with columns of your own, or None if '
            "that is meant.",
            obj=model,
            id=UNSET_ID,
        )


def _isolation(model: type[SimpleTask]) -> Iterator[CheckMessage]:
    if not (model._may_be_unique() and has_unique_key(model)) or table_model(model) is not model:
        return
    for using in possible_databases(model):
        connection: Any = connections[using]
        options = connection.settings_dict.get("OPTIONS") or {}
        level = options.get("isolation_level", "read committed")
        if connection.vendor == "mysql" and str(level).lower() != "read committed":
            yield CheckMessage(
                WARNING,
                f"The database {using!r} has the isolation level {level!r}: tasks of one unique "
                "key that are enqueued at the same time may lead to deadlocks there.",
                hint='Set "isolation_level": "read committed" in its OPTIONS, as is the default '
                "of Django. In transactions of your own, you have to repeat what fails.",
                obj=model,
                id=ISOLATION_ID,
            )
