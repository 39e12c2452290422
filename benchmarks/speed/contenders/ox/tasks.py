"""The task, for django-tasks."""

from django_tasks import task

from benchmarks.speed.contenders import task_body


@task
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
