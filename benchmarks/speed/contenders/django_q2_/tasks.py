"""The task, for Django Q2."""

from benchmarks.speed.contenders import task_body


def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
