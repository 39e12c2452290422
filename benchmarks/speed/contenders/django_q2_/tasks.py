"""The task, for Django Q2."""

from benchmarks.speed.contenders import work


def noop(argument: str | int) -> str:
    return work.done(argument)
