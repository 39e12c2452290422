"""Functions whose policies are in the settings, for all frameworks know those."""

from typing import Any

from tests.functions.framework import task

#: What ``flaky`` raises in its next calls.
failures: list[BaseException] = []


@task
def flaky() -> str:
    if failures:
        raise failures.pop(0)
    return "done"


@task
def refused(invoice: int, note: str = "") -> int:
    return invoice


@task
def joined(invoice: int | None) -> int | None:
    return invoice


@task
def replaced(invoice: int) -> int:
    return invoice


@task
def unfinished(invoice: int) -> int:
    return invoice


@task(takes_context=True)
def limited(context: Any, customer: str, size: int = 1) -> str:
    return customer


@task
def expiring() -> None: ...


class NoTask:
    """A function that only a test makes a task of."""

    @staticmethod
    def func() -> None: ...


failures_of = NoTask


@task
def flaky_object() -> Any:
    return object()
