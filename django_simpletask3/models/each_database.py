"""Work in each of several databases: in one after the other, or in each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

#: Calls a function with each alias; returns what it returned, by alias. Databases that do not
#: answer may be missing.
DatabaseRunner = Callable[[Callable[[str], Any], Iterable[str]], dict[str, Any]]


def one_after_the_other(work: Callable[[str], T], aliases: Iterable[str]) -> dict[str, T]:
    """Call ``work`` with each of ``aliases``, in this thread."""
    return {using: work(using) for using in aliases}


_runner: ContextVar[DatabaseRunner] = ContextVar("runner", default=one_after_the_other)


def in_each_database(work: Callable[[str], T], aliases: Iterable[str]) -> dict[str, T]:
    """Call ``work`` with each of ``aliases``; what it returned, by alias.

    In a worker each database has a thread of its own, and one that hangs is left out. Whatever
    ``work`` raises is raised.
    """
    return _runner.get()(work, aliases)


@contextmanager
def run_by(runner: DatabaseRunner) -> Iterator[None]:
    """Within the block, ``in_each_database`` works by ``runner``."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)
