"""The task, for Celery."""

from celery import shared_task

from benchmarks.speed.contenders import work


@shared_task
def noop(argument: str | int) -> str:
    return work.done(argument)
