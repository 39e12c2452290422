"""The task, for Celery."""

from celery import shared_task

from benchmarks.speed.contenders import task_body


@shared_task
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
