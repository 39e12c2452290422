"""The task, for Procrastinate."""

from procrastinate.contrib.django import app

from benchmarks.speed.contenders import work


@app.task
def noop(argument: str | int) -> str:
    return work.done(argument)
