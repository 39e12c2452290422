"""Context managers of every form around task functions; they write into ``JOURNAL``."""

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.testapp.models import Invoice

#: What happened, in order: name, event, whether on an event loop, thread.
JOURNAL: list[tuple[str, str, bool, int]] = []
SEEN: list[BaseException | None] = []
VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="")


def note(name: str, event: str) -> None:
    try:
        asyncio.get_running_loop()
        is_on_loop = True
    except RuntimeError:
        is_on_loop = False
    JOURNAL.append((name, event, is_on_loop, threading.get_ident()))


@contextmanager
def plain(task: Any) -> Iterator[None]:
    """Asks the database: on an event loop Django would refuse that."""
    assert Invoice.objects.filter(pk=task.pk).count() <= 1
    token = VALUE.set(f"{VALUE.get()}p")
    note("plain", "enter")
    try:
        yield
    except BaseException as error:
        SEEN.append(error)
        raise
    finally:
        note("plain", "exit")
        VALUE.reset(token)


@asynccontextmanager
async def asynchronous(task: Any) -> AsyncIterator[None]:
    await asyncio.sleep(0)
    token = VALUE.set(f"{VALUE.get()}a")
    note("asynchronous", "enter")
    try:
        yield
    except BaseException as error:
        SEEN.append(error)
        raise
    finally:
        await asyncio.sleep(0)
        note("asynchronous", "exit")
        VALUE.reset(token)


class Both:
    """Has both forms."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __enter__(self) -> None:
        note("both", "enter")

    def __exit__(self, *error: object) -> None:
        note("both", "exit")

    async def __aenter__(self) -> None:
        note("both", "enter")

    async def __aexit__(self, *error: object) -> None:
        note("both", "exit")


@contextmanager
def refusing(task: Any) -> Iterator[None]:
    raise PermissionError(f"not {task.pk}")
    yield


@asynccontextmanager
async def refusing_async(task: Any) -> AsyncIterator[None]:
    raise PermissionError(f"not {task.pk}")
    yield


@contextmanager
def replacing(task: Any) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        raise LookupError("replaced") from error


@asynccontextmanager
async def replacing_async(task: Any) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        raise LookupError("replaced") from error


class Swallowing:
    def __init__(self, task: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> bool:
        return True


class SwallowingAsync:
    def __init__(self, task: Any) -> None: ...

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> bool:
        return True


@contextmanager
def assigning(task: Any) -> Iterator[None]:
    task.amount = 41
    yield
    task.amount += 1


@contextmanager
def writing(task: Any) -> Iterator[None]:
    """Writes into the file that the environment names."""
    with open(os.environ["MIDDLEWARE_JOURNAL"], "a") as file:  # noqa: PTH123
        file.write(f"enter {task.pk}\n")
        yield
        file.write(f"exit {task.pk}\n")


def not_decorated(task: Any) -> Iterator[None]:
    yield


async def not_decorated_async(task: Any) -> AsyncIterator[None]:
    yield


async def coroutine(task: Any) -> None: ...
def without_task() -> None: ...
def returning_nothing(task: Any) -> None: ...


class NoManager:
    def __init__(self, task: Any) -> None: ...


not_callable = "text"
