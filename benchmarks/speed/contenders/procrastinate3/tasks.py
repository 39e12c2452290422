"""The task, for Procrastinate."""

from procrastinate.contrib.django import app

from benchmarks.speed.contenders import task_body


@app.task
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
