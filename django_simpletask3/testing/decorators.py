"""Decorators of test functions that are context managers, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar, cast

from asgiref.sync import iscoroutinefunction

P = ParamSpec("P")
R = TypeVar("R")


class FunctionDecorator(ABC):
    """A context manager, also of ``async with``, that decorates functions and coroutine functions.

    Each call of the function enters another one.
    """

    @abstractmethod
    def another(self) -> Self:
        """A context manager that was made as this one was."""

    @abstractmethod
    def __enter__(self) -> Any: ...

    @abstractmethod
    def __exit__(self, *exception: Any) -> None: ...

    @abstractmethod
    async def __aenter__(self) -> Any: ...

    @abstractmethod
    async def __aexit__(self, *exception: Any) -> None: ...

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if isinstance(function, type):
            name = f"{type(self).__name__}()"
            raise TypeError(
                f"{name} does not decorate classes such as {function.__name__}: decorate its "
                f"tests, or call self.enterContext({name}) in setUp()."
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def asynchronous(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with self.another():
                    return await cast("Any", function(*args, **kwargs))

            return cast("Callable[P, R]", asynchronous)

        @wraps(function)
        def synchronous(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.another():
                return function(*args, **kwargs)

        return synchronous
