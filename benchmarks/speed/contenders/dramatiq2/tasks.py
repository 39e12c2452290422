"""The task, for Dramatiq."""

import dramatiq

from benchmarks.speed.contenders import work


@dramatiq.actor
def noop(argument: str | int) -> None:
    work.done(argument)
