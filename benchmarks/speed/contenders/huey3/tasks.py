"""The task, for Huey."""

from huey.contrib.djhuey import db_task

from benchmarks.speed.contenders import task_body


@db_task()
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
