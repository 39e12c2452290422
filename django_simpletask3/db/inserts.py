"""Insert new rows, one together with its first event, in one statement of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models, transaction
from django.db.models.signals import post_save, pre_save

from ..ledger.columns import is_saved_unchanged
from ..ledger.event import TaskEvent, event_model_of
from ..ledger.fields import ModTimeField
from ..ledger.subscribers import registered_subscribers
from ..ledger.task_row import has_unique_key, table_model, write_database
from ..signals import event_recorded
from .backends import store_for
from .postgresql.json_parameters import NotSerializable, is_json_safe
from .postgresql.plain_rows import PlainRows, constants_of, plain_rows_for
from .store import KeyTaken

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

__all__ = ("NotSerializable", "PlainRows")

_EVENT_ATTRIBUTE = "_first_event"
_ONE_STATEMENT_ATTRIBUTE = "_needs_one_statement"


def attach_events(task: TaskRow, events: Sequence[TaskEvent]) -> None:
    """Have the next INSERT of ``task`` write its only event in the same statement, if it can."""
    if len(events) == 1:
        [vars(task)[_EVENT_ATTRIBUTE]] = events


def take_unsaved_event(task: TaskRow) -> TaskEvent | None:
    """Detach the event of ``task`` that its INSERT has not written; None if it has."""
    event: TaskEvent | None = vars(task).pop(_EVENT_ATTRIBUTE, None)
    return event


def insert_with_event(
    task: TaskRow, using: str, model: type[TaskRow], **row: Any
) -> list[list[Any]] | None:
    """Insert the row of ``task`` into the table of ``model``, with its attached event.

    ``row`` holds arguments of Django's ``Model._do_insert``, and the result is as of that method.
    Returns None, and inserts nothing, if row and event need a statement each; raises
    NeedsTransaction instead within ``one_statement``.
    """
    event: TaskEvent | None = vars(task).get(_EVENT_ATTRIBUTE)
    if event is None:
        return None
    returned = _insert_if_possible(task, event, using, model, row)
    if returned is None and _ONE_STATEMENT_ATTRIBUTE in vars(task):
        raise NeedsTransaction
    return returned


def _insert_if_possible(
    task: TaskRow, event: TaskEvent, using: str, model: type[TaskRow], row: dict[str, Any]
) -> list[list[Any]] | None:
    # By now Django has set ``pk`` from the default of its column, if there is one.
    is_task_table = model is table_model(type(task))  # else that of a parent or a child
    if not is_task_table or task.pk is not None or not _is_batch_insertable(model):
        return None
    if _events_compute_columns(model):
        return None
    store, columns = store_for(model, using), _columns(model)
    # A _do_insert() of the user's may have left out columns.
    if not store.has_batch_statements or len(row["fields"]) != len(columns.unchanged) + len(
        columns.computed
    ):
        return None
    try:
        [key] = store.insert([_row(task, model, raw=row["raw"])], [event])
    except NotSerializable:
        return None
    take_unsaved_event(task)
    return [[key]]


def _row(task: TaskRow, model: type[TaskRow], *, raw: bool = False) -> dict[str, object]:
    columns = _columns(model)
    row = dict(zip(columns.unchanged, columns.read_unchanged(task), strict=True))
    for field in columns.computed:
        row[field.attname] = getattr(task, field.attname) if raw else field.pre_save(task, True)
    return row


class _Columns(NamedTuple):
    """The columns of new rows: those that are saved unchanged, and those that compute a value."""

    unchanged: Sequence[str]
    read_unchanged: Callable[[Any], tuple[Any, ...]]
    computed: Sequence[Any]


@lru_cache(maxsize=1000)
def _columns(model: Any) -> _Columns:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    unchanged = [field.attname for field in fields if is_saved_unchanged(field)]
    computed = [field for field in fields if not is_saved_unchanged(field)]
    return _Columns(unchanged, attrgetter(*unchanged), computed)


def insert_all(tasks: Sequence[TaskRow], using: str, batch_size: int | None = None) -> bool:
    """Insert the rows of ``tasks``, new ones of one model, as Django's ``bulk_create`` does.

    The events are inserted with them. False, and nothing is inserted, if Django has to do that: on
    other databases, for rows that have keys, and for columns or values that only Django can adapt.
    """
    if not tasks:
        return False
    model: Any = type(tasks[0])._meta.concrete_model
    store = store_for(table_model(model), using)
    if not (
        store.has_batch_statements
        and _is_batch_insertable(model)
        and not _events_compute_columns(model)
        and all(task.pk is None and _EVENT_ATTRIBUTE in vars(task) for task in tasks)
    ):
        return False
    if any(field.is_relation for field in model._meta.concrete_fields):
        for task in tasks:
            task._prepare_related_fields_for_save(operation_name="bulk_create")  # type: ignore[attr-defined]
    rows = [_row(task, model) for task in tasks]
    try:
        keys = store.insert(rows, [vars(task)[_EVENT_ATTRIBUTE] for task in tasks], batch_size)
    except NotSerializable:
        return False
    for task, key in zip(tasks, keys, strict=True):
        task.pk, task._state.adding, task._state.db = key, False, using
    return True


@lru_cache(maxsize=1000)
def _is_batch_insertable(model: Any) -> bool:
    """Whether the database generates only the key of rows of ``model``."""
    has_auto_key = list(model._meta.db_returning_fields) == [model._meta.pk]
    return (
        has_auto_key
        and isinstance(model._meta.pk, models.AutoField)
        and all(is_json_safe(f) and not f.generated for f in model._meta.concrete_fields)
    )


@lru_cache(maxsize=1000)
def _events_compute_columns(model: Any) -> bool:
    """Whether an event computes a value when it is saved, perhaps of the key of its task."""
    fields = event_model_of(model)._meta.concrete_fields
    return not all(map(is_saved_unchanged, fields))


class NeedsTransaction(Exception):
    """Row and event need more than one statement, and so a transaction; nothing was inserted."""


@contextmanager
def one_statement(task: TaskRow, using: str) -> Iterator[None]:
    """Insert ``task`` by one statement in the block, which raises NeedsTransaction if it cannot be.

    The transaction around it, if there is one, goes on after that, and after KeyTaken.
    """
    connection = transaction.get_connection(using)
    needed_rollback = connection.needs_rollback
    vars(task)[_ONE_STATEMENT_ATTRIBUTE] = True
    try:
        yield
    except (NeedsTransaction, KeyTaken):
        connection.needs_rollback = needed_rollback  # Model.save() has set it
        raise
    finally:
        vars(task).pop(_ONE_STATEMENT_ATTRIBUTE, None)


def fits_one_statement(task: TaskRow, using: str) -> bool:
    """Whether ``task`` and its event can be inserted by one statement, without a transaction.

    Receivers, subscribers, columns that act when they are saved and a router that looks elsewhere
    need a transaction: they undo the row if they raise. So may an event model of the user's. Within
    a transaction, only a unique task gains by that: a savepoint is spared.
    """
    model = type(task)
    connection = transaction.get_connection(using)
    is_autocommit = connection.get_autocommit() and not connection.in_atomic_block
    return (
        store_for(table_model(model), using).has_batch_statements
        and (model is table_model(model) or bool(model._model_columns))
        and model.django_simpletask3_event_model is None
        and task.pk is None
        and not task._is_enqueued_blocked
        and _is_batch_insertable(model)
        and (is_autocommit or has_unique_key(model))
        and is_routed_to(task, using)
        and not registered_subscribers()
        and not event_recorded.has_listeners(model)
        and not pre_save.has_listeners(model)
        and not post_save.has_listeners(model)
    )


def is_routed_to(task: TaskRow, using: str) -> bool:
    """Whether the router looks for ``task`` in ``using`` once it is there."""
    state, previous_database = task._state, task._state.db
    state.db = using
    try:
        return write_database(task) == using
    finally:
        state.db = previous_database


def may_insert_plain(model: Any, using: str) -> bool:
    """Whether ``plain_rows`` can insert the tasks of ``model``, as far as their columns go."""
    computed = _columns(model).computed
    times = [model._meta.get_field("mod_time")]
    return (
        store_for(model, using).has_batch_statements
        and _is_batch_insertable(model)
        and not _events_compute_columns(model)
        and all(type(field) is ModTimeField for field in [*computed, *times])
    )


def plain_rows(
    model: type[TaskRow], using: str, row: Mapping[str, Any], event: Mapping[str, Any]
) -> PlainRows:
    """The statements for rows and events that have the constant columns of these."""
    event_fields = event_model_of(model)._meta.concrete_fields
    names = [field.attname for field in event_fields if not field.primary_key]
    return plain_rows_for(
        model, using, tuple(row), constants_of(row, row), constants_of(event, names)
    )
