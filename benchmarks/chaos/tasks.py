"""The functions of a run: what their arguments say is what becomes of a call.

A call returns its number, worker and attempt, or does as ``ending`` says: it raises, is tried again
once, snoozes once, or cancels itself. The settings say how each function is treated.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.db import DatabaseError, InterfaceError

from benchmarks.chaos import execution_log
from benchmarks.chaos.models import take_steps, wait
from django_simpletask3.context import current_task
from django_simpletask3.contrib.tasks.framework import framework
from django_simpletask3.exceptions import Cancel, Snooze

#: The name of their model in the execution log, whatever their queue is.
MODEL = "functiontask"

_framework: Any = import_module(framework().name)
task = _framework.task
backend = _framework.default_task_backend


@task
def work(number: int, seconds: float = 0.0, ending: str = "", has_steps: bool = False) -> Any:
    return _run(number, seconds, ending, has_steps)


@task(queue_name="slow")
def try_again(number: int, seconds: float = 0.0, ending: str = "", has_steps: bool = False) -> Any:
    return _run(number, seconds, ending, has_steps)


@task
def join(number: int, seconds: float = 0.0, ending: str = "", has_steps: bool = False) -> Any:
    return _run(number, seconds, ending, has_steps)


@task(queue_name="slow")
def replace(number: int, seconds: float = 0.0, ending: str = "", has_steps: bool = False) -> Any:
    return _run(number, seconds, ending, has_steps)


@task
def call(number: int, seconds: float = 0.0, ending: str = "", line: int = 0) -> Any:  # noqa: ARG001
    return _run(number, seconds, ending, has_steps=False)


@task
def meter(number: int, seconds: float = 0.0, ending: str = "") -> Any:
    return _run(number, seconds, ending, has_steps=False)


@task
async def sleep(number: int, seconds: float = 0.0, ending: str = "") -> Any:
    with _logged() as run:
        await asyncio.sleep(seconds)
    return run.end(number, ending)


FUNCTIONS = (work, try_again, join, replace, call, meter, sleep)


def _run(number: int, seconds: float, ending: str, has_steps: bool) -> Any:
    with _logged() as run:
        wait(run.row, seconds, has_progress=has_steps)
        is_complete = not has_steps or take_steps(run.row, MODEL)
    if not is_complete:
        raise Snooze("the database was away")
    return run.end(number, ending)


@dataclass(frozen=True, slots=True)
class _Run:
    """An attempt of a call, as it began: if it is superseded, its row may be read again."""

    row: Any
    attempt: int
    worker: str

    def log(self, kind: str) -> None:
        execution_log.write(kind, MODEL, self.row.pk, self.attempt, self.worker)

    def end(self, number: int, ending: str) -> Any:
        """Return the result of the call, or raise what ``ending`` says."""
        if ending == "raise":
            raise ValueError("requested")
        if ending == "retry" and not self._count("retries"):
            raise ValueError("requested once")
        if ending == "snooze" and not self._count("snoozes"):
            raise Snooze("requested")
        if ending == "cancel":
            raise Cancel("requested")
        return {"number": number, "worker": self.worker, "attempt": self.attempt}

    def _count(self, name: str) -> int:
        try:
            count: int = getattr(self.row, name)
        except (DatabaseError, InterfaceError) as error:
            raise Snooze("the database was away") from error
        return count


@contextmanager
def _logged() -> Iterator[_Run]:
    row: Any = current_task()
    run = _Run(row, row.attempt, row.worker)
    run.log("begin")
    yield run
    run.log("end")
