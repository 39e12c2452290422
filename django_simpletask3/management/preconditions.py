"""What must be so before a worker node can start; else one sentence says what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from django.db import Error, connections

from ..models.registry import possible_databases
from ..models.task import SimpleTask

_TEST_PAGE = (
    "In a test, call run_tasks() of django_simpletask3.testing "
    '(see "Test your tasks", docs/how-to/test-your-tasks.md).'
)


def check_process(models: Iterable[type[SimpleTask]]) -> None:
    """Raise CommandError if the processes of a node could not work as children of this process."""
    if threading.current_thread() is not threading.main_thread():
        raise CommandError(f"A worker handles signals and cannot run in a thread. {_TEST_PAGE}")
    for using in _databases(models):
        connection: Any = connections[using]
        if connection.in_atomic_block:
            raise CommandError(
                f"A worker cannot run inside a transaction of {using!r}: its processes do not see "
                f"what is not committed. {_TEST_PAGE}"
            )
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            raise CommandError(
                f"The database {using!r} is in the memory of this process: the processes of a "
                f"worker do not see it. {_TEST_PAGE}"
            )
        if not connection.settings_dict["AUTOCOMMIT"]:
            raise CommandError(
                f"DATABASES[{using!r}]['AUTOCOMMIT'] is False, but a worker commits each of its "
                "steps: remove that entry."
            )


def check_databases(models: Iterable[type[SimpleTask]]) -> None:
    """Raise CommandError if a database does not answer; a burst does not wait for it."""
    for using in _databases(models):
        try:
            connections[using].ensure_connection()
        except Error as error:
            text = " ".join(str(error).split())
            raise CommandError(f"The database {using!r} does not answer: {text}") from None


def _databases(models: Iterable[type[SimpleTask]]) -> list[str]:
    return sorted({using for model in models for using in possible_databases(model)})
