"""The task, for RQ; the result is not kept."""

from django_rq import job

from benchmarks.speed.contenders import peer, task_body

RESULT_TTL = 0 if peer.has_row() else None


@job("default", result_ttl=RESULT_TTL)
def noop(argument: str | int) -> str:
    return task_body.run_task(argument)
