"""The task, for Dramatiq."""

import dramatiq

from benchmarks.speed.contenders import task_body


@dramatiq.actor
def noop(argument: str | int) -> None:
    task_body.run_task(argument)
