"""The context managers of ``DJANGO_SIMPLETASK3_MIDDLEWARE`` around every task function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from inspect import isawaitable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.utils.module_loading import import_string

from ...conf.options import Options, options
from ...exceptions import InvalidSetting, TimeLimitExceeded, is_stopped
from ...ledger.encoding import safe_text
from ...models.task import SimpleTask
from ..interrupt import Interruptible


def import_middleware(path: str) -> Callable[[SimpleTask], Any]:
    """The middleware at ``path``. Raises InvalidSetting if it cannot be imported or called."""
    name = Options.middleware.name
    try:
        middleware = import_string(path)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".rstrip(".")
        raise InvalidSetting(name, path, f"a path that can be imported ({cause})") from error
    if not callable(middleware):
        raise InvalidSetting(name, path, "a function or a class, which is called with the task")
    return cast("Callable[[SimpleTask], Any]", middleware)


def call_within(task: SimpleTask, function_call: partial[Any], interruptible: Interruptible) -> Any:
    """Call the task function within every middleware and return its result.

    The first one is the outermost, but the asynchronous ones are within the synchronous ones: these
    are entered in this thread, those on an event loop. The function is called in this thread.
    """
    is_async = iscoroutinefunction(function_call) or iscoroutinefunction(
        type(function_call.func).__call__
    )
    async_layers: list[_Layer] = []
    with ExitStack() as stack:
        for path in options.middleware:
            layer = _Layer(path, task, interruptible, prefers_async=is_async)
            if layer.is_async:
                async_layers.append(layer)
            else:
                stack.enter_context(layer)
        if async_layers:
            return interruptible.run(_call_on_loop(async_layers, function_call, interruptible))
        result = function_call()
        return interruptible.run(result) if isawaitable(result) else result


async def _call_on_loop(
    layers: Sequence[_Layer], function_call: partial[Any], interruptible: Interruptible
) -> Any:
    def outcome() -> tuple[Any, BaseException | None]:
        # The error is not raised here: a future cannot hold every exception.
        with interruptible.outside_of_coroutine():
            try:
                return function_call(), None
            except BaseException as error:
                return None, error

    async with AsyncExitStack() as stack:
        for layer in layers:
            await stack.enter_async_context(layer)
        result, error = await sync_to_async(outcome)()
        if error is not None:
            raise error
        return await result if isawaitable(result) else result


class _Layer:
    """One context manager around a task function, which can replace exceptions but hides none."""

    def __init__(
        self, path: str, task: SimpleTask, interruptible: Interruptible, *, prefers_async: bool
    ) -> None:
        self._path, self._interruptible = path, interruptible
        self._manager: Any = import_middleware(path)(task)
        kinds = [hasattr(type(self._manager), name) for name in ("__enter__", "__aenter__")]
        if not any(kinds):
            raise TypeError(
                f"{path} returned {self._manager!r}, which is no context manager. Decorate a "
                "function that yields with @contextmanager or @asynccontextmanager."
            )
        #: One that has both forms takes that of the task function.
        self.is_async = prefers_async if all(kinds) else kinds[1]

    def __enter__(self) -> None:
        self._manager.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._manager.__exit__(kind, error, trace)
        except BaseException as replacement:
            if not self._passes_through(error, replacement):
                raise

    async def __aenter__(self) -> None:
        await self._manager.__aenter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._manager.__aexit__(kind, error, trace)
        except BaseException as replacement:
            if not self._passes_through(error, replacement):
                raise

    def _passes_through(self, error: BaseException | None, replacement: BaseException) -> bool:
        """Whether ``error`` ended the function from outside: then nothing replaces it."""
        if error is None or not (
            is_stopped(error)
            or isinstance(error, TimeLimitExceeded)
            or (isinstance(error, asyncio.CancelledError) and self._interruptible.is_interrupted)
        ):
            return False
        if replacement is not error:
            error.add_note(f"Meanwhile {self._path} raised {safe_text(replacement)}")
        return True
