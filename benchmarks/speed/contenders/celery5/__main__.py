"""Celery: the verbs are those of ``peer``."""

import sys
from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.celery5.tasks import noop

    noop.delay(argument)


def group(arguments: Sequence[peer.Argument]) -> None:
    from celery import group

    from benchmarks.speed.contenders.celery5.tasks import noop

    group(noop.s(argument) for argument in arguments).apply_async()


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--concurrency", str(threads * processes))
    app = ("-A", "benchmarks.speed.contenders.celery5")
    return (sys.executable, "-m", "celery", *app, "worker", *size), 1


PEER = peer.Peer(
    project="celery5",
    name="Celery",
    distributions=["celery", "django-celery-results", "redis"],
    stores="a row with status and result, inserted at the end (its start is not stored by default)",
    stores_with_row="Celery ignores the result",
    enqueue=enqueue,
    bulk=group,
    worker=worker,
    finished_sql="SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS'",
)

if __name__ == "__main__":
    peer.run(PEER)
