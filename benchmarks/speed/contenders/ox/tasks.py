"""The task, for django-tasks."""

from django_tasks import task

from benchmarks.speed.contenders import work


@task
def noop(argument: str | int) -> str:
    return work.done(argument)
