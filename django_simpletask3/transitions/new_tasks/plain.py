"""Enqueue a plain task: nothing but this package takes part in its first event.

Row and event are one statement, in which all stands that such tasks share, and no event object is
made. What they hold is planned by ``first_event``, as for every other task.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections, router, transaction
from django.db.models.signals import post_save, pre_save

from ...db import clock, inserts
from ...db.conflicts import is_conflict, repeat_on_conflict
from ...db.fast_instances import has_plain_columns, method_of_django
from ...dispatch import after_commit
from ...ledger.columns import remember_alike, remember_columns
from ...ledger.digests import SALT_KEY
from ...ledger.task_row import has_unique_key, table_model
from ...signals import event_recorded, task_enqueued, task_transitioned
from .. import participants
from ..restore import restore_on_error
from .plain_model import PlainModel, Plan

if TYPE_CHECKING:
    from ...ledger.task_row import TaskRow

_SIGNALS_OF_BULK = (event_recorded, task_enqueued, task_transitioned)
_SIGNALS = (pre_save, post_save, *_SIGNALS_OF_BULK)
_OPTIONS: tuple[dict[str, bool], ...] = ({}, {"force_insert": True})
_SAVE_BASE = method_of_django("save_base")
_SAVE_PARENTS = method_of_django("_save_parents")
_SAVE_TABLE = method_of_django("_save_table")
_PREPARE_RELATED_FIELDS = method_of_django("_prepare_related_fields_for_save")


def enqueue(task: TaskRow, /, using: str | None = None, **options: Any) -> bool:
    """Insert the new ``task`` and its first event if it is plain; else return False.

    Then nothing was written, and ``general.enqueue`` does it. ``options`` are further arguments of
    ``save()``. In autocommit the statement is the whole transaction; the message is pushed after
    the commit. Raises what ``Model.save()`` raises, and what checks of new tasks raise.
    """
    model = type(task)
    if not (_may_be_plain(model) and _is_saved_by_django(model)) or options not in _OPTIONS:
        return False
    using = using or router.db_for_write(model, instance=task)
    connection, plain = connections[using], _plain_model(model, using)
    if plain is None or not (
        plain.is_new(task)
        and _has_session_in_autocommit(connection)
        and not plain.is_observed(_SIGNALS)
        and (not router.routers or inserts.is_routed_to(task, using))
    ):
        return False
    if connection.in_atomic_block:
        # An error spoils the transaction, as one of Model.save() does.
        with transaction.atomic(using=using, savepoint=False):
            return _insert(task, plain, connection)
    try:
        return _insert(task, plain, connection)
    except OperationalError as error:
        if is_conflict(error):
            return False  # the other way repeats it
        raise


def _insert(task: TaskRow, plain: PlainModel, connection: Any) -> bool:
    using = connection.alias
    before = dict(vars(task)) if plain.has_relations else {}
    try:
        if plain.has_relations:
            task._prepare_related_fields_for_save(operation_name="save")  # type: ignore[attr-defined]
        plan = plain.plan(task, clock.now(using))
        key = plan.rows.insert(connection, {**vars(task), **plan.columns}, plan.event)
    except inserts.NotSerializable:
        return False
    except BaseException:
        vars(task).update(before)
        raise
    _set_inserted(task, key, using, plan)
    remember_columns(task)
    after_commit.schedule_messages([task], connection)
    return True


def enqueue_all(tasks: Sequence[TaskRow], using: str, batch_size: int | None = None) -> bool:
    """Insert new ``tasks`` with their first events if they are plain and alike; else return False.

    They are alike if they are of one model and may run at once: then they have the same first
    event. All statements are one transaction. Otherwise as ``enqueue``.
    """
    model: Any = type(tasks[0]) if tasks else None
    if model is None or not _may_be_plain(model):
        return False
    connection, plain = connections[using], _plain_model(model, using)
    if plain is None or not (
        _has_session_in_autocommit(connection)
        and not plain.is_observed(_SIGNALS_OF_BULK)
        and all(type(task) is model and plain.is_alike(task) for task in tasks)
        and len(set(map(id, tasks))) == len(tasks)
        and (not router.routers or all(inserts.is_routed_to(task, using) for task in tasks))
    ):
        return False
    return repeat_on_conflict(using, partial(_insert_all, tasks, plain, connection, batch_size))


def _insert_all(
    tasks: Sequence[TaskRow], plain: PlainModel, connection: Any, batch_size: int | None
) -> bool:
    using = connection.alias
    with restore_on_error(tasks), transaction.atomic(using=using, savepoint=False):
        plan = plain.plan(tasks[0], clock.now(using))
        if SALT_KEY in (plan.event["data"] or ()):
            return False  # each task has a salt of its own
        checks = participants.checks_of_new(type(tasks[0]))
        for task, check in product(tasks[1:], checks):  # the first was checked with its plan
            check(task)
        for task in tasks if plain.has_relations else ():
            task._prepare_related_fields_for_save(operation_name="bulk_create")  # type: ignore[attr-defined]
        rows = list(map(vars, tasks))
        try:
            keys = plan.rows.insert_all(connection, rows, plan.columns, plan.event, batch_size)
        except inserts.NotSerializable:
            return False
        for task, key in zip(tasks, keys, strict=True):
            _set_inserted(task, key, using, plan)
        remember_alike(tasks)
        after_commit.schedule_messages(tasks, connection)
    return True


def _set_inserted(task: TaskRow, key: Any, using: str, plan: Plan) -> None:
    attributes, state = vars(task), task._state
    attributes.update(plan.columns)
    attributes[task._meta.pk.attname] = key
    state.adding, state.db = False, using


@lru_cache(maxsize=1000)
def _may_be_plain(model: Any) -> bool:
    """Whether a new task of ``model`` is a row of one table that Django would insert as it is."""
    return (
        model is table_model(model)
        and model._meta.concrete_model is model
        and not model._meta.parents
        and not has_unique_key(model)
        and model.django_simpletask3_event_model is None
        and has_plain_columns(model)
        and model.__getattribute__ is object.__getattribute__
    )


def _is_saved_by_django(model: Any) -> bool:
    """Whether ``model`` has the methods of Django's that ``Model.save()`` calls."""
    return (
        model.save_base is _SAVE_BASE
        and model._save_parents is _SAVE_PARENTS
        and model._save_table is _SAVE_TABLE
        and model._prepare_related_fields_for_save is _PREPARE_RELATED_FIELDS
    )


def _has_session_in_autocommit(connection: Any) -> bool:
    """Whether a statement on ``connection`` is a transaction, unless one is open."""
    is_open = connection.connection is not None  # else it has the autocommit of the last session
    return bool(connection.in_atomic_block or (is_open and connection.autocommit))


@lru_cache(maxsize=1000)
def _plain_model(model: type[TaskRow], using: str) -> PlainModel | None:
    return PlainModel(model, using) if inserts.may_insert_plain(model, using) else None
