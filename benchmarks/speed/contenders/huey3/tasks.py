"""The task, for Huey."""

from huey.contrib.djhuey import db_task

from benchmarks.speed.contenders import work


@db_task()
def noop(argument: str | int) -> str:
    return work.done(argument)
