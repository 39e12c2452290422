"""Functions of a project, as the app imports them at its start."""

import os
import signal
from typing import Any

from django_simpletask3.context import current_task
from django_simpletask3.exceptions import Cancel
from tests.functions.framework import task

#: What the functions were called with.
calls: list[Any] = []


@task
def add(first: int, second: int = 0) -> int:
    calls.append((first, second))
    return first + second


@task
async def add_async(first: int, second: int = 0) -> int:
    return first + second


@task(queue_name="mail", priority=7)
def send(address: str) -> str:
    return f"sent to {address}"


@task
def fail(text: str = "no paper") -> None:
    raise ValueError(text)


@task
def leave() -> None:
    raise SystemExit("gone")


@task
def cancel_itself() -> None:
    raise Cancel("enough")


@task
def echo(value: Any) -> Any:
    return value


@task
def return_object() -> Any:
    return object()


@task
async def return_object_async() -> Any:
    return object()


@task
def return_text(size: int) -> str:
    return "x" * size


@task(takes_context=True)
def attempt_of(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id, str(context.task_result.status)]


@task
def rewrite() -> None:
    row: Any = current_task()
    row.args = [1]


@task
def tell_row() -> list[Any]:
    row: Any = current_task()
    return [row.pk, row.task_path]


@task(takes_context=True)
def kill_node_once(context: Any) -> int:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(context.attempt)
