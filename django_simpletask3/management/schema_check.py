"""Check before a command starts that the tables and columns of task models exist."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NoReturn

from django.core.management.base import CommandError
from django.db import Error, connections, models, router
from django.db.migrations.executor import MigrationExecutor

from ..control import OperatorCommand
from ..db.errors import MissingSchema, error_text
from ..ledger.event import event_model_of
from ..models.task import SimpleTask
from ..worker.node.supervisor import close_connections

#: A database that does not answer within this time does not keep a node from starting.
_WAIT_SECONDS = 5.0
_MAX_TEXT = 60_000
#: Migrations that are named.
_MAX_NAMES = 3


def require_schema(task_models: Iterable[type[SimpleTask]]) -> None:
    """Raise CommandError, naming the unapplied migrations, if a table or a column is missing.

    Asked in a child process, which is given up after five seconds: a node uses no database itself,
    and starts while one is away.
    """
    if text := _call_in_child(partial(missing_schema, task_models), _WAIT_SECONDS):
        raise CommandError(text)


def missing_schema(task_models: Iterable[type[SimpleTask]]) -> str:
    """What is missing and what to do, in one line; empty if nothing is, or a database is away."""
    for model in _models_with_tables(task_models):
        using = router.db_for_write(model)
        nothing = models.QuerySet(model, using=using).extra(where=["1 = 0"])
        try:
            list(nothing)
        except Error as error:
            text = error_text(error)
            if isinstance(text, MissingSchema):
                return _advice(using, text)
    return ""


def _models_with_tables(
    task_models: Iterable[type[SimpleTask]],
) -> Iterator[type[models.Model]]:
    yield OperatorCommand
    for model in task_models:
        yield model
        yield event_model_of(model)


def _advice(using: str, error: str) -> str:
    executor = MigrationExecutor(connections[using])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    if names:
        listed = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
        return f"Unapplied migrations in the database {using!r}: run manage.py migrate ({listed})."
    return (
        f"The database {using!r} lacks a table or a column of the models: run manage.py "
        f"makemigrations, then migrate ({error})."
    )


def _call_in_child(function: Callable[[], str], seconds: float) -> str:
    """What ``function`` returns in a child process; empty if that takes too long, or fails."""
    close_connections()
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(function, write_end)
    os.close(write_end)
    is_ready, *_ = select.select([read_end], [], [], seconds)
    text = os.read(read_end, _MAX_TEXT).decode(errors="replace") if is_ready else ""
    os.close(read_end)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return text


def _answer(function: Callable[[], str], write_end: int) -> NoReturn:
    try:
        os.write(write_end, function().encode(errors="replace")[:_MAX_TEXT])
    finally:
        os._exit(0)
