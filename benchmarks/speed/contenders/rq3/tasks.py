"""The task, for RQ; the result is not kept."""

from django.conf import settings
from django_rq import job

from benchmarks.speed.contenders import task_body

RESULT_TTL = 0 if settings.ROW else None


@job("default", result_ttl=RESULT_TTL)
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
